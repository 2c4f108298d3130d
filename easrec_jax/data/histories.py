"""Histories of many users from files of any size, split once into parts of bounded size; one part is in memory at a time.

Two forms, in Parquet, CSV, TSV or JSON lines, one file or a folder of such files:

- one row an interaction, in any order: user, item and, optionally, a timestamp (without one the row order counts);
- one row a user: user and history, a list in time order: a list column (Parquet), a JSON list (JSON lines), or text with
  ids between blanks, or a JSON list as text (CSV, TSV).

Interactions are split by a hash of the user, rows of users by their position, so that every shard of a fan-out finds its
own share without asking another. Imports polars: import this where it is used.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from easrec_jax.data import readers
from easrec_jax.files import aside_of, clear_asides

SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
HISTORY_NAMES = ("history", "items")
OPEN_ROWS = 1 << 19  # rows that the writers of all parts hold in memory together


class Part(NamedTuple):
    """The users of one part; user u's history is `items[ends[u]:ends[u + 1]]`, in time order."""

    users: pl.Series  # raw user ids
    items: pl.Series  # text [interactions], raw item ids; null where the file has none
    ends: np.ndarray  # int64 [users + 1]


@dataclass(frozen=True)
class Source:
    """A scanned input: what it holds is known, nothing of it is in memory.

    `frame` has the columns row, user and item, and time if the file has one; item is a list where a row is a user.
    """

    path: Path
    frame: pl.LazyFrame
    columns: readers.Columns
    by_user: bool
    rows: int
    events: int
    users: int  # by interactions: estimated, to one in a hundred or so


def format_of(path: Path) -> str:
    """parquet, csv, tsv or jsonl, by the suffix."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix.lower()]


def input_files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder (as Spark writes them), by name."""
    if not path.is_dir():
        return [readers.check_file(path)]
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith((".", "_")))
    if not files:
        raise ValueError(f"{path}: the folder has no file that ends in one of {', '.join(SUFFIXES)}")
    if len({format_of(file) for file in files}) > 1:
        raise ValueError(f"{path}: expected files of one format, got {', '.join(sorted({f.suffix for f in files}))}")
    return files


def open_source(path: str | Path, asked: readers.Columns, *, history_column: str = "") -> Source:
    """Scan the input and count it. `ValueError` names the file, and the row or line, of what cannot be read."""
    path = Path(path).expanduser()
    files = input_files(path)
    with _reading(path, files):
        frame, names = _scan(files)
        history = history_column or next((name for name in HISTORY_NAMES if name in names), "")
        if history and not asked.item:
            columns = readers.choose_columns(
                path, names, readers.Columns(asked.user, history, ""), (*readers.DEFAULT_NAMES[:2], ())
            )
        else:
            columns, history = readers.choose_columns(path, names, asked, readers.DEFAULT_NAMES), ""
        schema = frame.collect_schema()
        item = _history(path, history, schema[history]) if history else _ids(path, columns.item, schema[columns.item])
        if not (schema[columns.user].is_integer() or schema[columns.user] in (pl.String, pl.Categorical, pl.Enum)):
            raise ValueError(
                f"{path}, column {columns.user!r}: expected ids of integers or text, got {schema[columns.user]}"
            )
        user = pl.col(columns.user)
        user = (
            user if schema[columns.user].is_integer() else user.cast(pl.String)
        )  # a category's hash is its file's own
        chosen = [user.alias("user"), item.alias("item")]
        chosen += [pl.col(columns.time).alias("time")] if columns.time else []
        frame = frame.select(chosen).with_row_index("row")
        if format_of(files[0]) in ("csv", "tsv"):  # a blank line
            frame = frame.filter(pl.col("user").is_not_null() | pl.col("item").is_not_null())
        events = pl.col("item").list.len().sum() if history else pl.len()
        missing = pl.col("user").is_null() | (pl.col("user").cast(pl.String).str.strip_chars() == "")
        if not history:
            missing |= pl.col("item").is_null() | (pl.col("item") == "")
        first = pl.col("row").filter(missing).min()
        users = pl.len() if history else pl.col("user").approx_n_unique()
        counted = frame.select(pl.col("row").max() + 1, events=events, users=users, missing=first)
        rows, total, users, wrong = counted.collect(engine="streaming").row(0)
    if wrong is not None:
        raise ValueError(f"{path}, row {wrong + 1}: expected a user id{'' if history else ' and an item id'}, got none")
    if not rows:
        raise ValueError(f"{path}: the file has no row")
    return Source(path, frame, columns, bool(history), rows, int(total or 0), users)


