"""Interactions of users with items in time order, and the readers that make them from files."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easrec_jax.data.ids import id_text
from easrec_jax.data.order import check_equal_times, history_order

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

    from easrec_jax.data.text import Table

DUPLICATES, MISSING_IDS = ("keep", "drop"), ("error", "drop")
NOTABLE, NOTABLE_IN_ORDER = 0.1, 0.02  # shares of tied events that are told: in any file, in one in time order
NOTABLE_EVENTS = 100  # and how many at least


@dataclass(frozen=True)
class IdMap:
    """Raw ids and their inner ids 1..n; inner id 0 is padding and has no raw id.

    `raw[k]` is the raw id of inner id k + 1. Raw ids are distinct strings that are not empty.
    """

    raw: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", tuple(self.raw))
        if not all(isinstance(raw_id, str) and raw_id for raw_id in self.raw):
            raise ValueError("raw ids: expected strings that are not empty")
        if len(self._inner) != len(self.raw):
            raise ValueError(f"raw ids: expected distinct ids, got {len(self.raw) - len(self._inner)} repeated ones")

    @cached_property
    def _inner(self) -> dict[str, int]:
        return {raw_id: position + 1 for position, raw_id in enumerate(self.raw)}

    def __len__(self) -> int:
        return len(self.raw)

    def encode(self, raw_ids: Iterable[Any]) -> np.ndarray:
        """Inner ids, int32 [len(raw_ids)], 0 where unknown; an id is looked up as its text (`id_text`: 1.0 is "1")."""
        if isinstance(raw_ids, (str, bytes)):
            raise ValueError(f"raw ids: expected a sequence of ids, got the single id {raw_ids!r}")
        find = self._inner.get
        return np.fromiter((find(x if type(x) is str else id_text(x), 0) for x in raw_ids), np.int32)

    def decode(self, inner: Sequence[int] | np.ndarray) -> list[str]:
        """Raw ids of inner ids [n]; ValueError where one is padding (0) or out of range."""
        ids = np.asarray(inner)
        if ids.size == 0:
            return []
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise ValueError(f"inner ids: expected integers of shape [n], got {ids.dtype} of shape {list(ids.shape)}")
        wrong = ids[(ids < 1) | (ids > len(self.raw))]
        if wrong.size:
            meaning = " (padding)" if wrong[0] == 0 else ""
            raise ValueError(f"inner ids: expected 1 to {len(self.raw)}, got {wrong[0]}{meaning}")
        return [self.raw[inner_id - 1] for inner_id in ids.tolist()]

    def to_json(self) -> list[str]:
        """The raw ids as a plain list."""
        return list(self.raw)

    @classmethod
    def from_json(cls, raw: Sequence[str]) -> IdMap:
        """The map that `to_json` wrote."""
        return cls(tuple(raw))


@dataclass(frozen=True, eq=False)
class Interactions:
    """Every user's history of items, one after the other.

    User u (from 0) has the raw id `user_ids.raw[u]` and the history `items[offsets[u]:offsets[u + 1]]`.
    """

    items: np.ndarray  # int32 [interactions], inner ids 1..num_items, each history in time order
    offsets: np.ndarray  # int64 [users + 1]
    user_ids: IdMap
    item_ids: IdMap
    dropped_users: int = 0  # users of the file that k_core or min_history removed
    notes: tuple[str, ...] = ()  # what the reader left out, a line each

    def __post_init__(self) -> None:
        self.items.setflags(write=False)
        self.offsets.setflags(write=False)
        if self.offsets.shape != (self.num_users + 1,) or self.offsets[-1] != len(self.items):
            raise ValueError(
                f"offsets: expected {self.num_users + 1} from 0 to {len(self.items)}, got shape "
                f"{list(self.offsets.shape)} up to {self.offsets[-1] if self.offsets.size else 'nothing'}"
            )

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    @property
    def num_interactions(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> np.ndarray:
        """Interactions of each user, int64 [users]."""
        return np.diff(self.offsets)

    def history(self, user: int) -> np.ndarray:
        """A read-only view of one user's inner item ids in time order, int32 [length]."""
        if not 0 <= user < self.num_users:
            raise ValueError(f"user: expected 0 to {self.num_users - 1}, got {user}")
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def with_ids(self, item_ids: IdMap) -> Interactions:
        """The same histories under another id map, a trained model's; ValueError names items that it does not know."""
        inner = item_ids.encode(self.item_ids.raw)
        unknown = [raw for raw, new in zip(self.item_ids.raw, inner, strict=True) if new == 0]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {self.num_items} items are unknown to the model, such as {unknown[:3]}; "
                "expected the data that it was trained on (--data.path)"
            )
        items = np.concatenate([[0], inner]).astype(np.int32)[self.items]
        return Interactions(items, self.offsets, self.user_ids, item_ids, self.dropped_users)

    def restricted_to(self, item_ids: IdMap) -> tuple[Interactions, dict[str, int]]:
        """The events of the items that another id map knows, a trained model's, under that map; and what is left out.

        Left out: `items` that it does not know, their `events`, and `users` of whom fewer than 3 events are known
        (leave-one-out needs 3). ValueError if that is everyone.
        """
        inner = item_ids.encode(self.item_ids.raw)
        items = np.concatenate([[0], inner]).astype(np.int32)[self.items]
        known = items > 0
        user = np.repeat(np.arange(self.num_users), self.lengths)
        lengths = np.bincount(user[known], minlength=self.num_users)
        stay = lengths >= 3
        if not stay.any():
            raise ValueError(
                f"no user has 3 events or more of the model's {len(item_ids)} items ({np.count_nonzero(inner)} of the "
                f"data's {self.num_items} items are among them); expected data like those it was trained on (--data.path)"
            )
        users = tuple(raw for raw, stays in zip(self.user_ids.raw, stay.tolist(), strict=True) if stays)
        offsets = np.concatenate([[0], np.cumsum(lengths[stay])]).astype(np.int64)
        left_out = {
            "items": int(np.count_nonzero(inner == 0)),
            "events": int(np.count_nonzero(~known)),
            "users": int(np.count_nonzero(~stay)),
        }
        kept = items[known & stay[user]]
        return Interactions(kept, offsets, IdMap(users), item_ids, self.dropped_users + left_out["users"]), left_out

    def fingerprint(self) -> str:
        """SHA-256, hex, of the user ids, the item ids and the histories: the same for the same interactions."""
        digest = hashlib.sha256()
        for raw in (self.user_ids.raw, self.item_ids.raw):
            digest.update(json.dumps(raw).encode())
        for array, kind in ((self.offsets, "<i8"), (self.items, "<i4")):
            digest.update(array.astype(kind).tobytes())
        return digest.hexdigest()

    def identity(self) -> dict[str, Any]:
        """What tells data apart: their sizes, and the fingerprint of their content."""
        sizes = {"users": self.num_users, "items": self.num_items, "interactions": self.num_interactions}
        return sizes | {"fingerprint": self.fingerprint()}

    def histories_of(self, user_ids: Sequence[Any]) -> list[list[str]]:
        """Raw item ids of the histories of users, by raw user id; ValueError names users that are not here."""
        inner = self.user_ids.encode(user_ids)
        unknown = [str(raw) for raw, number in zip(user_ids, inner, strict=True) if number == 0]
        if unknown:
            dropped = f" ({self.dropped_users} others have too few events)" if self.dropped_users else ""
            shown = ", ".join(repr(raw[:60]) for raw in unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            raise ValueError(f"unknown users {shown}: not among the {self.num_users} of the data{dropped}")
        return [self.item_ids.decode(self.history(number - 1)) for number in inner.tolist()]

    def counts(self) -> dict[str, int | float]:
        """The sizes to print and record."""
        lengths = self.lengths
        sizes = {"users": self.num_users, "items": self.num_items, "interactions": self.num_interactions}
        spread = {"min_length": int(lengths.min()), "median_length": float(np.median(lengths))}
        mean = {"mean_length": float(lengths.mean()), "max_length": int(lengths.max())}
        return sizes | spread | mean | {"dropped_users": self.dropped_users}


def read_interactions(
    data: Any,
    *,
    format: str = "auto",
    separator: str = "",
    user_column: str = "",
    item_column: str = "",
    time_column: str = "",
    history_column: str = "",
    equal_times: str = "mixed",
    missing_ids: str = "error",
    min_history: int = 3,
    k_core: int = 0,
    duplicates: str = "keep",
) -> Interactions:
    """Read interactions: a file, a folder of parts, a table in memory (polars, pandas, Arrow), or rows (user, item[, time]).

    Users are numbered in the order of their ids. A history is in time order; events of one user at the same time are in
    the order of a fixed hash, so that the order of the rows counts for nothing (equal_times="file": in row order), and
    without times the row order is the time order. Items are numbered as they come in these histories. Before that, in
    this order: missing_ids="drop" leaves out rows without an id (else an error); duplicates="drop" keeps the earliest
    interaction of each user with each item; k_core drops users and items with fewer interactions, again and again;
    min_history drops users with fewer (leave-one-out needs 3). What is left out is in `notes`.
    ValueError names file, line and column of bad input; FileNotFoundError for a missing file. Formats: `readers.FORMATS`.
    """
    from easrec_jax.data import readers

    if min_history < 1:
        raise ValueError(f"min_history: expected 1 or more, got {min_history}")
    if k_core < 0:
        raise ValueError(f"k_core: expected 0 or more, got {k_core}")
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates: expected one of {', '.join(DUPLICATES)}, got {duplicates!r}")
    check_equal_times(equal_times)
    if missing_ids not in MISSING_IDS:
        raise ValueError(f"missing_ids: expected one of {', '.join(MISSING_IDS)}, got {missing_ids!r}")
    table, columns = readers.read_table(
        data, format, user_column, item_column, time_column, separator=separator, history_column=history_column,
        missing_ids=missing_ids,
    )  # fmt: skip
    user, raw_users = encode_column(table, columns.user, ordered=True)
    item, raw_items = encode_column(table, columns.item)
    times = readers.parse_times(table, columns.time) if columns.time else None
    user, item = in_time_order(table.path, user, item, times, raw_users, raw_items, equal_times)
    notes = [f"{table.dropped:,} rows without a user or item id dropped (missing_ids=drop)"] if table.dropped else []
    if duplicates == "drop":
        first = np.sort(np.unique(user.astype(np.int64) * len(raw_items) + item, return_index=True)[1])
        if len(first) < len(user):
            notes.append(f"{len(user) - len(first):,} repeated interactions dropped (duplicates=drop)")
        user, item = user[first], item[first]
    keep = keep_core(table.path, user, item, k_core)
    if not keep.all():
        people, things = (len(np.unique(codes)) - len(np.unique(codes[keep])) for codes in (user, item))
        notes.append(
            f"{np.count_nonzero(~keep):,} interactions, {people:,} users, {things:,} items dropped (k_core={k_core})"
        )
    user, item = user[keep], item[keep]
    keep = keep_long(table.path, user, min_history)
    if not keep.all():
        people = len(np.unique(user[~keep]))
        notes.append(
            f"{people:,} users with fewer than {min_history} events dropped, {np.count_nonzero(~keep):,} events in all"
        )
    user, kept_users = renumber(user[keep], len(raw_users))
    item, kept_items = by_appearance(item[keep], len(raw_items))
    return Interactions(
        items=(item + 1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(user))]).astype(np.int64),
        user_ids=IdMap(tuple(str(raw) for raw in raw_users.gather(kept_users))),
        item_ids=IdMap(tuple(str(raw) for raw in raw_items.gather(kept_items))),
        dropped_users=len(raw_users) - len(kept_users),
        notes=tuple(notes),
    )


