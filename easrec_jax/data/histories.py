"""Histories of many users from inputs of any size, split once into parts of bounded size; one part is in memory at a time.

Whatever has a reader (`readers.READERS`) is read here, in two forms:

- one row an interaction, in any order: user, item and, optionally, a timestamp (without one the row order counts);
- one row a user: user and history, a list in time order: a list column (Parquet), a JSON list (JSON lines), or text with
  ids between blanks, or a JSON list as text (CSV, TSV).

Parquet, JSON lines and plain CSV and TSV stream, other formats are read once into memory. Interactions are split by a
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

from easrec_jax.data import id_rules
from easrec_jax.data.columns import Columns, choose_columns, warn_of_unused
from easrec_jax.data.events import read_events
from easrec_jax.data.inputs import File, are_paths, first_lines, input_files, located
from easrec_jax.data.order import history_order
from easrec_jax.data.prepared import refuse_prepared
from easrec_jax.data.quoted import has_blank_quotes
from easrec_jax.data.readers import Layout, common_layout
from easrec_jax.data.reading import Reading
from easrec_jax.data.table import Table, row_place
from easrec_jax.data.times import parse_times
from easrec_jax.files import aside_of, clear_asides

# endings of what is written
SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
DEFAULT = Reading()
OPEN_ROWS = 1 << 19  # rows that the writers of all parts hold in memory together


class Histories(NamedTuple):
    """The histories of the users of one part; user u's history is `items[ends[u]:ends[u + 1]]`, in time order."""

    users: pl.Series  # raw user ids
    items: pl.Series  # text [interactions], raw item ids; null where the file has none
    ends: np.ndarray  # int64 [users + 1]
    times: np.ndarray | None = None  # [interactions], of any unit; None: the file has none


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
    layout: Layout
    equal_times: str = "mixed"
    dropped: int = 0  # events without an id, left out as asked


def format_of(path: Path) -> str:
    """parquet, csv, tsv or jsonl, by the suffix of what is to be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix.lower()]


def open_source(data: str | Path | Sequence[str | Path], how: Reading = DEFAULT) -> Source:
    """Scan the input, a file, folder, pattern or address or several of these, and count it.

    `ValueError` names the file, and the row or line, of what cannot be read.
    """
    refuse_prepared(data)
    files = input_files(data)
    path = located(data[0] if are_paths(data) else data)  # type: ignore[index, arg-type]
    layout, dropped = common_layout(files, how.format, how.separator, how.columns), 0
    stream = layout.reader.stream if _streams(files, layout) else None
    with layout.reading(path, files):
        if stream:
            frame, names = stream.scan(files, layout.separator)
            columns = choose_columns(path, names, how.columns)
            warn_of_unused(path, names, columns)
        else:
            table, columns = read_events(data, how)
            dropped = table.dropped
            frame = pl.DataFrame(list(table.columns.values())).lazy()
            if columns.history:
                frame = frame.group_by(columns.user, maintain_order=True).agg(columns.item)
        frame, texts = _selected(path, frame, columns, blanks=stream is not None and stream.delimited)
        frame, (rows, events, users, gone) = _counted(
            path, frame, texts, by_user=bool(columns.history), drop=how.missing_ids == "drop"
        )
    by_user, dropped = bool(columns.history), dropped + gone
    return Source(path, frame, columns, by_user, rows, events, users, files, layout, how.equal_times, dropped)


def _streams(files: Sequence[File], layout: Layout) -> bool:
    """Whether polars can read the files a part at a time and sees in them what the format's `read` would see."""
    stream, separator = layout.reader.stream, layout.separator
    if stream is None or not stream.delimited:
        return stream is not None
    if len(separator) > 1:
        return False
    return not any(has_blank_quotes(pl.Series(first_lines(file), dtype=pl.String), separator) for file in files)


def _selected(path: Path, frame: pl.LazyFrame, columns: Columns, *, blanks: bool) -> tuple[pl.LazyFrame, list[str]]:
    """The columns row, user, item and time, and `wrong` and `missing`: the row holds no id there; and which ids are text.

    `blanks`: of a text file, whose fields may have white space around them and whose lines may be blank.
    """
    schema, by_user = frame.collect_schema(), bool(columns.history)
    name = columns.user
    try:
        user, user_wrong = id_rules.id_columns(name, schema[name])
        name = columns.history or columns.item
        if isinstance(schema[name], pl.List) and not by_user:
            raise ValueError("it holds lists: one row a user? Then name it the history column")
        item, item_wrong = (id_rules.history_lists if by_user else id_rules.id_columns)(name, schema[name])
    except ValueError as error:
        raise ValueError(f"{path}, column {name!r}: {error}") from None
    item = item if by_user else item.cast(pl.String)
    if blanks:
        user, item = user.str.strip_chars(), item if by_user else item.str.strip_chars()
    chosen = [user.alias("user"), item.alias("item"), (user_wrong | item_wrong).alias("wrong")]
    roles = {"user": columns.user} if by_user else {"user": columns.user, "item": columns.item}
    missing = pl.any_horizontal(id_rules.is_missing(name, schema[name]) for name in roles.values())
    chosen += [missing.alias("missing")]
    chosen += [pl.col(columns.time).alias("time")] if columns.time else []
    frame = frame.select(chosen).with_row_index("row")
    if blanks:
        frame = frame.filter(pl.col("user").fill_null("").ne("") | pl.col("item").is_not_null())
    return frame, [role for role, name in roles.items() if not schema[name].is_numeric()]


