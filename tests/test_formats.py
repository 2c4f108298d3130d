"""One reader: what training reads, `--histories` reads, whatever the format, the spelling of names, times and ids."""

from __future__ import annotations

import gzip
import io
import json
import re
import tempfile
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from easrec_jax.data.columns import ITEMS, TIMES, USERS, Columns, choose_columns
from easrec_jax.data.histories import open_source, read_part, write_parts
from easrec_jax.data.ids import id_text
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.read import read_interactions
from easrec_jax.data.reading import Reading
from easrec_jax.data.times import time_numbers
from easrec_jax.data.titles import read_titles

START = 1_700_000_000
WANTED = {"nan": ["p2", "p1", "p3", "p1"], "u1": ["p1", "p2", "p3"], "null": ["p3", "p1", "p2", "p2"]}
EVENTS = [(user, item, START + 7 * n) for user, items in WANTED.items() for n, item in enumerate(items)]
ROWS = [EVENTS[k] for k in (5, 0, 9, 3, 7, 1, 10, 8, 2, 6, 4)]  # the times alone tell the order


def delimited(separator: str, rows: list, header: str = "user_id item_id timestamp", end: str = "\n") -> bytes:
    lines = [separator.join(map(str, row)) for row in ([tuple(header.split())] if header else []) + rows]
    return "".join(line + end for line in lines).encode()


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


FRAME = pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp"], orient="row")
LISTS = pl.DataFrame({"user": list(WANTED), "history": list(WANTED.values())})
LINES = "".join(f"{user} {' '.join(items)}\n" for user, items in WANTED.items())
CSV = delimited(",", ROWS)
ZSTD = bytes.fromhex("28b52ffd")
ISO = [
    (u, i, datetime.fromtimestamp(t, timezone(timedelta(hours=5 * (n % 2)))).isoformat())
    for n, (u, i, t) in enumerate(ROWS)
]
FILES: dict[str, bytes] = {
    "x.csv": CSV,
    "space.csv": delimited(", ", ROWS),
    "tabs.csv": delimited("\t", ROWS),
    "semicolon.csv": delimited(";", ROWS),
    "pipe.txt": delimited("|", ROWS),
    "blanks.txt": delimited(" ", ROWS),
    "windows.csv": b"\xef\xbb\xbf" + delimited(",", ROWS, end="\r\n"),
    "no_suffix": CSV,
    "x.tsv": delimited("\t", ROWS),
    "x.csv.gz": gzip.compress(CSV),
    "gzip_without_suffix.csv": gzip.compress(CSV),
    "x.inter": delimited("\t", ROWS, "user_id:token item_id:token timestamp:float"),
    "x.inter.gz": gzip.compress(delimited("\t", ROWS, "user_id:token item_id:token timestamp:float")),
    "x.dat": delimited("::", [(u, i, 4, t) for u, i, t in ROWS], ""),
    "u.data": delimited("\t", [(u, i, 4, t) for u, i, t in ROWS], ""),
    "three.dat": delimited("::", ROWS, ""),
    "pairs.txt": delimited(" ", [(u, i) for u, i, _ in EVENTS], ""),
    "headerless.txt": delimited(" ", [(u, i, 5, t) for u, i, t in ROWS], ""),
    "lists.txt": LINES.encode(),
    "lists.txt.gz": gzip.compress(LINES.encode()),
    "quoted.csv": delimited(",", [(f'"{u}"', f'"{i}"', t) for u, i, t in ROWS], '"user_id" "item_id" timestamp'),
    "quoted_blanks.csv": delimited(" , ", [(f'"{u}"', f'"{i}"', t) for u, i, t in ROWS], '"user_id" "item_id" timestamp'),
    "quoted_semicolon.csv": delimited(";", [(f'"{u}"', f'"{i}"', t) for u, i, t in ROWS], '"user_id" "item_id" timestamp'),
    "iso.csv": delimited(",", ISO),
    "x.jsonl": FRAME.write_ndjson().encode(),
    "x.jsonl.gz": gzip.compress(FRAME.write_ndjson().encode()),
    "lists.jsonl": LISTS.write_ndjson().encode(),
    "text_lists.csv": delimited(",", [(u, " ".join(items)) for u, items in WANTED.items()], "user history"),
    "json_lists.tsv": delimited("\t", [(u, json.dumps(items)) for u, items in WANTED.items()], "user items"),
    "x.parquet": parquet(FRAME),
    "lists.parquet": parquet(LISTS),
    "names.csv": delimited(",", ROWS, "customerID parentAsin EventTime"),
}  # fmt: skip


