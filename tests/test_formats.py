"""One reader: what training reads, `--histories` reads, from any file, folder or table in memory."""

from __future__ import annotations

import gzip
import io
import json
from datetime import datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest
from reading import EVENTS, ROWS, START, WANTED, bulk, decoded, delimited

from easrec_jax.data.histories import open_source
from easrec_jax.data.read import read_interactions


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
    "split.inter": delimited("\t", [(u, " ".join(items[:-1]), items[-1]) for u, items in WANTED.items()],
                            "user_id:token item_id_list:token_seq item_id:token"),
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
    "replay.csv": delimited(",", ROWS, "query_id item_id timestamp"),
    "names.csv": delimited(",", ROWS, "customerID parentAsin EventTime"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_read_by_training_and_by_the_bulk_command(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    data = read_interactions(tmp_path / name)
    assert decoded(data) == WANTED and list(data.user_ids.raw) == sorted(WANTED)
    assert bulk(tmp_path / name) == WANTED


def test_a_row_for_each_beginning_of_a_history_is_refused(tmp_path):
    """As in RecBole's training part of a split; its test part holds the whole."""
    rows = [("u", "a b", "c"), ("u", "a", "b")]
    (tmp_path / "x.train.inter").write_bytes(
        delimited("\t", rows, "user_id:token item_id_list:token_seq item_id:token")
    )
    with pytest.raises(
        ValueError, match="x.train.inter, line 3, column 'user_id': expected one row a user, 'u' is there"
    ):
        read_interactions(tmp_path / "x.train.inter")


def test_zstd(tmp_path):
    (tmp_path / "x.csv.zst").write_bytes(zstd_of(CSV))
    assert decoded(read_interactions(tmp_path / "x.csv.zst")) == WANTED
    assert bulk(tmp_path / "x.csv.zst") == WANTED


def zstd_of(content: bytes) -> bytes:
    """A zstd frame of one raw block (RFC 8878): magic, single segment with a size of four bytes, last raw block."""
    size = len(content)
    return ZSTD + b"\xa0" + size.to_bytes(4, "little") + (1 | size << 3).to_bytes(3, "little") + content


def test_separators_by_flag(tmp_path):
    for separator, flag in ((";", ";"), ("\t", "tab"), ("||", "||"), ("^", "^")):
        (tmp_path / "x.csv").write_bytes(delimited(separator, ROWS))
        assert decoded(read_interactions(tmp_path / "x.csv", separator=flag)) == WANTED
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
    assert decoded(read_interactions(folder)) == WANTED
    assert bulk(folder) == WANTED


def test_parts_of_other_types_and_errors_in_parts(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    FRAME.filter(user_id="u1").with_columns(user_id=pl.lit(1), item_id=pl.Series([1, 2, 3])).write_parquet(
        folder / "a.parquet"
    )
    later = pl.DataFrame({"user_id": [1.0, 2.0], "item_id": [9.0, 7.0], "timestamp": [START + 900, START]})
    later.write_parquet(folder / "b.parquet")
    found = decoded(read_interactions(folder, min_history=1))
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
    assert decoded(read_interactions(TABLES[name])) == WANTED


@pytest.mark.parametrize("name", ["pandas", "pyarrow"])
def test_pandas_and_arrow(name):
    library = pytest.importorskip(name)
    table = library.DataFrame(FRAME.to_dict(as_series=False)) if name == "pandas" else FRAME.to_arrow()
    assert decoded(read_interactions(table)) == WANTED


def test_one_line_a_user_is_told_from_pairs(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("1 5 6 7\n2 7 5\n3 9 8 5 6\n")
    assert decoded(read_interactions(path, min_history=2))["2"] == ["7", "5"]
    path.write_text("1 5 6 7 8\n2 7 5 6 5\n")
    assert decoded(read_interactions(path)) == {"1": ["5", "6", "7", "8"], "2": ["7", "5", "6", "5"]}
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
