"""Evaluation protocols: which items a target is ranked against, by a name.

`full`: all items. `uniN` / `popN`: N sampled negatives, uniform or by popularity over all interactions, drawn with
replacement, targets excluded, an item drawn twice counted once. With `_unseen` no item of the user's history counts: all of
it on the test items, held-out ones included. On the validation items all end with the validation items, so that no test item
ever reaches the choice of a model. Two more are published ones: `full_unseen_window` leaves out only the items that the
model reads, its last N events; in `full_seen_zero` items of the history score 0. Targets always keep their scores.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from easrec_jax.data.split import Part, Split


class Protocol(NamedTuple):
    name: str
    negatives: int  # 0: all items
    by_popularity: bool
    unseen: bool
    window: bool = False  # unseen: of the items that the model reads alone
    zero: bool = False  # seen items score 0

    @property
    def reads_history(self) -> bool:
        """Whether ranks among all items need to know all that a user has seen."""
        return not self.negatives and (self.zero or (self.unseen and not self.window))


def parse_protocol(name: str) -> Protocol:
    """The protocol of a name; `ValueError` names the forms that exist."""
    if name == "full_unseen_window":
        return Protocol(name, 0, False, True, window=True)
    if name == "full_seen_zero":
        return Protocol(name, 0, False, False, zero=True)
    match = re.fullmatch(r"(full|(uni|pop)([1-9]\d*))(_unseen)?", name)
    if match is None:
        raise ValueError(
            f"unknown protocol {name!r}: expected full, uniN or popN (N negatives), each also with _unseen, "
            "full_unseen_window or full_seen_zero"
        )
    return Protocol(name, int(match[3] or 0), match[2] == "pop", match[4] is not None)


def sample_negatives(split: Split, part: Part, protocol: Protocol, *, seed: int) -> np.ndarray:
    """int32 [evaluated negatives]: each user's negatives, 0 where a draw repeats an earlier one.

    Rejection sampling, vectorised over users: draws that the protocol excludes are drawn again. Raises `ValueError`
    where a user has seen every item, so that nothing is left to draw.
    """
    data = split.data
    users = split.evaluated(part)
    rng = np.random.default_rng((seed, part == "test", protocol.unseen, protocol.by_popularity, protocol.negatives))
    pool = (
        data.items[_known(split, part)] if protocol.by_popularity else np.arange(1, data.num_items + 1, dtype=np.int32)
    )
    excluded = seen_keys(split, part) if protocol.unseen else target_keys(split, part)
    distinct = np.bincount(excluded // (data.num_items + 1), minlength=len(users))
    reach = len(np.unique(pool))  # all that is excluded is in it
    if distinct.max() >= reach:
        if data.num_items < 2 and not protocol.unseen:
            raise ValueError(f"{protocol.name}: one item in all, no negative is left to draw")
        user = data.user_ids.raw[int(users[distinct.argmax()])]
        what = "has seen" if protocol.unseen else "has as targets"
        raise ValueError(f"{protocol.name}: user {user!r} {what} all {reach} items, no negative is left to draw")
    negatives = rng.choice(pool, (len(users), protocol.negatives))
    row, column = np.nonzero(_is_in(negatives, np.arange(len(users))[:, None], excluded, data.num_items))
    while len(row):
        drawn = rng.choice(pool, len(row))
        negatives[row, column] = drawn
        again = _is_in(drawn, row, excluded, data.num_items)
        row, column = row[again], column[again]
    order = np.argsort(negatives, axis=1, kind="stable")
    ordered = np.take_along_axis(negatives, order, 1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    return ordered


def seen_keys(split: Split, part: Part) -> np.ndarray:
    """Sorted unique row * (items + 1) + item over histories, the held-out items of `part` included, nothing after them."""
    data, known = split.data, _known(split, part)
    rows = np.full(data.num_users, -1, np.int64)
    users = split.evaluated(part)
    rows[users] = np.arange(len(users))
    row = np.repeat(rows, data.lengths)
    known &= row >= 0
    return np.unique(row[known] * (data.num_items + 1) + data.items[known])


def target_keys(split: Split, part: Part) -> np.ndarray:
    """Sorted row * (items + 1) + item of the held-out items of `part`."""
    sets = split.target_sets(part)
    keys = np.arange(len(sets), dtype=np.int64)[:, None] * (split.data.num_items + 1) + sets
    return np.sort(keys[sets > 0])


def _known(split: Split, part: Part) -> np.ndarray:
    """bool [interactions]: all up to the held-out items of `part`, those included."""
    return np.arange(len(split.data.items)) < np.repeat(split.known_end(part), split.data.lengths)


def _is_in(items: np.ndarray, rows: np.ndarray, keys: np.ndarray, num_items: int) -> np.ndarray:
    wanted = rows.astype(np.int64) * (num_items + 1) + items
    return keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