def histories(data: Interactions) -> dict[str, list[str]]:
    return dict(zip(data.user_ids.raw, data.histories_of(data.user_ids.raw), strict=True))


def bulk(path: Path, **options: Any) -> dict[str, list[str]]:
    """The histories that the bulk command reads."""
    source = open_source(path, Reading(**options))
    with tempfile.TemporaryDirectory() as folder:
        write_parts(source, Path(folder) / "spill", range(2), 2)
        parts = [read_part(source, Path(folder) / "spill", number) for number in range(2)]
    found = {}
    for part in parts:
        for number, user in enumerate(part.users):
            found[str(user)] = part.items[int(part.ends[number]) : int(part.ends[number + 1])].to_list()
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_read_by_training_and_by_the_bulk_command(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    data = read_interactions(tmp_path / name)
    assert histories(data) == WANTED and list(data.user_ids.raw) == sorted(WANTED)
    assert bulk(tmp_path / name) == WANTED


def test_zstd(tmp_path):
    (tmp_path / "x.csv.zst").write_bytes(zstd_of(CSV))
    assert histories(read_interactions(tmp_path / "x.csv.zst")) == WANTED
    assert bulk(tmp_path / "x.csv.zst") == WANTED


def zstd_of(content: bytes) -> bytes:
    """A zstd frame of one raw block (RFC 8878): magic, single segment with a size of four bytes, last raw block."""
    size = len(content)
    return ZSTD + b"\xa0" + size.to_bytes(4, "little") + (1 | size << 3).to_bytes(3, "little") + content


def test_separators_by_flag(tmp_path):
    for separator, flag in ((";", ";"), ("\t", "tab"), ("||", "||"), ("^", "^")):
        (tmp_path / "x.csv").write_bytes(delimited(separator, ROWS))
        assert histories(read_interactions(tmp_path / "x.csv", separator=flag)) == WANTED
        assert bulk(tmp_path / "x.csv", separator=flag) == WANTED
    (tmp_path / "x.csv").write_bytes(delimited("^", ROWS))
    with pytest.raises(
        ValueError, match="no user column.*the file has the columns 'user_id.item_id.timestamp'.*separator"
    ):
        read_interactions(tmp_path / "x.csv")


def test_utf_16_is_named(tmp_path):
    (tmp_path / "x.csv").write_bytes(CSV.decode().encode("utf-16"))
    for read in (read_interactions, open_source):
        with pytest.raises(ValueError, match="x.csv, line 1: expected UTF-8, got UTF-16"):
            read(tmp_path / "x.csv")


@pytest.mark.parametrize("suffix", [".csv", ".snappy.parquet", ".jsonl", ".csv.gz", ".inter", ""])
def test_a_folder_of_parts_is_one_input_and_marks_are_no_data(tmp_path, suffix):
    folder = tmp_path / "out"
    (folder / "month=1").mkdir(parents=True)
    (folder / "_temporary").mkdir()
    for name in ("_SUCCESS", "._part-0.crc", ".part-1.crc", "_temporary/part-9"):
        (folder / name).write_text("no data")
    for number, rows in enumerate((ROWS[:4], ROWS[4:6], ROWS[6:])):
        frame = pl.DataFrame(rows, schema=FRAME.columns, orient="row")
        header = "user_id:token item_id:token timestamp:float" if suffix == ".inter" else "user_id item_id timestamp"
        text = delimited("\t" if suffix == ".inter" else ",", rows, header)
        content = {
            ".snappy.parquet": parquet(frame),
            ".jsonl": frame.write_ndjson().encode(),
            ".csv.gz": gzip.compress(text),
        }
        (folder / ("month=1" if number == 2 else "") / f"part-{number}{suffix}").write_bytes(content.get(suffix, text))
    assert histories(read_interactions(folder)) == WANTED
    assert bulk(folder) == WANTED


def test_parts_of_other_types_and_errors_in_parts(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    FRAME.filter(user_id="u1").with_columns(user_id=pl.lit(1), item_id=pl.Series([1, 2, 3])).write_parquet(
        folder / "a.parquet"
    )
    later = pl.DataFrame({"user_id": [1.0, 2.0], "item_id": [9.0, 7.0], "timestamp": [START + 900, START]})
    later.write_parquet(folder / "b.parquet")
    found = histories(read_interactions(folder, min_history=1))
    assert set(found) == {"1", "2"} and found["1"][-1] == "9" and len(found["1"]) == 4
    assert bulk(folder) == found
    for file in folder.iterdir():
        file.unlink()
    (folder / "part-1.csv").write_bytes(CSV)
    (folder / "part-2.csv").write_text("user_id,item_id,timestamp\nu,p,1\nu,p,soon\n")
    with pytest.raises(ValueError, match="part-2.csv, line 3, column 'timestamp': expected a finite number"):
        read_interactions(folder)
    (folder / "part-2.csv").write_text("user_id,item_id\nu,p\n")
    with pytest.raises(ValueError, match="part-2.csv: expected a time column like .*part-1.csv"):
        read_interactions(folder)


class Arrow:
    """A table of which only the Arrow interface is known."""

    def __init__(self, frame: pl.DataFrame):
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.frame.__arrow_c_stream__(requested_schema)


TABLES = {
    "polars": FRAME,
    "lazy": FRAME.lazy(),
    "arrow": Arrow(FRAME),
    "mapping": FRAME.to_dict(as_series=False),
    "rows": ROWS,
    "lists": [list(row) for row in ROWS],
    "array": np.array(ROWS, object),
    "bytes": CSV,
    "content": io.BytesIO(FILES["x.csv.gz"]),
    "histories": Arrow(LISTS),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_in_memory(name):
    assert histories(read_interactions(TABLES[name])) == WANTED


@pytest.mark.parametrize("name", ["pandas", "pyarrow"])
def test_pandas_and_arrow(name):
    library = pytest.importorskip(name)
    table = library.DataFrame(FRAME.to_dict(as_series=False)) if name == "pandas" else FRAME.to_arrow()
    assert histories(read_interactions(table)) == WANTED


def test_ids_of_any_type_in_tables_and_what_is_none():
    rows: list[Any] = [(1, np.int64(2), 1), (1.0, "2", 2), (np.float32(1), Decimal(2), 3)]
    assert histories(read_interactions(rows)) == {"1": ["2", "2", "2"]}
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
        assert histories(data) == {"1": ["a"], "2": ["c"]}
        assert data.notes == ("2 rows without a user or item id dropped (missing_ids=drop)",)
        with pytest.warns(UserWarning, match="2 rows without a user or item id dropped"):
            assert bulk(tmp_path / name, missing_ids="drop") == {"1": ["a"], "2": ["c"]}


def test_what_is_dropped_is_noted():
    rows = [("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("b", "z"), ("c", "x"), ("c", "w")]
    assert read_interactions(rows, min_history=1).notes == ()
    assert read_interactions(rows).notes == ("1 users with fewer than 3 events dropped, 2 events in all",)
    assert read_interactions(rows, min_history=2, duplicates="drop", k_core=2).notes == (
        "1 repeated interactions dropped (duplicates=drop)",
        "3 interactions, 1 users, 2 items dropped (k_core=2)",
    )


SAME = "2023-11-14T22:14:09.5Z"
FORMS = [
    "2023-11-14T22:14:09.5", "2023-11-14 22:14:09.500", "2023-11-14 22:14:09.500000000", "2023-11-14T22:14:09.5+00:00",
    "2023-11-14 22:14:09.5 UTC", "2023-11-14 22:14:09.500+0000", "2023-11-15T00:14:09.5+02", "2023-11-14T16:44:09.5-05:30",
    "2023-11-14 23:14:09,500+01:00", "20231114T221409.5Z", "2023/11/14 22:14:09.5", "2023-11-14t22:14:09.5z",
    "2023-11-15T07:14:09.5+0900", "2023-11-14T22:14:09.500Z[UTC]", " 2023-11-14T22:14:09.5Z ", "2023-11-14T23:14:09.5+01:00[Europe/Paris]",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_time_is_one_time_in_every_form(form):
    one, other, later = time_numbers(pl.Series([SAME, form, "2023-11-14T22:14:09.6Z"])).to_list()
    assert one == other == later - 100_000 * (1000 if len(form) == 29 and form[-9:] == "500000000" else 1)
    assert time_numbers(pl.Series([form, SAME])).n_unique() == 1


def test_times_of_all_units_and_types_and_what_is_none():
    moments = [
        "2023-11-14",
        "2023-11-14 00:00",
        "2023-11-14T00:00:01",
        "2023-11-14 00:01:00.000000001",
        "2024-02-29T23:59:60Z",
    ]
    numbers = time_numbers(pl.Series(moments))
    assert (numbers.diff().drop_nulls() > 0).to_list() == [False, True, True, True]
    nines = time_numbers(pl.Series([f"2023-11-14T22:14:09.12345678{n}Z" for n in (2, 1, 3)]))
    assert nines.arg_sort().to_list() == [1, 0, 2]
    for unit in (1, 1000, 10**6, 10**9):
        assert time_numbers(pl.Series([str(START * unit), str((START + 1) * unit)])).diff()[1] == unit
    kinds = [
        [START, START + 1],
        [date(2023, 1, 1), date(2023, 1, 2)],
        [datetime(2023, 1, 1), datetime(2023, 1, 1, 1)],
        [0.5, 1.5],
    ]
    assert all(time_numbers(pl.Series(kind)).diff()[1] > 0 for kind in kinds)
    for texts in (["2023-11-14", "17"], ["17", "2023-11-14"], ["2023-13-01", "2023-01-01"], ["2023-02-30", "2023-02-01"],
                  ["2023-01-01 25:00:00", "2023-01-01"], ["11/14/2023", "11/15/2023"], ["1", ""], ["nan", "1.5"]):  # fmt: skip
        assert time_numbers(pl.Series(texts)).null_count()
    with pytest.raises(ValueError, match="expected numbers or date-times, got Boolean"):
        time_numbers(pl.Series([True]))


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("event_time,user_id,product_id", ("user_id", "product_id", "event_time")),
        ("visitorid,itemid,timestamp", ("visitorid", "itemid", "timestamp")),
        ("reviewerID,asin,overall,unixReviewTime", ("reviewerID", "asin", "unixReviewTime")),
        ("user_id,parent_asin,asin,rating,timestamp", ("user_id", "parent_asin", "timestamp")),
        ("User ID,Item ID,Created At", ("User ID", "Item ID", "Created At")),
        ("userId,movieId,rating,RatingTimestamp", ("userId", "movieId", "RatingTimestamp")),
        ("t_dat,customer_id,article_id,price", ("customer_id", "article_id", "t_dat")),
        ("InvoiceNo,StockCode,Quantity,InvoiceDate,CustomerID", ("CustomerID", "StockCode", "InvoiceDate")),
        ("session_id,item_id,category,user_id,date", ("user_id", "item_id", "date")),
        ("SESSION,SKU,Epoch", ("SESSION", "SKU", "Epoch")),
        ("user,track_id,artist_id,played_at", ("user", "track_id", "played_at")),
        ("uid,song,duration,watch_time,rating,score,count", ("uid", "song", "")),
    ],
)
def test_usual_names_in_any_spelling(header, chosen):
    found = choose_columns("x", header.split(","), Columns())
    assert (found.user, found.item, found.time) == chosen


def test_no_name_has_two_roles_or_is_of_a_value():
    roles = [{name.replace("_", "") for name in names} for names in (USERS, ITEMS, TIMES)]
    assert not roles[0] & roles[1] and not roles[1] & roles[2] and not roles[0] & roles[2]
    values = {
        "rating",
        "score",
        "stars",
        "overall",
        "label",
        "price",
        "quantity",
        "count",
        "weight",
        "duration",
        "watchtime",
    }
    assert not values & set.union(*roles)


def test_columns_that_might_be_times_are_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(delimited(",", ROWS, "user item moment"))
    for read in (lambda: read_interactions(path), lambda: open_source(path)):
        with pytest.warns(
            UserWarning, match="x.csv: no time column is known among 'moment': the row order counts.*time_column"
        ):
            read()
    assert histories(read_interactions(path, time_column="moment")) == WANTED
    path.write_bytes(delimited(",", [(u, i, n % 5 + 1) for n, (u, i, _) in enumerate(EVENTS)], ""))
    with pytest.warns(
        UserWarning,
        match=re.escape(
            "among '3': the row order counts as the time order; time_column names one (read: user '1', item '2')"
        ),
    ):
        assert histories(read_interactions(path, format="headerless")) == WANTED


def test_one_line_a_user_is_told_from_pairs(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("1 5 6 7\n2 7 5\n3 9 8 5 6\n")
    assert histories(read_interactions(path, min_history=2))["2"] == ["7", "5"]
    path.write_text("1 5 6 7 8\n2 7 5 6 5\n")
    assert histories(read_interactions(path)) == {"1": ["5", "6", "7", "8"], "2": ["7", "5", "6", "5"]}
    for text, options, message in (
        ("1 5 6\n2 7\n1 5 6 7\n", {}, "x.txt, line 1: expected 2 columns"),
        ("1 5 6\n2 7\n1 5 6 7\n", {"format": "lists"}, "x.txt, line 3: expected one line a user, '1' is there twice"),
        ("1 5 6\n2\n", {"format": "lists"}, "x.txt, line 2: expected a user and its items, got one field"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_interactions(path, **options)
    path.write_text("user,history\na,1 2 3\na,4 5 6\n")
    with pytest.raises(ValueError, match="line 3, column 'user': expected one row a user, 'a' is there twice"):
        read_interactions(path)
