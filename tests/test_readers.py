"""Readers: every format gives the same histories, and every bad input is named by file, line and column."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easrec_jax.data.features import read_features, split_tokens
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.read import read_interactions

WORD = st.text("ab01é漢😀'\"-.#", min_size=1, max_size=4)
PHRASE = st.text("ab0 ,;\"'é漢\u2028\x0b|.", min_size=1, max_size=5).filter(lambda text: text.strip() != "")
NUMBER = st.one_of(st.integers(0, 5), st.integers(0, 10**12)).map(str)


def rows_of(identifier: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str, int]]]:
    """Tables with few distinct ids and many ties in time."""
    time = st.one_of(st.integers(0, 3), st.integers(-(2**62), 2**62))
    ids = st.tuples(st.lists(identifier, min_size=1, max_size=4), st.lists(identifier, min_size=1, max_size=6))
    rows = ids.map(lambda pool: st.tuples(st.sampled_from(pool[0]), st.sampled_from(pool[1]), time))
    return rows.flatmap(lambda row: st.lists(row, min_size=1, max_size=25))


def write(folder: Path, format: str, rows: list[tuple[str, str, int]]) -> Path:
    """The rows as a file of that format (pairs: without the times)."""
    path = folder / {"atomic": "x.inter", "movielens": "x.dat", "pairs": "x.txt"}.get(format, f"x.{format}")
    if format == "parquet":
        frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
        frame.write_parquet(path)
    elif format in ("csv", "tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="," if format == "csv" else "\t")
            writer.writerows([("user_id", "item_id", "timestamp"), *rows])
    else:
        template = {"atomic": "{}\t{}\t3.0\t{}", "movielens": "{}::{}::4::{}", "pairs": "{} {}"}[format]
        header = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"] if format == "atomic" else []
        lines = header + [template.format(*row) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


def histories(rows: list[tuple[str, str, int]], timed: bool = True) -> dict[str, list[str]]:
    """The oracle: a dict of histories, users in the order of their ids, stable in time."""
    numbers = all(re.fullmatch(r"[+-]?[0-9]+", user) for user, _, _ in rows)
    key = (lambda user: (int(user), user)) if numbers else (lambda user: user)
    result: dict[str, list[str]] = {}
    for user, item, _ in sorted(rows, key=lambda row: (key(row[0]), row[2] if timed else 0)):
        result.setdefault(user, []).append(item)
    return result


def as_text(format: str, ids: list[str]) -> list[str]:
    """A column of ids as it is read: white space around fields is none of them, whole numbers have no ".0"."""
    if format != "parquet":
        ids = [one.strip() for one in ids]
    return [re.sub(r"\.0+$", "", one) for one in ids] if all(re.fullmatch(r"-?[0-9]+(\.0+)?", i) for i in ids) else ids


def decoded(data: Interactions) -> dict[str, list[str]]:
    """Histories by raw id."""
    return {raw: data.item_ids.decode(data.history(user)) for user, raw in enumerate(data.user_ids.raw)}


def check(format: str, rows: list[tuple[str, str, int]]) -> None:
    """What is read is what the oracle says, in contents and in the order of users and items."""
    with tempfile.TemporaryDirectory() as folder:
        data = read_interactions(write(Path(folder), format, rows), min_history=1, equal_times="file")
    users, items, times = zip(*rows, strict=True)
    rows = list(zip(as_text(format, list(users)), as_text(format, list(items)), times, strict=True))
    expected = histories(rows, timed=format != "pairs")
    assert decoded(data) == expected
    assert list(data.user_ids.raw) == list(expected)
    assert list(data.item_ids.raw) == list(dict.fromkeys(item for history in expected.values() for item in history))
    assert data.items.dtype == np.int32 and data.offsets.dtype == np.int64
    assert data.offsets[0] == 0 and data.items.min() == 1 and data.items.max() == data.num_items


@pytest.mark.parametrize("format", ["atomic", "pairs", "csv", "tsv", "parquet", "movielens"])
@given(rows=rows_of(st.one_of(WORD, NUMBER)))
@settings(max_examples=40, deadline=None)
def test_every_format_reads_to_the_same_histories(format, rows):
    check(format, rows)


@pytest.mark.parametrize("format", ["atomic", "csv", "tsv", "parquet", "movielens"])
@given(rows=rows_of(PHRASE))
@settings(max_examples=40, deadline=None)
def test_ids_with_spaces_quotes_and_separators(format, rows):
    check(format, rows)


@given(
    rows=rows_of(NUMBER), k=st.sampled_from([0, 1, 2, 3]), shortest=st.sampled_from([1, 1, 2, 3]), drop=st.booleans()
)
@settings(max_examples=80, deadline=None)
def test_filters_against_a_plain_loop(rows, k, shortest, drop):
    expected = histories(rows)
    if drop:
        expected = {user: list(dict.fromkeys(items)) for user, items in expected.items()}
    while k > 1:
        counts = {item: sum(items.count(item) for items in expected.values()) for item in {row[1] for row in rows}}
        left = {user: [i for i in items if counts[i] >= k] for user, items in expected.items() if len(items) >= k}
        if left == expected:
            break
        expected = left
    expected = {user: items for user, items in expected.items() if len(items) >= shortest}
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "csv", rows)
        options: dict[str, Any] = {
            "equal_times": "file",
            "k_core": k,
            "min_history": shortest,
            "duplicates": "drop" if drop else "keep",
        }
        if not expected:
            with pytest.raises(ValueError, match="x.csv: (k_core=|every history is shorter than)"):
                read_interactions(path, **options)
            return
        data = read_interactions(path, **options)
    assert decoded(data) == expected
    assert data.dropped_users == len({row[0] for row in rows}) - len(expected)
    assert set(data.item_ids.raw) == {item for items in expected.values() for item in items}


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


def test_times_order_exactly_and_ties_may_keep_row_order(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("user,item,ts\nu,a,1600000000000000001\nu,b,1600000000000000000\nu,c,1600000000000000001\n")
    assert decoded(read_interactions(path, equal_times="file")) == {"u": ["b", "a", "c"]}
    path.write_text("user,item,ts\nu,a,2.5\nu,b,-1e3\nu,c,2\n")
    assert decoded(read_interactions(path)) == {"u": ["b", "c", "a"]}
    path.write_text("user,item,ts\nu,a,2010-10-19T23:55:27Z\nu,b,2010-10-19 23:55:26.5\nu,c,2010-10-19\n")
    assert decoded(read_interactions(path)) == {"u": ["c", "b", "a"]}
    path = tmp_path / "x.parquet"
    pl.read_csv(tmp_path / "x.csv").with_columns(ts=pl.Series([3.5, 1.5, 2.5])).write_parquet(path)
    assert decoded(read_interactions(path)) == {"u": ["b", "c", "a"]}
    pl.read_csv(tmp_path / "x.csv").with_columns(ts=pl.Series([3, 1, 2]).cast(pl.Datetime("ms"))).write_parquet(path)
    assert decoded(read_interactions(path)) == {"u": ["b", "c", "a"]}


def test_columns_by_name_and_by_position(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("who,what,when,user\nu,a,3,9\nu,b,2,9\nu,c,1,9\n")
    named: dict[str, Any] = {"user_column": "who", "item_column": "what"}
    with pytest.warns(UserWarning, match="x.csv: no time column is known among 'when', 'user': the row order counts"):
        assert decoded(read_interactions(path, **named)) == {"u": ["a", "b", "c"]}
    assert decoded(read_interactions(path, time_column="when", **named)) == {"u": ["c", "b", "a"]}
    path = tmp_path / "checkins.txt"
    path.write_text("u\t2010-10-19T23:55:27Z\t30.2\t-97.7\ta\nu\t2010-10-18T22:17:43Z\t30.2\t-97.7\tb\n")
    options: dict[str, Any] = {
        "format": "headerless",
        "user_column": "1",
        "item_column": "5",
        "time_column": "2",
        "min_history": 2,
    }
    assert decoded(read_interactions(path, **options)) == {"u": ["b", "a"]}
    path = tmp_path / "u.data"
    path.write_text("u\ta\t3\t20\nu\tb\t3\t10\nu\tc\t3\t30\n")
    assert decoded(read_interactions(path)) == {"u": ["b", "a", "c"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.txt", "\ufeffu a\r\n\r\nu\t b \r\n  \n u  c"),
        ("x.csv", "\ufeffuser,item\r\n\r\nu,a\r\nu,b\r\n \r\nu,c"),
        ("x.csv", '\n"user",item\n\n"u",a\n\nu,"b"\nu,c\n\n'),
        ("x.inter", "user_id:token\titem_id:token\n\nu\ta\nu\tb\n\nu\tc\n\n"),
        ("x.anything", "u::a::1::1\nu::b::1::2\nu::c::1::3\n"),
        ("x", "user_id:token\titem_id:token\nu\ta\nu\tb\nu\tc\n"),
        ("x.tsv", 'user\titem\ttitle\nu\ta\t\nu\tb\t5" disk\nu\tc\t\n'),
    ],
)
@pytest.mark.filterwarnings("ignore:.*x.tsv. no time column is known among .title.")
def test_line_ends_blank_lines_marks_and_detection(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert decoded(read_interactions(tmp_path / name)) == {"u": ["a", "b", "c"]}


def test_the_earliest_of_duplicates_is_kept(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("user,item,time\nu,a,9\nu,b,8\nu,c,1\nv,a,1\nv,a,2\nu,b,0\nu,a,7\n")
    assert decoded(read_interactions(path, min_history=2)) == {"u": ["b", "c", "a", "b", "a"], "v": ["a", "a"]}
    assert decoded(read_interactions(path, min_history=1, duplicates="drop")) == {"u": ["b", "c", "a"], "v": ["a"]}


def test_short_histories_are_dropped_and_counted(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("one a\nu b\nu c\nu d\ntwo e\ntwo b\n")
    data = read_interactions(path)
    assert data.dropped_users == 2 and data.item_ids.raw == ("b", "c", "d") and data.history(0).tolist() == [1, 2, 3]
    lengths = {"min_length": 3, "median_length": 3.0, "mean_length": 3.0, "max_length": 3}
    assert data.counts() == {"users": 1, "items": 3, "interactions": 3, "dropped_users": 2} | lengths
    assert read_interactions(path, min_history=1).lengths.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"x.txt: every history is shorter than 4: the longest of 3 users has 3"):
        read_interactions(path, min_history=4)
    with pytest.raises(ValueError, match=r"x.txt: k_core=2 leaves nothing of 6 interactions of 3 users and 5 items"):
        read_interactions(path, k_core=2)
    with pytest.raises(ValueError, match="read-only"):
        data.history(0)[0] = 2


INTER = "user_id:token\titem_id:token\ttimestamp:float\n"
BAD_TEXT = [
    ("x.txt", "", {}, "x.txt: the file is empty"),
    ("x.txt", "\n \n", {}, "x.txt: the file is empty"),
    ("x.txt", "u a\n\nu\n", {}, "x.txt, line 3: expected 2 columns (user, item), got 1 column"),
    ("x.txt", "u a\nu a 5\n", {}, "x.txt, line 2: expected 2 columns (user, item), got 3 columns"),
    ("x.txt", "u a\nu b\n", {"time_column": "t"}, "x.txt: there is no time column 't'; the file has the columns"),
    ("x.inter", "user_id\titem_id\nu\ta\n", {}, "x.inter, line 1: expected header fields like user_id:token, got"),
    ("x.inter", "user_id:int\titem_id:token\nu\ta\n", {}, "x.inter, line 1: expected header fields like user_id:token"),
    ("x.inter", "user_id:token\titem_id:float\nu\t1\n", {}, "x.inter, line 1, column 'item_id': expected type token"),
    ("x.inter", INTER, {}, "x.inter: there is a header but no row"),
    (
        "x.inter",
        INTER + "u\ta\t1\nu\tb\n",
        {},
        "x.inter, line 3: expected 3 columns (user_id, item_id, timestamp), got",
    ),
    ("x.inter", INTER + "u\ta\t1\n\t\t\n", {}, "x.inter, line 3, column 'user_id': expected an id, got ''"),
    ("x.inter", INTER + "u\ta\t1\n\nu\t \t1\n", {}, "x.inter, line 4, column 'item_id': expected an id, got ''"),
    ("x.inter", INTER + "u\ta\t1\nu\tb\tsoon\n", {}, "x.inter, line 3, column 'timestamp': expected a finite number"),
    ("x.inter", INTER + "u\ta\tnan\n", {}, "x.inter, line 2, column 'timestamp': expected a finite number"),
    ("x.inter", INTER + "u\ta\t1\nu\tb\t-inf\n", {}, "x.inter, line 3, column 'timestamp': expected a finite number"),
    ("x.inter", INTER + "u\ta\t\n", {}, "x.inter, line 2, column 'timestamp': expected a finite number"),
    ("x.csv", "user,item,time\nu,a,2010-01-01\nu,b,5\n", {}, "x.csv, line 3, column 'time': expected a finite"),
    (
        "x.csv",
        "1,2\n1,3\n",
        {},
        "x.csv: no user column, expected one of user_id, user, uid, customer_id, customer, visitor_id, ...; the file",
    ),
    (
        "x.csv",
        "user,thing\nu,a\n",
        {},
        "x.csv: no item column, expected one of item_id, item, iid, movie_id, product_id, parent_asin, ...; the",
    ),
    ("x.csv", "user,item\nu,a\n", {"user_column": "who"}, "x.csv: there is no user column 'who'; the file has the"),
    ("x.csv", "user,item\nu,a\n", {"item_column": "user"}, "x.csv: user, item and time need different columns"),
    ("x.csv", "user,item,user\nu,a,v\n", {}, "x.csv, line 1: the column 'user' is there twice"),
    ("x.csv", "user,item,x\nu,a,\nu,b\n", {}, "x.csv, line 3: expected 3 columns (user, item, x), got 2"),
    ("x.csv", "user,item\nu,a\nu,b,c\n", {}, "x.csv, line 3: expected 2 columns (user, item), got 3"),
    ("x.csv", 'user,item\n"u",a\n\nu\n', {}, "x.csv, line 4: expected 2 columns (user, item), got 1"),
    ("x.csv", 'user,item\n"u\nv",a\nu,""\n', {}, "x.csv, line 4, column 'item': expected an id, got ''"),
    ("x.csv", 'user,item\n"u\nv",a\nu," "\n', {}, "x.csv, line 4, column 'item': expected an id, got ''"),
    ("x.csv", 'user,item\n"u",a\n"u,b\n', {}, "x.csv, line 3: wrong quoting"),
    ("x.csv", 'user,item\n"u"v,b\n', {}, "x.csv, line 2: wrong quoting"),
    ("x.csv", '"user",item\n', {}, "x.csv: there is a header but no row"),
    ("x.dat", "u::a::3::1\nu::b::3\n", {}, "x.dat, line 2: expected 4 columns (user, item, rating, timestamp), got 3"),
    ("x.dat", "u::a::3::1\nu::b::3::x\n", {}, "x.dat, line 2, column 'timestamp': expected a finite number"),
    ("x.bin", "u a\n", {}, "x.bin: cannot tell the format from '.bin', name one of atomic"),
    ("x.csv", "user,item\nu,a\n", {"format": "json"}, "x.csv: unknown format 'json', expected auto or one of atomic"),
    ("x.csv", "user,item\nu,a\n", {"duplicates": "last"}, "duplicates: expected one of keep, drop, got 'last'"),
    ("x.csv", "user,item\nu,a\n", {"min_history": 0}, "min_history: expected 1 or more, got 0"),
    ("x.csv", "user,item\nu,a\n", {"k_core": -1}, "k_core: expected 0 or more, got -1"),
    ("x.parquet", "user,item\nu,a\n", {}, "x.parquet: not a readable parquet file"),
]


@pytest.mark.parametrize(("name", "text", "options", "message"), BAD_TEXT)
def test_bad_text_is_named(tmp_path, name, text, options, message):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ValueError, match=re.escape(message)):
        read_interactions(tmp_path / name, **options)


def test_missing_file_directory_and_bytes(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.csv: no such file"):
        read_interactions(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match="the folder has no file with data"):
        read_interactions(tmp_path)
    for name in ("x.txt", "x.csv"):
        (tmp_path / name).write_bytes(b'user,item\n"u",a\nu,\xe9\n')
        with pytest.raises(ValueError, match=f"{name}, line 3: expected UTF-8, got the byte 0xe9"):
            read_interactions(tmp_path / name)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"user": [1.0, 2.5], "item": [1, 2]},
            "x.parquet, row 2, column 'user': expected an id, text or a whole number, got 2.5",
        ),
        (
            {"user": [1.0, np.nan], "item": [1, 2]},
            "x.parquet, row 2, column 'user': the id is missing (nan); missing_ids=drop leaves",
        ),
        ({"user": [1, 2], "item": [True, False]}, "column 'item': expected ids of integers or strings, got Boolean"),
        ({"user": [1, 2], "item": [[1], [2]]}, "column 'item': expected ids of integers or strings, got List(Int64)"),
        ({"user": [1, 2], "item": ["a", None]}, "x.parquet, row 2, column 'item': the id is missing (null)"),
        ({"user": [1, 2], "item": ["a", ""]}, "x.parquet, row 2, column 'item': expected an id, got ''"),
        ({"user": [1, 2], "thing": [1, 2]}, "x.parquet: no item column"),
        ({"user": [1, 2], "item": [1, 2], "time": [1, None]}, "x.parquet, row 2, column 'time': expected a finite"),
        ({"user": [1, 2], "item": [1, 2], "time": [1.0, np.nan]}, "x.parquet, row 2, column 'time': expected a finite"),
        ({"user": [1, 2], "item": [1, 2], "time": [True, False]}, "column 'time': expected numbers or date-times, got"),
        ({"user": [], "item": []}, "x.parquet: the file has no row"),
    ],
)
def test_bad_parquet_is_named(tmp_path, columns, message):
    pl.DataFrame(columns).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=re.escape(message)):
        read_interactions(tmp_path / "x.parquet")


def test_a_damaged_parquet_is_an_error_wherever_it_is_cut(tmp_path):
    path = write(tmp_path, "parquet", [("u", str(item), item) for item in range(200)])
    whole = path.read_bytes()
    for size in (1, 4, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="x.parquet: not a readable parquet file"):
            read_interactions(path)


def test_id_map():
    ids = IdMap(("a", "7", "é "))
    assert len(ids) == 3 and ids.encode(["é ", 7, "b", np.int64(7)]).tolist() == [3, 2, 0, 2]
    assert ids.encode([]).dtype == np.int32 and ids.decode([]) == []
    assert ids.decode(np.array([3, 1], np.int32)) == ["é ", "a"]
    assert IdMap.from_json(ids.to_json()) == ids
    wrong: list[tuple[Any, str]] = [
        ([0], "got 0 (padding)"),
        ([4], "1 to 3, got 4"),
        ([-1], "got -1"),
        (np.array([1.0]), "got float64"),
    ]
    for inner, message in wrong:
        with pytest.raises(ValueError, match=re.escape(message)):
            ids.decode(inner)
    repeated_and_empty = [("a", "a"), ("",)]
    for raw in repeated_and_empty:
        with pytest.raises(ValueError, match="raw ids: expected"):
            IdMap(raw)
    with pytest.raises(ValueError, match="got the single id 'abc'"):
        ids.encode("abc")


IDS = [("user_ids", 2), ("item_ids", 3)]


def test_data_are_cut_to_the_items_of_another_map_and_the_rest_is_counted(interactions):
    data = interactions([[1, 2, 3, 2], [4, 1, 2, 3], [4, 4, 1, 2]], num_items=4)
    kept, left_out = data.restricted_to(IdMap(("new", "i3", "i2", "i1")))
    assert left_out == {"items": 1, "events": 3, "users": 1} and kept.item_ids.raw[0] == "new"
    assert decoded(kept) == {"u0": ["i1", "i2", "i3", "i2"], "u1": ["i1", "i2", "i3"]}
    assert kept.items.dtype == np.int32 and kept.offsets.tolist() == [0, 4, 7]
    same, nothing = data.restricted_to(data.item_ids)
    assert nothing == {"items": 0, "events": 0, "users": 0} and same.fingerprint() == data.fingerprint()
    with pytest.raises(ValueError, match="no user has 3 events or more of the model's 1 items .0 of the data's 4"):
        data.restricted_to(IdMap(("x",)))


def test_a_fingerprint_is_of_ids_and_histories(interactions):
    data = interactions([[1, 2, 3], [2, 3, 1]], 3)
    others = [[[1, 2, 3], [2, 1, 3]], [[1, 2, 3, 2], [3, 1]], [[1, 2, 3, 2, 3, 1]]]
    prints = [interactions(histories, 3).fingerprint() for histories in others]
    prints += [dataclasses.replace(data, **{name: IdMap(("x", "y", "z")[:n])}).fingerprint() for name, n in IDS]
    assert len({data.fingerprint(), *prints}) == 6
    assert interactions([[1, 2, 3], [2, 3, 1]], 3).fingerprint() == data.fingerprint()
    content = b'["u0", "u1"]["i1", "i2", "i3"]' + np.array([0, 3, 6]).tobytes() + data.items.tobytes()
    assert data.fingerprint() == hashlib.sha256(content).hexdigest()


def test_histories_of_users_by_raw_id(interactions):
    data = interactions([[1, 2, 3], [2, 3, 1]], 3)
    assert data.histories_of(["u1", "u0"]) == [["i2", "i3", "i1"], ["i1", "i2", "i3"]]
    with pytest.raises(ValueError, match="unknown users 'u7', '5': not among the 2 of the data"):
        data.histories_of(["u7", "u0", 5])


ITEMS = "item_id:token\ttitle:token_seq\tprice:float\tgenre:token\n"


def test_features_are_aligned_with_inner_ids(tmp_path):
    path = tmp_path / "x.item"
    path.write_text(ITEMS + '2\tToy "Story" (1995)\t1.5\t\nunknown\tx\t9\tx\n1\tCaddyshack\t\tComedy\n')
    features = read_features(path, IdMap(("1", "3", "2")))
    assert features.names == ("title", "price", "genre") and features.missing == 1
    assert features.kinds == {"title": "token_seq", "price": "float", "genre": "token"}
    assert features.columns["title"] == ["", "Caddyshack", "", 'Toy "Story" (1995)']
    assert features.columns["genre"] == ["", "Comedy", "", ""]
    np.testing.assert_array_equal(features.columns["price"], np.array([np.nan, np.nan, np.nan, 1.5], np.float32))
    assert split_tokens(features.columns["title"][3]) == ("Toy", '"Story"', "(1995)")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1\ta\tcheap\tx\n", "x.item, line 2, column 'price': expected a number, got 'cheap'"),
        ("1\ta\t1\tx\n1\ta\t1\tx\n", "x.item, line 3, column 'item_id': the id '1' is there twice"),
        ("5\ta\t1\tx\n", "x.item, column 'item_id': none of its 1 ids is among the 1 asked for"),
        ("1\ta\n", "x.item, line 2: expected 4 columns"),
    ],
)
def test_bad_features_are_named(tmp_path, rows, message):
    (tmp_path / "x.item").write_text(ITEMS + rows)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_features(tmp_path / "x.item", IdMap(("1",)))
