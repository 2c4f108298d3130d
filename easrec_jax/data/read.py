"""From interactions in any form to `Interactions`: codes of users and items, the order of histories, what is left out.

Imports polars: import this where it is used.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from easrec_jax.config.splits import FILES
from easrec_jax.data.clock import as_seconds
from easrec_jax.data.columns import Columns, excerpt
from easrec_jax.data.events import joined, read_events
from easrec_jax.data.id_rules import DROP
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.order import history_order
from easrec_jax.data.parts import parted
from easrec_jax.data.prepared import is_prepared, open_prepared
from easrec_jax.data.reading import Options
from easrec_jax.data.table import Table
from easrec_jax.data.times import parse_times

NOTABLE, NOTABLE_IN_ORDER = 0.1, 0.02  # shares of tied events that are told: in any file, in one in time order
NOTABLE_EVENTS = 100  # and how many at least


def read_interactions(data: Any, **options: Any) -> Interactions:
    """Read interactions: files (a path, folder, pattern or address, or several), a table in memory (polars, pandas, Arrow), or
    rows (user, item[, time]); a folder that `prepare` made is opened as it is.

    `options` are the fields of `Options`: format, separator, user_column, item_column, time_column, history_column,
    equal_times, missing_ids, min_history, k_core, duplicates, split, valid, test, times.

    Users are numbered in the order of their ids. A history is in time order; events of one user at the same time are in
    the order of a fixed hash, so that the order of the rows counts for nothing (equal_times="file": in row order), and
    without times the row order is the time order. Items are numbered as they come in these histories. Before that, in
    this order: missing_ids="drop" leaves out rows without an id (else an error); duplicates="drop" keeps the earliest
    interaction of each user with each item; k_core drops users and items with fewer interactions, again and again;
    min_history drops users with fewer (leave-one-out needs 3). What is left out is in `notes`. `split` is made of what is
    left; of `valid` and `test` a user's events come after his training events, whatever their times.
    ValueError names file, line and column of bad input; FileNotFoundError for a missing file. Formats: `readers.READERS`.
    """
    how = Options(**options)
    if is_prepared(data):
        return open_prepared(data, how)
    table, columns, part = _read_parts(data, how)
    coded = Coded(table.path, *encode_column(table, columns.user, ordered=True), *encode_column(table, columns.item))
    times = parse_times(table, columns.time) if columns.time else None
    coded = in_time_order(coded._replace(times=times, part=part), how.equal_times)
    if part is not None:
        _check_users(coded)
    notes = [f"{table.dropped:,} rows without a user or item id dropped (missing_ids=drop)"] if table.dropped else []
    if how.duplicates == "drop":
        coded, noted = without_repeats(coded)
        notes += noted
    coded, noted = in_core(coded, how.k_core)
    notes += noted
    coded, noted = long_enough(coded, how.min_history)
    split, found = FILES if how.files else how.split, numbered(coded, (*notes, *noted))
    if how.times:
        found = with_times(found, coded.times, table.path)
    return parted(found, split, times=coded.times, part=coded.part)


def with_times(data: Interactions, times: np.ndarray | None, source: Any) -> Interactions:
    """The interactions with these times; `ValueError` where there are none, or of an unknown unit."""
    if times is None:
        raise ValueError(
            f"{source}: model.times needs times, the data have none: expected a column of them (--data.time_column names it) and "
            "rows of single events"
        )
    return dataclasses.replace(data, times=as_seconds(times, source))


def _read_parts(data: Any, how: Options) -> tuple[Table, Columns, np.ndarray | None]:
    """The table, its columns, and of a split by files for each row 0, 1 or 2: training, validation or test event."""
    if not how.files:
        return *read_events(data, how), None
    read = [read_events(source, how) for source in (data, how.valid, how.test)]
    sizes = [len(table.columns[columns.user]) for table, columns in read]
    return *joined(read), np.repeat(np.arange(3), sizes)


def _check_users(coded: Coded) -> None:
    """Raise `ValueError` where a user of the validation or test events has no training event."""
    assert coded.part is not None
    unknown = np.setdiff1d(coded.user, coded.user[coded.part == 0])
    if len(unknown):
        first = excerpt(coded.users[int(unknown[0])])
        raise ValueError(
            f"{coded.path}: {len(unknown):,} users of the validation and test events have no training event (the first is "
            f"{first}); expected users of the training file"
        )


class Coded(NamedTuple):
    """Events as codes from 0 of the distinct raw ids of users and items."""

    path: Path
    user: np.ndarray  # int32 [events]
    users: pl.Series  # text or integers [codes]
    item: np.ndarray
    items: pl.Series
    times: np.ndarray | None = None
    part: np.ndarray | None = None  # 0, 1 or 2 of training, validation and test events, where they are files

    def at(self, rows: np.ndarray) -> Coded:
        """The events of these rows (by number or by mask) alone; the codes stay."""
        times, part = (None if one is None else one[rows] for one in (self.times, self.part))
        return self._replace(user=self.user[rows], item=self.item[rows], times=times, part=part)


def encode_column(table: Table, name: str, *, ordered: bool = False) -> tuple[np.ndarray, pl.Series]:
    """Codes from 0, int32 [rows], and the raw id of each code; ValueError for a blank id.

    `ordered`: by id, numbers by their size and text by its letters; else in any order.
    """
    column = table.columns[name]
    raw = column.unique(maintain_order=True)
    if ordered:
        raw = in_order(raw, by_number=not raw.cast(pl.Int64, strict=False).null_count())
    code = codes_of(column, raw)
    if raw.dtype == pl.String:
        blank = raw.str.strip_chars() == ""
        if blank.any():
            row = int(np.argmax(code == (blank.arg_max() or 0)))
            raise table.error(row, name, f"expected an id, got {excerpt(column[row])}; {DROP}")
    return code, raw


def in_order(raw: pl.Series, *, by_number: bool) -> pl.Series:
    """The ids by the number that they are, or as they are."""
    frame = pl.DataFrame({"id": raw, "number": raw.cast(pl.Int64, strict=False) if by_number else None})
    return frame.sort(["number", "id"] if by_number else ["id"])["id"]


def codes_of(column: pl.Series, raw: pl.Series) -> np.ndarray:
    """The place of each of the column's ids in `raw`, int32 [rows]."""
    codes = pl.DataFrame({"id": raw, "code": np.arange(len(raw), dtype=np.int32)})
    return column.to_frame("id").join(codes, on="id", how="left", maintain_order="left")["code"].to_numpy()


