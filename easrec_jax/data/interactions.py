"""Interactions of users with items in time order, and the readers that make them from files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

    from easrec_jax.data import readers

DUPLICATES = ("keep", "drop")


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
        """Inner ids, int32 [len(raw_ids)], 0 where unknown; an id x is looked up as str(x)."""
        if isinstance(raw_ids, (str, bytes)):
            raise ValueError(f"raw ids: expected a sequence of ids, got the single id {raw_ids!r}")
        return np.fromiter((self._inner.get(str(raw_id), 0) for raw_id in raw_ids), np.int32)

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
    path: str | Path,
    *,
    format: str = "auto",
    user_column: str = "",
    item_column: str = "",
    time_column: str = "",
    min_history: int = 3,
    k_core: int = 0,
    duplicates: str = "keep",
) -> Interactions:
    """Read a file of interactions; users and items are numbered by first appearance in the file.

    A history is in time order, ties and files without times in row order. Then, in this order: duplicates="drop" keeps
    the earliest interaction of each user with each item; k_core drops users and items with fewer interactions, again
    and again; min_history drops users with fewer (leave-one-out needs 3). ValueError names file, line and column of
    bad input; FileNotFoundError for a missing file. Formats: see `readers.FORMATS`.
    """
    from easrec_jax.data import readers

    if min_history < 1:
        raise ValueError(f"min_history: expected 1 or more, got {min_history}")
    if k_core < 0:
        raise ValueError(f"k_core: expected 0 or more, got {k_core}")
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates: expected one of {', '.join(DUPLICATES)}, got {duplicates!r}")
    table, columns = readers.read_table(path, format, user_column, item_column, time_column)
    user, raw_users = encode_column(table, columns.user)
    item, raw_items = encode_column(table, columns.item)
    order = time_order(user, readers.parse_times(table, columns.time) if columns.time else None)
    if order is not None:
        user, item = user[order], item[order]
    if duplicates == "drop":
        first = np.sort(np.unique(user.astype(np.int64) * len(raw_items) + item, return_index=True)[1])
        user, item = user[first], item[first]
    keep = keep_core(table.path, user, item, k_core)
    user, item = user[keep], item[keep]
    keep = keep_long(table.path, user, min_history)
    user, kept_users = renumber(user[keep], len(raw_users))
    item, kept_items = renumber(item[keep], len(raw_items))
    return Interactions(
        items=(item + 1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(user))]).astype(np.int64),
        user_ids=IdMap(tuple(str(raw) for raw in raw_users.gather(kept_users))),
        item_ids=IdMap(tuple(str(raw) for raw in raw_items.gather(kept_items))),
        dropped_users=len(raw_users) - len(kept_users),
    )


def encode_column(table: readers.Table, name: str) -> tuple[np.ndarray, pl.Series]:
    """Codes from 0 by first appearance, int32 [rows], and the raw id of each code; ValueError for a blank id."""
    import polars as pl

    from easrec_jax.data import readers

    column = table.columns[name]
    raw = column.unique(maintain_order=True)
    codes = pl.DataFrame({"id": raw, "code": np.arange(len(raw), dtype=np.int32)})
    code = column.to_frame("id").join(codes, on="id", how="left", maintain_order="left")["code"].to_numpy()
    if raw.dtype == pl.String:
        blank = raw.str.strip_chars() == ""
        if blank.any():
            row = int(np.argmax(code == (blank.arg_max() or 0)))
            raise table.error(row, name, f"expected an id, got {readers.shown(column[row])}")
    return code, raw


def time_order(user: np.ndarray, times: np.ndarray | None) -> np.ndarray | None:
    """The rows by user, then time, then row; None where they are so already."""
    if times is not None:
        return np.lexsort((times, user))
    return None if np.all(user[1:] >= user[:-1]) else np.argsort(user, kind="stable")


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


@dataclass(frozen=True, eq=False)
class Features:
    """What a RecBole `.item` or `.user` file says of each id: `columns[name][k]` is of inner id k.

    Position 0 (padding) and ids without a row hold "" or NaN. A token_seq stays one string: see `split_tokens`.
    """

    names: tuple[str, ...]
    kinds: dict[str, str]  # token, token_seq, float or float_seq
    columns: dict[str, list[str] | np.ndarray]  # list of str [ids + 1]; float32 [ids + 1] for the kind float
    missing: int  # ids without a row


def split_tokens(text: str) -> tuple[str, ...]:
    """The tokens of a token_seq value."""
    return tuple(text.split())


def read_features(path: str | Path, ids: IdMap) -> Features:
    """Read a RecBole `.item` or `.user` file, whose first column is the id; rows of ids not in `ids` are left out."""
    import polars as pl

    from easrec_jax.data import readers

    table = readers.read_text(readers.check_file(path), "atomic")
    id_name, *names = table.columns
    inner = ids.encode(table.columns[id_name])
    known, counts = np.flatnonzero(inner), np.bincount(inner, minlength=len(ids) + 1)
    if not known.size:
        raise ValueError(
            f"{path}, column {readers.shown(id_name)}: none of its {len(inner)} ids is among the {len(ids)} asked for"
        )
    if counts[1:].max() > 1:
        row = int(np.flatnonzero(inner == counts[1:].argmax() + 1)[1])
        raise table.error(row, id_name, f"the id {readers.shown(table.columns[id_name][row])} is there twice")
    columns: dict[str, list[str] | np.ndarray] = {}
    for name in names:
        text = table.columns[name]
        if table.kinds[name] == "float":
            number = text.cast(pl.Float32, strict=False)
            wrong = number.is_null() & (text != "")
            if wrong.any():
                row = int(wrong.arg_max() or 0)
                raise table.error(row, name, f"expected a number, got {readers.shown(text[row])}")
            column: Any = np.full(len(ids) + 1, np.nan, np.float32)
            column[inner[known]] = number.gather(known).fill_null(float("nan")).to_numpy()
            columns[name] = column
        else:
            values = np.full(len(ids) + 1, "", object)
            values[inner[known]] = text.gather(known).to_list()
            columns[name] = values.tolist()
    kinds = {name: table.kinds[name] for name in names}
    return Features(tuple(names), kinds, columns, int((counts[1:] == 0).sum()))
