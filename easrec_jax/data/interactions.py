"""Interactions of users with items in time order. `data.read` makes them from files and tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from easrec_jax.data.clock import event_codes
from easrec_jax.data.id_column import IdColumn
from easrec_jax.data.ids import id_text
from easrec_jax.data.item_inputs import ItemInputs

BLOCK = 1 << 20  # events that are looked at together where all of them need not be in memory


@dataclass(frozen=True)
class IdMap:
    """Raw ids and their inner ids 1..n; inner id 0 is padding and has no raw id.

    `raw[k]` is the raw id of inner id k + 1. Raw ids are distinct strings that are not empty. Those of a column stay in its file:
    each look-up reads it, so many are better asked for at once.
    """

    raw: tuple[str, ...] | IdColumn

    def __post_init__(self) -> None:
        if isinstance(self.raw, IdColumn):  # whoever wrote it looked at them
            return
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
        texts = (x if type(x) is str else id_text(x) for x in raw_ids)
        if isinstance(self.raw, IdColumn):
            return self.raw.find(list(texts))
        find = self._inner.get
        return np.fromiter((find(text, 0) for text in texts), np.int32)

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
        if isinstance(self.raw, IdColumn):
            return self.raw.take(ids - 1)
        return [self.raw[inner_id - 1] for inner_id in ids.tolist()]

    def in_memory(self) -> IdMap:
        """The same ids with a table in memory, for whoever looks them up again and again."""
        return IdMap(tuple(self.raw)) if isinstance(self.raw, IdColumn) else self

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

    items: np.ndarray
    """int32 [interactions], inner ids 1..num_items, each history in time order."""
    offsets: np.ndarray
    """int64 [users + 1]."""
    user_ids: IdMap
    """Raw ids of users, in the order of `offsets`."""
    item_ids: IdMap
    """Raw ids of items."""
    dropped_users: int = 0
    """Users of the file that k_core or min_history removed."""
    notes: tuple[str, ...] = ()
    """What the reader left out, a line each."""
    part_ends: np.ndarray | None = None
    """int64 [users 2], where training and validation end; None: leave-one-out."""
    features: ItemInputs | None = None
    """What networks read of each item; None: its id alone."""
    times: np.ndarray | None = None
    """float64 [interactions], seconds since 1970; None: not kept."""

    def __post_init__(self) -> None:
        for array in (self.items, self.offsets, self.part_ends, self.times):
            if array is not None:
                array.setflags(write=False)
        if self.offsets.shape != (self.num_users + 1,) or self.offsets[-1] != len(self.items):
            raise ValueError(
                f"offsets: expected {self.num_users + 1} from 0 to {len(self.items)}, got shape "
                f"{list(self.offsets.shape)} up to {self.offsets[-1] if self.offsets.size else 'nothing'}"
            )

    @cached_property
    def time_codes(self) -> np.ndarray | None:
        """uint8 [interactions 3], of each event's time (`data.clock`); None where times are not kept."""
        return None if self.times is None else event_codes(self.times, self.offsets)

    @property
    def num_users(self) -> int:
        """Users, each with a history."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Items that have an inner id; padding is none."""
        return len(self.item_ids)

    @property
    def num_interactions(self) -> int:
        """Events of all users."""
        return len(self.items)

    @property
    def lengths(self) -> np.ndarray:
        """Interactions of each user, int64 [users]."""
        return np.diff(self.offsets)

    def blocks(self, events: int = BLOCK) -> Iterator[tuple[int, int]]:
        """(first, last + 1) of users after users, who have about so many events together, or one more: all of them in order."""
        ends = np.searchsorted(self.offsets, np.arange(events, self.num_interactions, events))
        bounds = np.unique([0, *ends.tolist(), self.num_users]).tolist()
        yield from zip(bounds[:-1], bounds[1:], strict=True)

    def history(self, user: int) -> np.ndarray:
        """A read-only view of one user's inner item ids in time order, int32 [length]."""
        if not 0 <= user < self.num_users:
            raise ValueError(f"user: expected 0 to {self.num_users - 1}, got {user}")
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def restricted_to(self, item_ids: IdMap) -> tuple[Interactions, dict[str, int]]:
        """The events of the items that another id map knows, a trained model's, under that map; and what is left out.

        Left out: `items` that it does not know, their `events`, and `users` of whom fewer than 3 events are known
        (leave-one-out needs 3; in other splits, users of whom none is). ValueError if that is everyone.
        """
        least = 3 if self.part_ends is None else 1
        if self.item_ids == item_ids and self.lengths.min() >= least:
            return replace(self, item_ids=item_ids, notes=()), {"items": 0, "events": 0, "users": 0}
        inner = item_ids.encode(self.item_ids.raw)
        items = np.concatenate([[0], inner]).astype(np.int32)[self.items]
        known = items > 0
        user = np.repeat(np.arange(self.num_users), self.lengths)
        lengths = np.bincount(user[known], minlength=self.num_users)
        stay = lengths >= least
        if not stay.any():
            raise ValueError(
                f"no user has {least} events or more of the model's {len(item_ids)} items ({np.count_nonzero(inner)} of the "
                f"data's {self.num_items} items are among them); expected data like those it was trained on (--data.path)"
            )
        users = tuple(raw for raw, stays in zip(self.user_ids.raw, stay.tolist(), strict=True) if stays)
        offsets = np.concatenate([[0], np.cumsum(lengths[stay])]).astype(np.int64)
        left_out = {
            "items": int(np.count_nonzero(inner == 0)),
            "events": int(np.count_nonzero(~known)),
            "users": int(np.count_nonzero(~stay)),
        }
        ends = None
        if self.part_ends is not None:
            before = np.concatenate([[0], np.cumsum(known & stay[user])])  # known events before each position
            ends = before[self.part_ends][stay]
        kept, dropped = known & stay[user], self.dropped_users + left_out["users"]
        times = None if self.times is None else self.times[kept]
        found = Interactions(items[kept], offsets, IdMap(users), item_ids, dropped, part_ends=ends, times=times)
        return found, left_out

    def fingerprint(self) -> str:
        """SHA-256, hex, of user and item ids, histories, their parts and times, and the items' features: the same for the same ones."""
        digest = hashlib.sha256()
        for raw in (self.user_ids.raw, self.item_ids.raw):
            for piece in _json_pieces(raw):
                digest.update(piece.encode())
        arrays = [(self.offsets, "<i8"), (self.items, "<i4")]
        if self.part_ends is not None:
            arrays.append((self.part_ends, "<i8"))
        if self.times is not None:
            arrays.append((self.times, "<f8"))
        for array, kind in arrays:
            for start in range(0, len(array), BLOCK):
                digest.update(array[start : start + BLOCK].astype(kind).tobytes())
        if self.features is not None:
            digest.update(self.features.digest().encode())
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
            some = ", ".join(repr(raw[:60]) for raw in unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            raise ValueError(f"unknown users {some}: not among the {self.num_users} of the data{dropped}")
        return [self.item_ids.decode(self.history(number - 1)) for number in inner.tolist()]

    def times_of(self, user_ids: Sequence[Any]) -> list[np.ndarray]:
        """The times of `histories_of` users that are here, seconds since 1970; `ValueError` where they are not kept."""
        if self.times is None:
            raise ValueError("the data keep no times: read them with times=True")
        users = (self.user_ids.encode(user_ids) - 1).tolist()
        return [self.times[self.offsets[user] : self.offsets[user + 1]] for user in users]

    def counts(self) -> dict[str, int | float]:
        """The sizes to print and record."""
        lengths = self.lengths
        sizes = {"users": self.num_users, "items": self.num_items, "interactions": self.num_interactions}
        spread = {"min_length": int(lengths.min()), "median_length": float(np.median(lengths))}
        mean = {"mean_length": float(lengths.mean()), "max_length": int(lengths.max())}
        return sizes | spread | mean | {"dropped_users": self.dropped_users}


def _json_pieces(raw: Sequence[str]) -> Iterator[str]:
    """`json.dumps(list(raw))`, some ids at a time."""
    yield "["
    for start in range(0, len(raw), BLOCK):
        yield (", " if start else "") + json.dumps(raw[start : start + BLOCK])[1:-1]
    yield "]"
