"""Histories of many users from inputs of any size, split once into parts of bounded size; one part is in memory at a time.

Whatever `readers` reads is read here, in two forms:

- one row an interaction, in any order: user, item and, optionally, a timestamp (without one the row order counts);
- one row a user: user and history, a list in time order: a list column (Parquet), a JSON list (JSON lines), or text with
  ids between blanks, or a JSON list as text (CSV, TSV).

Parquet, JSON lines and plain CSV and TSV stream, the other formats are read once into memory. Interactions are split by a
hash of the user, rows of users by their position, so that every shard of a fan-out finds its own share without asking
another. Imports polars: import this where it is used.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from easrec_jax.data import readers, scans
from easrec_jax.data.columns import Columns, choose_columns, warn_of_unused
from easrec_jax.data.order import check_equal_times, history_order
from easrec_jax.data.text import File, Table, first_lines, has_blank_quotes
from easrec_jax.files import aside_of, clear_asides

SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}  # of what is written
OPEN_ROWS = 1 << 19  # rows that the writers of all parts hold in memory together


class Part(NamedTuple):
    """The users of one part; user u's history is `items[ends[u]:ends[u + 1]]`, in time order."""

    users: pl.Series  # raw user ids
    items: pl.Series  # text [interactions], raw item ids; null where the file has none
    ends: np.ndarray  # int64 [users + 1]


@dataclass(frozen=True)
class Source:
    """A scanned input: what it holds is known; nothing of it is in memory where its format streams.

    `frame` has the columns row, user and item, and time if there is one; item is a list where a row is a user.
    """

    path: Path
    frame: pl.LazyFrame
    columns: Columns
    by_user: bool
    rows: int
    events: int
    users: int  # by interactions: estimated, to one in a hundred or so
    files: Sequence[File]
    layout: readers.Layout
    equal_times: str = "mixed"