def split(source: Source, folder: Path, chosen: range, parts: int) -> None:
    """Write those of `parts` parts that are in `chosen` below `folder`; the folder appears when all of them are whole."""
    clear_asides(folder)
    aside = aside_of(folder)
    shutil.rmtree(aside, ignore_errors=True)  # of this process: a failed sink's threads may have written on for a while
    frame = source.frame
    if source.by_user:
        part = (pl.col("row").cast(pl.UInt64) * parts // source.rows).cast(pl.UInt32)
    else:
        part = (pl.col("user").hash(seed=1) % parts).cast(pl.UInt32)
    frame = frame.with_columns(part=part).filter(pl.col("part").is_between(chosen.start, chosen.stop - 1))
    try:
        aside.mkdir(parents=True)
        with _reading(source.path, input_files(source.path)):
            frame.sink_parquet(
                pl.PartitionBy(aside, key="part", include_key=False),
                compression="lz4", row_group_size=max(1_024, OPEN_ROWS // len(chosen)), mkdir=True,
            )  # fmt: skip
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_part(source: Source, folder: Path, number: int) -> Part:
    """One part of those that `split` wrote."""
    files = sorted((folder / f"part={number}").glob("*.parquet"))
    if not files:
        return Part(pl.Series("user", [], pl.String), pl.Series("item", [], pl.String), np.zeros(1, np.int64))
    frame = pl.read_parquet(files, glob=False, hive_partitioning=False)
    if source.by_user:
        frame = frame.sort("row")
        lengths = frame["item"].list.len().fill_null(0).to_numpy().astype(np.int64)
        items = frame["item"].filter(pl.Series(lengths > 0)).explode()
        return Part(frame["user"], items, np.concatenate([[0], np.cumsum(lengths)]))
    rows, codes = frame["row"].to_numpy(), frame["user"].rank("dense").to_numpy() - 1
    keys = [rows, codes]  # the last counts most
    if source.columns.time:
        table = readers.Table(source.path, {"time": frame["time"]}, lambda row: f"row {rows[row] + 1}", {})
        keys.insert(1, readers.parse_times(table, "time"))
    order = np.lexsort(keys)
    ends = np.concatenate([[0], np.cumsum(np.bincount(codes))])
    return Part(frame["user"].gather(order[ends[:-1]]), frame["item"].gather(order), ends)


def _scan(files: list[Path]) -> tuple[pl.LazyFrame, list[str]]:
    """The files as one lazy table, and its column names."""
    format = format_of(files[0])
    if format == "parquet":
        frame = pl.scan_parquet(files, glob=False, hive_partitioning=False)
        return frame, frame.collect_schema().names()
    if format == "jsonl":
        first = _first_json_line(files[0])
        schema = {name: pl.List(pl.String) if isinstance(value, list) else pl.String for name, value in first.items()}
        return pl.scan_ndjson(files, schema=schema), list(schema)
    separator = "," if format == "csv" else "\t"
    frame = pl.scan_csv(files, separator=separator, infer_schema=False, glob=False)
    return frame, frame.collect_schema().names()


def _first_json_line(path: Path) -> dict:
    """The first line that is not blank."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    return _json_line(path, number, line)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8: {error.reason}") from None
    raise ValueError(f"{path}: the file is empty")


def _ids(path: Path, name: str, kind: Any) -> pl.Expr:
    """A column of item ids as text."""
    if isinstance(kind, pl.List):
        raise ValueError(f"{path}: the column {name!r} holds lists: one row a user? Then name it the history column")
    if not (kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum)):
        raise ValueError(f"{path}, column {name!r}: expected ids of integers or text, got {kind}")
    return pl.col(name).cast(pl.String)


def _history(path: Path, name: str, kind: Any) -> pl.Expr:
    """A column of histories as lists of text; text is ids between blanks, or a JSON list."""
    if isinstance(kind, pl.List) and (kind.inner == pl.String or kind.inner.is_integer()):  # type: ignore[union-attr]
        return pl.col(name).cast(pl.List(pl.String))
    if kind != pl.String:
        raise ValueError(f"{path}, column {name!r}: expected lists of integers or text, or text, got {kind}")
    text = pl.col(name).str.strip_chars()
    is_list = text.str.starts_with("[")
    listed = pl.when(is_list).then(text).str.json_decode(pl.List(pl.String))
    return pl.when(is_list).then(listed).otherwise(text.str.extract_all(r"\S+"))


@contextmanager
def _reading(path: Path, files: list[Path]) -> Iterator[None]:
    """Within: what polars cannot read becomes a `ValueError` that names the file and, where it can be found, the line."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if "No space left" in str(error) or "File too large" in str(error):
            raise OSError(str(error).strip().splitlines()[0]) from None
        for file in files:
            _find_fault(file)
        raise ValueError(f"{path}: cannot be read: {str(error).strip().splitlines()[0][:300]}") from None


def _find_fault(path: Path) -> None:
    """Raise `ValueError` naming the first line at fault, if it is one of the usual faults; reads a line at a time."""
    format = format_of(path)
    if format == "parquet":
        try:
            pl.read_parquet_schema(path)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise ValueError(f"{path}: not a readable parquet file: {error}") from None
        return
    number = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if format == "jsonl":
                for number, line in enumerate(file, 1):  # noqa: B007  also read after the loop
                    if line.strip():
                        _json_line(path, number, line)
                return
            csv.field_size_limit(sys.maxsize)
            reader = csv.reader(file, delimiter="," if format == "csv" else "\t", strict=True)
            names = next(reader, [])
            for row in reader:
                if len(row) > len(names):
                    raise readers.wrong_width(path, f"line {number + 1}", len(row), names)
                number = reader.line_num
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, after line {number}: expected UTF-8: {error.reason}") from None
    except csv.Error as error:
        raise ValueError(f"{path}, line {number + 1}: wrong quoting: {error}") from None


def _json_line(path: Path, number: int, line: str) -> dict:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}, line {number}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}, line {number}: expected a JSON object, got {type(value).__name__}")
    for name, field in value.items():
        if isinstance(field, dict) or (isinstance(field, list) and any(isinstance(x, dict | list) for x in field)):
            raise ValueError(f"{path}, line {number}, key {name!r}: expected a plain value or a list of plain values")
    return value


def first_histories(path: str | Path, users: int) -> list[list[str]]:
    """Histories of some users of a file, for samples: those whose events stand first in it."""
    source = open_source(path, readers.Columns("", "", ""))
    head = source.frame.head(users if source.by_user else 1000 * users)
    with _reading(source.path, input_files(source.path)), tempfile.TemporaryDirectory() as folder:
        sample = dataclasses.replace(source, frame=head)
        split(sample, Path(folder) / "sample", range(1), 1)
        part = read_part(sample, Path(folder) / "sample", 0)
    ends = part.ends[: users + 1]
    return [part.items[int(a) : int(b)].to_list() for a, b in zip(ends[:-1], ends[1:], strict=True)]
