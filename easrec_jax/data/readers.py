"""Interactions in any form as columns of users, items and times: formats, their detection, folders of parts, tables in memory.

Errors name file, line and column. Imports polars: import this where it is used.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from easrec_jax.data import scans
from easrec_jax.data.columns import Columns, are_named, choose_columns, shown, warn_of_unused
from easrec_jax.data.memory import in_memory
from easrec_jax.data.text import File, Table, find_separator, first_lines, read_text, split_header
from easrec_jax.data.times import EXPECTED, look_like_times, time_numbers

FORMATS = ("atomic", "pairs", "csv", "tsv", "parquet", "jsonl", "movielens", "headerless", "lists")
SUFFIXES = {".inter": "atomic", ".item": "atomic", ".user": "atomic", ".parquet": "parquet", ".pq": "parquet"}
SUFFIXES |= {".csv": "csv", ".tsv": "tsv", ".dat": "movielens", ".data": "movielens", ".txt": "pairs"}
SUFFIXES |= {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
NOT_ASKED = Columns("", "", "")


class Layout(NamedTuple):
    """How a file is to be read."""

    format: str
    separator: str = ""  # "": the format's own


def read_table(
    data: Any,
    format: str = "auto",
    user_column: str = "",
    item_column: str = "",
    time_column: str = "",
    *,
    separator: str = "",
    history_column: str = "",
    missing_ids: str = "error",
) -> tuple[Table, Columns]:
    """Read interactions, one row an event; ids are text or integers (text may be blank), times are unparsed.

    `history` of the columns: a row was a user; the events of each are then one after the other under the name `item`.
    `data` is a file, a folder of parts, content in memory (bytes or a file object), or a table in memory.
    """
    asked = Columns(user_column, item_column, time_column, history_column)
    if not isinstance(data, (str, os.PathLike, bytes, bytearray, memoryview)) and not hasattr(data, "read"):
        return _joined([_select(in_memory(data), asked, missing_ids)])
    files = input_files(data)
    layout = common_layout(files, format, separator, asked)
    return _joined([read_file(file, layout, asked, missing_ids, first=not n) for n, file in enumerate(files)])


def read_file(
    file: File, layout: Layout, asked: Columns, missing_ids: str = "error", *, first: bool = True
) -> tuple[Table, Columns]:
    """One file as the columns chosen; `first`: the file of its folder whose unused columns are told."""
    if layout.format in ("parquet", "jsonl"):
        with scans.reading(file.path, [file], *layout):
            frame, names = scans.scan([file], *layout)
            chosen = choose_columns(file.path, names, asked)
            needed = [name for name in (chosen.user, chosen.item, chosen.time, chosen.history) if name]
            read = frame.select(needed).collect()
        if first:
            warn_of_unused(file.path, names, chosen)
        if not read.height:
            raise ValueError(f"{file.path}: the file has no row")
        columns = {name: read[name] for name in needed}
        return _select(Table(file.path, columns, lambda row: f"row {row + 1}", {}), chosen, missing_ids)
    table = read_text(file, *layout)
    named = layout.format not in ("headerless", "movielens") or "1" not in table.columns
    table, chosen = _select(table, asked, missing_ids, named=named, warn=first)
    return table, dataclasses.replace(chosen, history="item") if layout.format == "lists" else chosen


def _select(
    table: Table, asked: Columns, missing_ids: str, *, named: bool = True, warn: bool = True
) -> tuple[Table, Columns]:
    """The columns chosen alone, a row an event, ids as integers or text; without names a sure column of times is found."""
    chosen = choose_columns(table.path, list(table.columns), asked, header=named)
    if not (named or chosen.time):
        left = [name for name in table.columns if name not in (chosen.user, chosen.item)]
        times = [name for name in left if look_like_times(table.columns[name])]
        chosen = dataclasses.replace(chosen, time=times[0] if len(times) == 1 else "")
    for name, kind in ((chosen.user, "token"), (chosen.item, "token"), (chosen.history, "token_seq")):
        if table.kinds.get(name, kind) != kind:
            raise ValueError(f"{table.path}, line 1, column {name!r}: expected type {kind}, got {table.kinds[name]}")
    if warn:
        warn_of_unused(table.path, list(table.columns), chosen)
    names = [name for name in (chosen.user, chosen.item, chosen.time) if name]
    if chosen.history:
        table, names = _exploded(table, chosen), [chosen.user, chosen.history]
        chosen = dataclasses.replace(chosen, item=chosen.history)
    table = dataclasses.replace(table, columns={name: table.columns[name] for name in names})
    if missing_ids == "drop":
        table = _without_missing(table, names[:2])
    columns = table.columns | {name: _ids(table, name) for name in names[:2]}
    return dataclasses.replace(table, columns=columns), chosen


def _without_missing(table: Table, names: Sequence[str]) -> Table:
    """The rows that have all the ids."""
    frame = pl.DataFrame(list(table.columns.values()))
    here = frame.select(~pl.any_horizontal(scans.is_missing(name, frame.schema[name]) for name in names)).to_series()
    rows = here.arg_true().to_numpy()
    if not len(rows):
        raise ValueError(f"{table.path}: no row has a user and an item id")
    columns = {name: column.filter(here) for name, column in table.columns.items()}
    return Table(table.path, columns, lambda row: table.place(int(rows[row])), table.kinds, len(here) - len(rows))


def _exploded(table: Table, chosen: Columns) -> Table:
    """A row an event, of rows of users with their histories; each user once."""
    user, history = table.columns[chosen.user], table.columns[chosen.history]
    if user.is_duplicated().any():
        row = int(user.is_duplicated().arg_true()[-1])
        raise table.error(row, chosen.user, f"expected one row a user, {shown(user[row])} is there twice")
    if not (isinstance(history.dtype, (pl.List, pl.Array)) and history.dtype.inner.is_numeric()):  # type: ignore[union-attr]
        try:
            history = history.to_frame("items").select(scans.history_lists("items", history.dtype)[0])["items"]
        except ValueError as error:
            raise ValueError(f"{table.path}, column {chosen.history!r}: {error}") from None
        except pl.exceptions.PolarsError as error:
            raise ValueError(
                f"{table.path}, column {chosen.history!r}: not a list of ids: {str(error)[:200]}"
            ) from None
    rows = pl.DataFrame({chosen.user: user, chosen.history: history}).with_row_index("the row of the table")
    rows = rows.filter(pl.col(chosen.history).list.len() > 0).explode(chosen.history)
    if not rows.height:
        raise ValueError(f"{table.path}, column {chosen.history!r}: there is no event")
    line = rows["the row of the table"].to_numpy()
    columns = {name: rows[name] for name in (chosen.user, chosen.history)}
    return Table(table.path, columns, lambda row: table.place(int(line[row])), {})


def _ids(table: Table, name: str) -> pl.Series:
    """A column of ids as integers or text; ValueError naming the first row without one."""
    column = table.columns[name]
    try:
        value, wrong = scans.id_columns(name, column.dtype)
    except ValueError as error:
        raise ValueError(f"{table.path}, column {name!r}: {error}") from None
    found = column.to_frame().select(value.alias("value"), wrong.alias("wrong"))
    if found["wrong"].any():
        row = int(found["wrong"].arg_max() or 0)
        raise table.error(row, name, f"expected an id, text or a whole number, got {column[row]}")
    if found["value"].null_count():
        row = int(found["value"].is_null().arg_max() or 0)
        what = "null" if column[row] is None else column[row]
        raise table.error(row, name, f"the id is missing ({what}); {scans.DROP}")
    return found["value"].alias(name)


def _joined(parts: list[tuple[Table, Columns]]) -> tuple[Table, Columns]:
    """The parts one after the other, under the names of the first; whole numbers written with .0 are those numbers."""
    (table, chosen), *others = parts
    if others:
        for other, columns in others:
            if bool(columns.time) != bool(chosen.time):
                raise ValueError(f"{other.path}: expected a time column like {table.path}, or none in both")
        ends = np.cumsum([len(part.columns[columns.user]) for part, columns in parts])

        def place(row: int) -> str:
            number = int(np.searchsorted(ends, row, side="right"))
            part = parts[number][0]
            return f"{part.path.name}, {part.place(row - int(ends[number - 1] if number else 0))}"

        roles = ["user", "item", "time"] if chosen.time else ["user", "item"]
        columns = {
            getattr(chosen, role): _stacked([part.columns[getattr(names, role)] for part, names in parts])
            for role in roles
        }
        table = Table(table.path.parent, columns, place, {}, sum(part.dropped for part, _ in parts))
    for name in (chosen.user, chosen.item):
        table.columns[name] = scans.plain_ids(table.columns[name])
    return table, chosen


def _stacked(columns: list[pl.Series]) -> pl.Series:
    """The columns one below the other: of unlike kinds as date-times if all are, else as text."""
    if len({str(column.dtype) for column in columns}) > 1:
        temporal = all(isinstance(column.dtype, (pl.Date, pl.Datetime)) for column in columns)
        columns = [c.cast(pl.Datetime("ns")) if temporal else c.cast(pl.String) for c in columns]
    return pl.concat([column.alias(columns[0].name) for column in columns])


def check_file(path: str | Path) -> Path:
    """The path, if it names a file that is not empty."""
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"{path}: is a directory, expected a file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    return path


def input_files(data: Any) -> list[File]:
    """The file itself, or the parts in a folder in natural order; names from "_" or "." are not data (Spark's)."""
    if not isinstance(data, (str, os.PathLike)):
        content = bytes(data) if not hasattr(data, "read") else data.read()
        content = content.encode() if isinstance(content, str) else content
        if not content:
            raise ValueError("the data in memory: empty")
        return [File(Path(str(getattr(data, "name", "data in memory"))), content)]
    path = Path(data).expanduser()
    if not path.is_dir():
        return [File(check_file(path))]
    found = [p for p in path.rglob("*") if p.is_file() and not any(n[0] in "._" for n in p.relative_to(path).parts)]
    found = [File(p) for p in found if p.stat().st_size]
    if not found:
        raise ValueError(f"{path}: the folder has no file with data")
    return sorted(found, key=lambda file: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", str(file.path))])


def detect(file: File, format: str = "auto", separator: str = "", asked: Columns = NOT_ASKED) -> Layout:
    """How to read the file, by suffix and first lines; ValueError if neither tells."""
    if format not in ("auto", *FORMATS):
        raise ValueError(f"{file.path}: unknown format {format!r}, expected auto or one of {', '.join(FORMATS)}")
    separator = {"tab": "\t", "\\t": "\t", "space": " "}.get(separator, separator)
    if format in ("csv", "tsv") and not separator:
        first = next((line for line in first_lines(file) if line.strip()), "")
        separator = find_separator(first, "," if format == "csv" else "\t", asked)
    if format != "auto":
        return Layout(format, separator)
    head = file.content[:4] if file.content is not None else _magic(file.path)
    suffix = SUFFIXES.get(file.suffix, "")
    if head.startswith(b"PAR1") or suffix == "parquet":
        return Layout("parquet")
    first = next((line for line in first_lines(file) if line.strip()), "")
    if not first:
        raise ValueError(f"{file.path}: the file is empty")
    if suffix in ("csv", "tsv"):
        return Layout(suffix, separator or find_separator(first, "," if suffix == "csv" else "\t", asked))
    if suffix == "jsonl" or (not suffix and first.lstrip().startswith("{")):
        return Layout("jsonl")
    if suffix == "atomic" or ":token" in first:
        return Layout("atomic", separator)
    sniffed = separator or find_separator(first, "\t", asked)
    if are_named(split_header(first, sniffed), asked):
        return Layout("tsv" if sniffed == "\t" else "csv", sniffed)
    if "::" in first:
        return Layout("movielens", separator)
    if suffix == "pairs":
        return Layout(_format_of_fields([line.split(separator or None) for line in first_lines(file)]), separator)
    if suffix:
        return Layout(suffix, separator)
    raise ValueError(
        f"{file.path}: cannot tell the format from {file.suffix!r}, name one of {', '.join(FORMATS)} (--data.format)"
    )


def _format_of_fields(lines: list[list[str]]) -> str:
    """What lines without a header are: pairs, lists (one line a user), or headerless columns with a rating or time."""
    lines = [line for line in lines if line]
    widths = {len(line) for line in lines}
    once = len({line[0] for line in lines}) == len(lines) > 1
    if min(widths, default=2) < 2 or widths == {2}:
        return "pairs"
    if len(widths) > 1:
        return "lists" if once else "pairs"
    timed = any(look_like_times(pl.Series(column, dtype=pl.String)) for column in list(zip(*lines, strict=True))[2:])
    return "headerless" if max(widths) <= 4 and (timed or not once) else "lists" if once else "pairs"


def common_layout(files: Sequence[File], format: str, separator: str, asked: Columns) -> Layout:
    """The layout of the first file, if the others have its format."""
    layout = detect(files[0], format, separator, asked)
    for file in files[1:]:
        other = detect(file, format, separator, asked)
        if other.format != layout.format:
            raise ValueError(f"{file.path}: expected files of one format, got {other.format} beside {layout.format}")
    return layout


def _magic(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(4)


def parse_times(table: Table, name: str) -> np.ndarray:
    """The time column as int64 or finite float64 (any unit: only the order counts)."""
    column = table.columns[name]
    try:
        times = time_numbers(column)
    except ValueError as error:
        raise ValueError(f"{table.path}, column {name!r}: {error}") from None
    if times.null_count():
        row = int(times.is_null().arg_max() or 0)
        raise table.error(row, name, f"expected {EXPECTED}, got {shown(column[row])}")
    return times.to_numpy()