def in_time_order(coded: Coded, equal_times: str) -> Coded:
    """The events with each user's history in order, part by part; warns where the order of many ties in the file is not kept."""
    user, item, times = coded.user, coded.item, coded.times
    histories = user if coded.part is None else user.astype(np.int64) * 3 + coded.part
    if times is None and np.all(histories[1:] >= histories[:-1]):
        return coded
    order, tied, ordered = history_order(
        histories,
        times,
        lambda rows: coded.users.gather(user[rows]),
        lambda rows: coded.items.gather(item[rows]),
        equal_times,
    )
    if equal_times == "mixed":
        warn_of_ties(coded.path, tied, len(user), in_order=ordered)
    return coded.at(order)


def warn_of_ties(path: Path, tied: int, events: int, *, in_order: bool) -> None:
    """Warn where many events share their time with another of their user; `in_order`: the rows were in time order."""
    if tied >= max(NOTABLE_EVENTS, events * (NOTABLE_IN_ORDER if in_order else NOTABLE)):
        warnings.warn(
            f"{path}: {tied:,} of {events:,} events share their time with another of the same user; such events "
            "are mixed by a fixed hash, equal_times=file (--data.equal_times) keeps the order of the rows",
            stacklevel=4,
        )


def without_repeats(coded: Coded) -> tuple[Coded, list[str]]:
    """The first interaction of each user with each item, and a note if there are others."""
    pairs = coded.user.astype(np.int64) * len(coded.items) + coded.item
    first = np.sort(np.unique(pairs, return_index=True)[1])
    gone = len(pairs) - len(first)
    return coded.at(first), [f"{gone:,} repeated interactions dropped (duplicates=drop)"] if gone else []


def in_core(coded: Coded, k_core: int) -> tuple[Coded, list[str]]:
    """The k-core, in which each user and item has k_core events or more, and a note of what is not in it."""
    user, item = coded.user, coded.item
    keep = np.ones(len(user), bool)
    while k_core > 1:
        user_counts, item_counts = np.bincount(user[keep]), np.bincount(item[keep])
        left = keep.copy()
        left[keep] = (user_counts[user[keep]] >= k_core) & (item_counts[item[keep]] >= k_core)
        if not left.any():
            sizes = f"{len(np.unique(user))} users and {len(np.unique(item))} items"
            raise ValueError(f"{coded.path}: k_core={k_core} leaves nothing of {len(user)} interactions of {sizes}")
        if left.sum() == keep.sum():
            break
        keep = left
    if keep.all():
        return coded, []
    users, items = (len(np.unique(codes)) - len(np.unique(codes[keep])) for codes in (user, item))
    gone = f"{np.count_nonzero(~keep):,} interactions, {users:,} users, {items:,} items"
    return coded.at(keep), [f"{gone} dropped (k_core={k_core})"]


def long_enough(coded: Coded, min_history: int) -> tuple[Coded, list[str]]:
    """The events of users with min_history or more, and a note of the others; ValueError if no user has."""
    counts = np.bincount(coded.user)
    if counts.max() < min_history:
        longest = f"the longest of {np.count_nonzero(counts)} users has {counts.max()}"
        raise ValueError(f"{coded.path}: every history is shorter than {min_history}: {longest} (see min_history)")
    keep = counts[coded.user] >= min_history
    if keep.all():
        return coded, []
    users = f"{len(np.unique(coded.user[~keep])):,} users with fewer than {min_history} events"
    return coded.at(keep), [f"{users} dropped, {np.count_nonzero(~keep):,} events in all"]


def numbered(coded: Coded, notes: tuple[str, ...]) -> Interactions:
    """The events under inner ids: users in the order of their codes, items as they come."""
    user, kept_users = renumber(coded.user, len(coded.users))
    item, kept_items = by_appearance(coded.item, len(coded.items))
    return Interactions(
        items=(item + 1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(user))]).astype(np.int64),
        user_ids=IdMap(tuple(str(raw) for raw in coded.users.gather(kept_users))),
        item_ids=IdMap(tuple(str(raw) for raw in coded.items.gather(kept_items))),
        dropped_users=len(coded.users) - len(kept_users),
        notes=notes,
    )


def renumber(codes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes without gaps in the same order, and the old code of each."""
    kept = np.flatnonzero(np.bincount(codes, minlength=size))
    new = np.zeros(size, np.int64)
    new[kept] = np.arange(len(kept))
    return new[codes], kept


def by_appearance(codes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes from 0 in the order in which they first appear, and the old code of each."""
    first = np.full(size, len(codes), np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of repeated places the last value stays
    kept = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))]
    new = np.zeros(size, np.int64)
    new[kept] = np.arange(len(kept))
    return new[codes], kept
