"""Interactions in any form as columns of users, items and times, a row an event: files, folders of parts, tables in memory.

Errors name file, line and column. Imports polars: import this where it is used.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from easrec_jax.data.columns import Columns, choose_columns, excerpt, warn_of_unused
from easrec_jax.data.id_rules import DROP, history_lists, id_columns, is_missing, plain_ids
from easrec_jax.data.inputs import File, are_paths, input_files
from easrec_jax.data.memory import in_memory
from easrec_jax.data.readers import Layout, common_layout
from easrec_jax.data.reading import Reading
from easrec_jax.data.table import Table
from easrec_jax.data.times import look_like_times


def read_events(data: Any, how: Reading) -> tuple[Table, Columns]:
    """Read interactions, one row an event; ids are text or integers (text may be blank), times are unparsed.

    `history` of the columns: a row was a user; the events of each are then one after the other under the name `item`.
    `data` is whatever `input_files` takes (a file, a folder, a pattern, an address, several of these, content in memory), or a
    table in memory.
    """
    asked, missing_ids = how.columns, how.missing_ids
    stored = isinstance(data, (str, os.PathLike, bytes, bytearray, memoryview)) or are_paths(data)
    if not stored and not hasattr(data, "read"):
        return joined([_select(in_memory(data), asked, missing_ids)])
    files = input_files(data)
    layout = common_layout(files, how.format, how.separator, asked)
    return joined([_read_file(file, layout, asked, missing_ids, warn=not n) for n, file in enumerate(files)])


def _read_file(
    file: File, layout: Layout, asked: Columns, missing_ids: str, *, warn: bool = True
) -> tuple[Table, Columns]:
    """One file as the columns chosen; `warn` of unused ones, which the first file of a folder does for all."""
    if layout.reader.read is None:
        table, asked = _read_stream(file, layout, asked, warn=warn)
        return _select(table, asked, missing_ids, warn=False)
    table, chosen = _select(layout.reader.read(file, layout.separator), asked, missing_ids, warn=warn)
    return table, dataclasses.replace(chosen, history=chosen.item) if table.by_user else chosen


def _read_stream(file: File, layout: Layout, asked: Columns, *, warn: bool) -> tuple[Table, Columns]:
    """The columns chosen, of which no others are read."""
    assert layout.reader.stream is not None, f"the reader {layout.reader.name} reads nothing"
    with layout.reading(file.path, [file]):
        frame, names = layout.reader.stream.scan([file], layout.separator)
        chosen = choose_columns(file.path, names, asked)
        needed = [name for name in (chosen.user, chosen.item, chosen.time, chosen.history) if name]
        read = frame.select(needed).collect()
    if warn:
        warn_of_unused(file.path, names, chosen)
    if not read.height:
        raise ValueError(f"{file.path}: the file has no row")
    return Table(file.path, {name: read[name] for name in needed}), chosen


def _select(table: Table, asked: Columns, missing_ids: str, *, warn: bool = True) -> tuple[Table, Columns]:
    """The columns chosen alone, a row an event, ids as integers or text; without names a sure column of times is found."""
    chosen = choose_columns(table.path, list(table.columns), asked, header=table.named)
    if not (table.named or chosen.time):
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
    here = frame.select(~pl.any_horizontal(is_missing(name, frame.schema[name]) for name in names)).to_series()
    rows = here.arg_true().to_numpy()
    if not len(rows):
        raise ValueError(f"{table.path}: no row has a user and an item id")
    columns = {name: column.filter(here) for name, column in table.columns.items()}
    return dataclasses.replace(
        table, columns=columns, place=lambda row: table.place(int(rows[row])), dropped=len(here) - len(rows)
    )


def _exploded(table: Table, chosen: Columns) -> Table:
    """A row an event, of rows of users with their histories; each user once."""
    user, history = table.columns[chosen.user], table.columns[chosen.history]
    if user.is_duplicated().any():
        row = int(user.is_duplicated().arg_true()[-1])
        raise table.error(row, chosen.user, f"expected one row a user, {excerpt(user[row])} is there twice")
    if not (isinstance(history.dtype, (pl.List, pl.Array)) and history.dtype.inner.is_numeric()):  # type: ignore[union-attr]
        try:
            history = history.to_frame("items").select(history_lists("items", history.dtype)[0])["items"]
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
    return Table(table.path, columns, lambda row: table.place(int(line[row])))


def _ids(table: Table, name: str) -> pl.Series:
    """A column of ids as integers or text; ValueError naming the first row without one."""
    column = table.columns[name]
    try:
        value, wrong = id_columns(name, column.dtype)
    except ValueError as error:
        raise ValueError(f"{table.path}, column {name!r}: {error}") from None
    found = column.to_frame().select(value.alias("value"), wrong.alias("wrong"))
    if found["wrong"].any():
        row = int(found["wrong"].arg_max() or 0)
        raise table.error(row, name, f"expected an id, text or a whole number, got {column[row]}")
    if found["value"].null_count():
        row = int(found["value"].is_null().arg_max() or 0)
        what = "null" if column[row] is None else column[row]
        raise table.error(row, name, f"the id is missing ({what}); {DROP}")
    return found["value"].alias(name)


def joined(parts: list[tuple[Table, Columns]]) -> tuple[Table, Columns]:
    """The parts one after the other, under the names of the first; whole numbers written with .0 are those numbers.

    `ValueError` where some have times and others none.
    """
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
        table = Table(table.path.parent, columns, place, dropped=sum(part.dropped for part, _ in parts))
    for name in (chosen.user, chosen.item):
        table.columns[name] = plain_ids(table.columns[name])
    return table, chosen


def _stacked(columns: list[pl.Series]) -> pl.Series:
    """The columns one below the other: of unlike kinds as date-times if all are, else as text."""
    if len({str(column.dtype) for column in columns}) > 1:
        temporal = all(isinstance(column.dtype, (pl.Date, pl.Datetime)) for column in columns)
        columns = [c.cast(pl.Datetime("ns")) if temporal else c.cast(pl.String) for c in columns]
    return pl.concat([column.alias(columns[0].name) for column in columns])
