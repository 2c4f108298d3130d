"""Users of any number and length as device calls of a few static shapes: each shape is a program that compiles once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from easrec_jax.data.batches import Samples
from easrec_jax.data.clock import Events, Timed, TimedHistory, items_of, timed_flat

# Events a device call at most, padding included: larger batches leave the processor's cache and are slower.
EVENTS = 4096


Rows = Callable[[int], int]  # of a batch at most, by its length


def rounded_up(number: int, most: int | None = None) -> int:
    """The next power of two, at most `most`: how many rows or items a device call has for so many (1 or more)."""
    power = 1 << (number - 1).bit_length()
    return power if most is None else min(power, most)


def row_counts(most: int) -> list[int]:
    """All numbers of rows that calls for 1 to `most` users have."""
    return sorted({rounded_up(rows, most) for rows in range(1, most + 1)})


def padded_ids(ids: np.ndarray, most: int | None = None) -> np.ndarray:
    """Inner ids [n] with zeros after them, as many as `rounded_up` says."""
    return np.pad(ids, (0, rounded_up(max(len(ids), 1), most) - len(ids)))


def flat(histories: Sequence[np.ndarray | TimedHistory], *, timed: bool = False) -> tuple[Events, np.ndarray]:
    """(items, ends) of many users in arrays: user u's history of inner ids is `items[ends[u]:ends[u + 1]]`.

    One padding item follows the last history, so that there is something to read where there is none. Where some have times, or
    `timed`, `items` is `Timed` as `clock.timed_flat` has it; of the others no time is known.
    """
    ids = [items_of(history) for history in histories]
    ends = np.cumsum([0, *map(len, ids)])
    items = np.concatenate([*ids, np.zeros(1, np.int32)])
    if not timed and not any(isinstance(history, TimedHistory) for history in histories):
        return items, ends
    all_timed = [h if isinstance(h, TimedHistory) else TimedHistory(h, np.full(len(h), np.nan)) for h in histories]
    times = np.concatenate([np.zeros(0), *(history.times for history in all_timed)])
    return timed_flat(items, ends, times, np.array([history.now for history in all_timed])), ends


def user_batches(
    items: Events, ends: np.ndarray, lengths: Sequence[int] | np.ndarray, rows: Rows
) -> Iterator[tuple[np.ndarray, Events]]:
    """(indices of users, their last events as inner ids [rows length]); users without events are left out.

    Each user goes to the first of the `lengths` that is long enough, to the last one with as many events as that has. A
    batch of length l has a power of two of rows, `rows(l)` at most. `items` and `ends` are those of `flat`.
    """
    lengths, ids = np.asarray(lengths), items_of(items)
    start = np.maximum(ends[:-1], ends[1:] - lengths[-1])
    users = Samples(ids, start, ends[1:], False)
    before = Samples(items.before, start, ends[1:], False) if isinstance(items, Timed) else None
    events = users.stop - users.start
    buckets = np.searchsorted(lengths, events)
    for bucket in np.unique(buckets[events > 0]):
        chosen = np.flatnonzero((buckets == bucket) & (events > 0))
        length = int(lengths[bucket])
        most = rows(length)
        for first in range(0, len(chosen), most):
            index = chosen[first : first + most]
            count = rounded_up(len(index), most)
            batch = users.batch(index, length, count).items
            if before is not None:
                request = np.repeat(items.request[np.resize(index, count), None], length, 1)  # the last one is read
                batch = Timed(batch, before.batch(index, length, count).items.astype(np.uint8), request)
            yield index, batch


def rows_of_events(length: int) -> int:
    """The rows of this length, a power of two, that hold `EVENTS` events at most."""
    return 1 << (max(EVENTS // length, 1).bit_length() - 1)


def seen_items(items: Events, ends: np.ndarray, index: np.ndarray, batch: Events) -> np.ndarray:
    """What the users of a batch have seen, [rows any], padded by 0: the batch itself, unless someone's history is longer."""
    items, batch = items_of(items), items_of(batch)
    longest = int((ends[index + 1] - ends[index]).max())
    if longest <= batch.shape[1]:
        return batch
    whole = Samples(items, ends[:-1], ends[1:], False)
    return whole.batch(index, rounded_up(longest), len(batch)).items