def encode_column(table: Table, name: str, *, ordered: bool = False) -> tuple[np.ndarray, pl.Series]:
    """Codes from 0, int32 [rows], and the raw id of each code; ValueError for a blank id.

    `ordered`: by id, numbers by their size and text by its letters; else in any order.
    """
    import polars as pl

    from easrec_jax.data.columns import shown
    from easrec_jax.data.scans import DROP

    column = table.columns[name]
    raw = column.unique(maintain_order=True)
    if ordered:
        number = raw.cast(pl.Int64, strict=False)
        keys = ["id"] if number.null_count() else ["number", "id"]
        raw = pl.DataFrame({"id": raw, "number": number}).sort(keys)["id"]
    codes = pl.DataFrame({"id": raw, "code": np.arange(len(raw), dtype=np.int32)})
    code = column.to_frame("id").join(codes, on="id", how="left", maintain_order="left")["code"].to_numpy()
    if raw.dtype == pl.String:
        blank = raw.str.strip_chars() == ""
        if blank.any():
            row = int(np.argmax(code == (blank.arg_max() or 0)))
            raise table.error(row, name, f"expected an id, got {shown(column[row])}; {DROP}")
    return code, raw


def in_time_order(
    path: Path, user: np.ndarray, item: np.ndarray, times: np.ndarray | None, raw_users: pl.Series, raw_items: pl.Series,
    equal_times: str,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """User and item codes with each user's history in order; warns where the order of many ties in the file is not kept."""
    if times is None and np.all(user[1:] >= user[:-1]):
        return user, item
    order, tied = history_order(user, item, times, raw_users, raw_items, equal_times)
    if times is not None and tied and equal_times == "mixed":
        rows = np.argsort(user, kind="stable")
        in_order = bool(np.all((times[rows[1:]] >= times[rows[:-1]]) | (user[rows[1:]] != user[rows[:-1]])))
        if tied >= max(NOTABLE_EVENTS, len(user) * (NOTABLE_IN_ORDER if in_order else NOTABLE)):
            warnings.warn(
                f"{path}: {tied:,} of {len(user):,} events share their time with another of the same user; such events are "
                "mixed by a fixed hash, equal_times=file (--data.equal_times) keeps the order of the rows",
                stacklevel=3,
            )
    return user[order], item[order]


def keep_core(path: Path, user: np.ndarray, item: np.ndarray, k_core: int) -> np.ndarray:
    """The interactions of the k-core, bool [interactions]: each user and item left has k_core or more."""
    keep = np.ones(len(user), bool)
    while k_core > 1:
        user_counts, item_counts = np.bincount(user[keep]), np.bincount(item[keep])
        left = keep.copy()
        left[keep] = (user_counts[user[keep]] >= k_core) & (item_counts[item[keep]] >= k_core)
        if not left.any():
            sizes = f"{len(np.unique(user))} users and {len(np.unique(item))} items"
            raise ValueError(f"{path}: k_core={k_core} leaves nothing of {len(user)} interactions of {sizes}")
        if left.sum() == keep.sum():
            break
        keep = left
    return keep


def keep_long(path: Path, user: np.ndarray, min_history: int) -> np.ndarray:
    """The interactions of users with min_history or more, bool [interactions]."""
    counts = np.bincount(user)
    if counts.max() < min_history:
        longest = f"the longest of {np.count_nonzero(counts)} users has {counts.max()}"
        raise ValueError(f"{path}: every history is shorter than {min_history}: {longest} (see min_history)")
    return counts[user] >= min_history


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