def _counted(
    path: Path, frame: pl.LazyFrame, texts: list[str], *, by_user: bool, drop: bool
) -> tuple[pl.LazyFrame, tuple[int, int, int, int]]:
    """The frame without marks, whole numbers as such; its rows, events, (about) users, events left out. Checks every id.

    `drop`: rows without an id are left out, with a warning.
    """
    counted = frame.select(
        rows=pl.col("row").max() + 1,
        events=pl.col("item").list.len().sum() if by_user else pl.len(),
        users=pl.len() if by_user else pl.col("user").approx_n_unique(),
        missing=pl.col("row").filter("missing").min(),
        gone=pl.col("missing").sum(),
        events_gone=(pl.col("item").list.len().filter("missing") if by_user else pl.col("missing")).sum(),
        wrong=pl.col("row").filter("wrong").min(),
        **{name: id_rules.has_points(pl.col(name)) for name in texts},
    )
    found = counted.collect(engine="streaming").row(0, named=True)
    if found["wrong"] is not None:
        raise ValueError(f"{path}, row {found['wrong'] + 1}: expected ids of text or whole numbers, got a fraction")
    if found["gone"] and not drop:
        what = "" if by_user else " and an item id"
        raise ValueError(f"{path}, row {found['missing'] + 1}: expected a user id{what}, got none; {id_rules.DROP}")
    if found["gone"]:
        warnings.warn(f"{path}: {found['gone']:,} rows without a user or item id dropped", stacklevel=3)
        frame, found["events"] = frame.filter(~pl.col("missing")), found["events"] - found["events_gone"]
    if not found["rows"]:
        raise ValueError(f"{path}: the file has no row")
    frame = frame.drop("wrong", "missing")
    for name in texts:
        frame = id_rules.whole_ids(frame, name) if found[name] else frame
    return frame, (found["rows"], int(found["events"] or 0), found["users"], int(found["events_gone"] or 0))


def write_parts(source: Source, folder: Path, chosen: range, parts: int) -> None:
    """Write those of `parts` parts that are in `chosen` below `folder`; the folder appears when all of them are whole."""
    clear_asides(folder)
    aside = aside_of(folder)
    # of this process: a failed sink's threads may have written on for a while
    shutil.rmtree(aside, ignore_errors=True)
    frame = source.frame
    if source.by_user:
        part = (pl.col("row").cast(pl.UInt64) * parts // source.rows).cast(pl.UInt32)
    else:
        part = (pl.col("user").hash(seed=1) % parts).cast(pl.UInt32)
    frame = frame.with_columns(part=part).filter(pl.col("part").is_between(chosen.start, chosen.stop - 1))
    try:
        aside.mkdir(parents=True)
        with source.layout.reading(source.path, source.files):
            frame.sink_parquet(
                pl.PartitionBy(aside, key="part", include_key=False),
                compression="lz4",
                row_group_size=max(1_024, OPEN_ROWS // len(chosen)),
                mkdir=True,
            )
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_part(source: Source, folder: Path, number: int) -> Histories:
    """One part of those that `write_parts` wrote."""
    files = sorted((folder / f"part={number}").glob("*.parquet"))
    if not files:
        return Histories(pl.Series("user", [], pl.String), pl.Series("item", [], pl.String), np.zeros(1, np.int64))
    frame = pl.read_parquet(files, glob=False, hive_partitioning=False)
    if source.by_user:
        frame = frame.sort("row")
        lengths = frame["item"].list.len().fill_null(0).to_numpy().astype(np.int64)
        items = frame["item"].filter(pl.Series(lengths > 0)).explode()
        return Histories(frame["user"], items, np.concatenate([[0], np.cumsum(lengths)]))
    rows, codes, times = frame["row"].to_numpy(), frame["user"].rank("dense").to_numpy() - 1, None
    if np.any(rows[1:] < rows[:-1]):
        by_row = np.argsort(rows)
        frame, rows, codes = frame[by_row], rows[by_row], codes[by_row]
    if source.columns.time:
        table = Table(source.path, {"time": frame["time"]}, lambda row: row_place(int(rows[row])))
        times = parse_times(table, "time")
    order, _, _ = history_order(codes, times, frame["user"].gather, frame["item"].gather, source.equal_times)
    ends = np.concatenate([[0], np.cumsum(np.bincount(codes))])
    in_order = None if times is None else times[order]
    return Histories(frame["user"].gather(order[ends[:-1]]), frame["item"].gather(order), ends, in_order)


def first_histories(path: str | Path, users: int) -> list[list[str]]:
    """Histories of some users of a file, for samples: those whose events stand first in it."""
    source = open_source(path)
    head = source.frame.head(users if source.by_user else 1000 * users)
    with source.layout.reading(source.path, source.files), tempfile.TemporaryDirectory() as folder:
        sample = dataclasses.replace(source, frame=head)
        write_parts(sample, Path(folder) / "sample", range(1), 1)
        part = read_part(sample, Path(folder) / "sample", 0)
    ends = part.ends[: users + 1]
    return [part.items[int(a) : int(b)].to_list() for a, b in zip(ends[:-1], ends[1:], strict=True)]
