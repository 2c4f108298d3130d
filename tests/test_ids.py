"""Raw ids: one text whatever their type, in tables, files and Python; rows without one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from reading import bulk, decoded

from easrec_jax.data.histories import open_source
from easrec_jax.data.ids import id_text
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.read import read_interactions
from easrec_jax.data.titles import read_titles


def test_ids_of_any_type_in_tables_and_what_is_none():
    rows: list[Any] = [(1, np.int64(2), 1), (1.0, "2", 2), (np.float32(1), Decimal(2), 3)]
    assert decoded(read_interactions(rows)) == {"1": ["2", "2", "2"]}
    wrong: list[tuple[Any, str]] = [
        (5, "table in memory: int cannot be read"), ([], "it has no row"), ([1, 2], "row 1: expected .user, item. or"),
        ([("u", "i", 1), ("u", "i")], "row 2: expected"), ([("u", None), ("u", 1.5)], "'item': expected an id, .* got 1.5"),
        ([("u", "i"), (1, None)], "row 2, column 'item': the id is missing"), 
        ([("u", True)], "expected ids of integers or strings, got Bool"),
        (b"", "the data in memory: empty"), (pl.DataFrame({"a": [1]}), "table in memory: no user column"),
        ({"user": ["a", True], "item": [1, 2]}, "row 2, column 'user': expected an id, text or a whole number, got the truth"),
    ]  # fmt: skip
    for data, message in wrong:
        with pytest.raises(ValueError, match=message):
            read_interactions(data)


def test_an_id_is_one_text_in_python_and_in_files(tmp_path):
    same: list[Any] = [17, 17.0, "17", np.int8(17), np.float64(17), np.float16(17), Decimal("17.0"), np.str_("17")]
    assert {id_text(value) for value in same} == {"17"} and type(id_text(np.str_("17"))) is str
    assert IdMap(("x", "17")).encode(same).tolist() == [2] * len(same)
    for value in (
        None,
        True,
        np.False_,
        float("nan"),
        np.inf,
        1.5,
        np.float32(0.1),
        Decimal("NaN"),
        b"1",
        ["1"],
        {"a": 1},
    ):
        with pytest.raises(ValueError, match="expected an id, text or a whole number, got"):
            id_text(value)
    assert (
        id_text(-3.0) == "-3" and id_text(1e15) == "1000000000000000" and id_text("1.0") == "1.0" and id_text("") == ""
    )
    for users, expected in (
        (["1.0", "2.0"], ["1", "2"]),
        (["1.0", "2"], ["1", "2"]),
        (["1.0", "b"], ["1.0", "b"]),
        (["1.5", "1.0"], ["1.0", "1.5"]),
    ):
        path = tmp_path / "x.csv"
        path.write_text("user,item\n" + "".join(f"{user},00{n}.0\n" for n, user in enumerate(users)))
        data = read_interactions(path, min_history=1)
        assert list(data.user_ids.raw) == expected and set(bulk(path)) == set(expected)
        assert set(data.item_ids.raw) == {"000", "001"} == {i for items in bulk(path).values() for i in items}
    pl.DataFrame({"user": [1.0, 2.0], "item": [3.0, 4.0]}).write_parquet(tmp_path / "x.parquet")
    assert read_interactions(tmp_path / "x.parquet", min_history=1).item_ids.raw == ("3", "4")
    assert bulk(tmp_path / "x.parquet") == {"1": ["3"], "2": ["4"]}
    pl.DataFrame({"user": [1.0, 2.5], "item": [3.0, 4.0]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="x.parquet, row 2: expected ids of text or whole numbers, got a fraction"):
        open_source(tmp_path / "x.parquet")
    (tmp_path / "t.csv").write_text("asin,title\n1.0,One\n2.0,Two\n")
    assert read_titles(tmp_path / "t.csv") == {"1": "One", "2": "Two"}


def test_rows_without_an_id_are_an_error_or_counted(tmp_path):
    pl.DataFrame({"user": [1.0, None, 2.0, 2.0], "item": ["a", "b", "", "c"]}).write_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("user,item\n1.0,a\n,b\n2.0,\n2.0,c\n")
    for name in ("x.parquet", "x.csv"):
        with pytest.raises(ValueError, match="missing_ids=drop leaves such rows out"):
            read_interactions(tmp_path / name)
        with pytest.raises(ValueError, match="row 2: expected a user id and an item id, got none; missing_ids=drop"):
            open_source(tmp_path / name)
        data = read_interactions(tmp_path / name, missing_ids="drop", min_history=1)
        assert decoded(data) == {"1": ["a"], "2": ["c"]}
        assert data.notes == ("2 rows without a user or item id dropped (missing_ids=drop)",)
        with pytest.warns(UserWarning, match="2 rows without a user or item id dropped"):
            assert bulk(tmp_path / name, missing_ids="drop") == {"1": ["a"], "2": ["c"]}


def test_ids_from_zero_with_gaps_and_leading_zeros(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("0 0\n0 7\n0 007\n9000000000 0\n")
    data = read_interactions(path, min_history=1)
    assert decoded(data) == {"0": ["0", "7", "007"], "9000000000": ["0"]}
    assert data.item_ids.encode([0, "7", 7, "5"]).tolist() == [1, 2, 2, 0]
    pl.DataFrame({"user": [0, 0, 5], "item": [4, 0, 4]}, schema={"user": pl.Int32, "item": pl.Int64}).write_parquet(
        tmp_path / "x.parquet"
    )
    assert decoded(read_interactions(tmp_path / "x.parquet", min_history=1)) == {"0": ["4", "0"], "5": ["4"]}