def format_of(path: Path) -> str:
    """parquet, csv, tsv or jsonl, by the suffix of what is to be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix.lower()]


def input_files(path: Path) -> list[Path]:
    """The file itself, or the parts in a folder."""
    return [file.path for file in readers.input_files(path)]


def open_source(
    path: str | Path,
    asked: Columns,
    *,
    history_column: str = "",
    format: str = "auto",
    separator: str = "",
    equal_times: str = "mixed",
    missing_ids: str = "error",
) -> Source:
    """Scan the input and count it. `ValueError` names the file, and the row or line, of what cannot be read."""
    check_equal_times(equal_times)
    path = Path(path).expanduser()
    files = readers.input_files(path)
    asked = dataclasses.replace(asked, history=history_column or asked.history)
    layout = readers.common_layout(files, format, separator, asked)
    with scans.reading(path, files, *layout):
        if _streams(files, layout):
            frame, names = scans.scan(files, *layout)
            columns = choose_columns(path, names, asked)
            warn_of_unused(path, names, columns)
        else:
            table, columns = readers.read_table(
                path,
                format,
                asked.user,
                asked.item,
                asked.time,
                separator=separator,
                history_column=asked.history,
                missing_ids=missing_ids,
            )
            frame = pl.DataFrame(list(table.columns.values())).lazy()
            if columns.history:
                frame = frame.group_by(columns.user, maintain_order=True).agg(columns.item)
        frame = _selected(path, frame, columns, blanks=layout.format in ("csv", "tsv"))
        frame, (rows, events, users) = _counted(path, frame, by_user=bool(columns.history), drop=missing_ids == "drop")
    return Source(path, frame, columns, bool(columns.history), rows, events, users, files, layout, equal_times)


def _streams(files: Sequence[File], layout: readers.Layout) -> bool:
    """Whether polars can read the files a part at a time and sees in them what `readers` would see."""
    if layout.format not in scans.STREAMED or len(layout.separator) > 1:
        return False
    if layout.format in ("parquet", "jsonl"):
        return True
    return not any(has_blank_quotes(pl.Series(first_lines(file), dtype=pl.String), layout.separator) for file in files)


def _selected(path: Path, frame: pl.LazyFrame, columns: Columns, *, blanks: bool) -> pl.LazyFrame:
    """The columns row, user, item and time, and `wrong`: the row holds something that is no id.

    `blanks`: of a text file, whose fields may have white space around them and whose lines may be blank.
    """
    schema, by_user = frame.collect_schema(), bool(columns.history)
    name = columns.user
    try:
        user, user_wrong = scans.id_columns(name, schema[name])
        name = columns.history or columns.item
        if isinstance(schema[name], pl.List) and not by_user:
            raise ValueError("it holds lists: one row a user? Then name it the history column")
        item, item_wrong = (scans.history_lists if by_user else scans.id_columns)(name, schema[name])
    except ValueError as error:
        raise ValueError(f"{path}, column {name!r}: {error}") from None
    item = item if by_user else item.cast(pl.String)
    if blanks:
        user, item = user.str.strip_chars(), item if by_user else item.str.strip_chars()
    chosen = [user.alias("user"), item.alias("item"), (user_wrong | item_wrong).alias("wrong")]
    chosen += [pl.col(columns.time).alias("time")] if columns.time else []
    frame = frame.select(chosen).with_row_index("row")
    if blanks:
        frame = frame.filter(pl.col("user").fill_null("").ne("") | pl.col("item").is_not_null())
    return frame


def _counted(
    path: Path, frame: pl.LazyFrame, *, by_user: bool, drop: bool
) -> tuple[pl.LazyFrame, tuple[int, int, int]]:
    """The frame without marks, whole numbers as such; and its rows, events and (about) users. Checks every id.

    `drop`: rows without an id are left out, with a warning.
    """
    user, item = pl.col("user"), pl.col("item")
    missing = user.is_null() | (user.cast(pl.String).str.strip_chars() == "")
    if not by_user:
        missing |= item.is_null() | (item.str.strip_chars() == "")
    texts = [name for name, kind in frame.collect_schema().items() if kind == pl.String and name in ("user", "item")]
    counted = frame.select(
        rows=pl.col("row").max() + 1,
        events=item.list.len().sum() if by_user else pl.len(),
        users=pl.len() if by_user else user.approx_n_unique(),
        missing=pl.col("row").filter(missing & ~pl.col("wrong")).min(),
        gone=missing.sum(),
        wrong=pl.col("row").filter("wrong").min(),
        **{name: scans.are_whole(pl.col(name)) for name in texts},
    )
    found = counted.collect(engine="streaming").row(0, named=True)
    if found["wrong"] is not None:
        raise ValueError(f"{path}, row {found['wrong'] + 1}: expected ids of text or whole numbers, got a fraction")
    if found["gone"] and not drop:
        what = "" if by_user else " and an item id"
        raise ValueError(f"{path}, row {found['missing'] + 1}: expected a user id{what}, got none; {scans.DROP}")
    if found["gone"]:
        warnings.warn(f"{path}: {found['gone']:,} rows without a user or item id dropped", stacklevel=3)
        frame, found["events"] = frame.filter(~missing), found["events"] - (0 if by_user else found["gone"])
    if not found["rows"]:
        raise ValueError(f"{path}: the file has no row")
    frame = frame.drop("wrong").with_columns(scans.without_points(pl.col(name)) for name in texts if found[name])
    return frame, (found["rows"], int(found["events"] or 0), found["users"])


def split(source: Source, folder: Path, chosen: range, parts: int) -> None:
    """Write those of `parts` parts that are in `chosen` below `folder`; the folder appears when all of them are whole."""
    clear_asides(folder)
    aside = aside_of(folder)
    frame = source.frame
    if source.by_user:
        part = (pl.col("row").cast(pl.UInt64) * parts // source.rows).cast(pl.UInt32)
    else:
        part = (pl.col("user").hash(seed=1) % parts).cast(pl.UInt32)
    frame = frame.with_columns(part=part).filter(pl.col("part").is_between(chosen.start, chosen.stop - 1))
    try:
        aside.mkdir(parents=True)
        with scans.reading(source.path, source.files, *source.layout):
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
    frame = frame.sort("row")
    raw_users, codes = _coded(frame["user"])
    if source.columns.time:
        table = Table(source.path, {"time": frame["time"]}, lambda row: f"row {frame['row'][row] + 1}", {})
        times = readers.parse_times(table, "time")
        raw_items, items = _coded(frame["item"])
        order, _ = history_order(codes, items, times, raw_users, raw_items, source.equal_times)
    else:
        order = np.argsort(codes, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(codes))])
    return Part(raw_users, frame["item"].gather(order), ends)


def _coded(ids: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The distinct ids, and the code of each id into them, int64 [ids]."""
    return ids.unique().sort(), ids.rank("dense").to_numpy().astype(np.int64) - 1


def first_histories(path: str | Path, users: int) -> list[list[str]]:
    """Histories of some users of a file, for samples: those whose events stand first in it."""
    source = open_source(path, Columns("", "", ""))
    head = source.frame.head(users if source.by_user else 1000 * users)
    with scans.reading(source.path, source.files, *source.layout), tempfile.TemporaryDirectory() as folder:
        sample = dataclasses.replace(source, frame=head)
        split(sample, Path(folder) / "sample", range(1), 1)
        part = read_part(sample, Path(folder) / "sample", 0)
    ends = part.ends[: users + 1]
    return [part.items[int(a) : int(b)].to_list() for a, b in zip(ends[:-1], ends[1:], strict=True)]
