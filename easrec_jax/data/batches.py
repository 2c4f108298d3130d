"""Batches by index: a few static shapes, each row a slice of the flat item array; no prefix is ever stored.

A sample is a pair (start, stop) of positions in `Interactions.items`: its inputs are `items[start:stop]`, at most N of
them, its target(s) the items one further. Samples are grouped by length into a few buckets (with four: up to a quarter,
a half, three quarters and the whole of N), each with as many rows as fill the same number of positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from easrec_jax.data.clock import Events, Timed
from easrec_jax.data.split import Part, Split


class Batch(NamedTuple):
    """Inner ids, left-aligned, 0 = padding (a row of zeros fills up a batch); where samples have times, `items` is `Timed`.

    `targets` is [batch length] with 0 where there is none (a loss at every position), or [batch] (at the last alone).
    """

    items: Events  # int32 [batch length]
    targets: np.ndarray  # int32 [batch length] or [batch]


@dataclass(frozen=True)
class Samples:
    """Training samples or users to score, as slices of one flat item array."""

    items: np.ndarray  # int32 [interactions]
    start: np.ndarray  # int64 [samples]
    stop: np.ndarray  # int64 [samples]; inputs are items[start:stop]
    every_position: bool  # targets at all positions, or at the last alone
    codes: np.ndarray | None = None  # uint8 [interactions 3] of times, `Interactions.time_codes`; None: ids alone

    def __len__(self) -> int:
        return len(self.start)

    @property
    def num_targets(self) -> int:
        """Targets of one epoch."""
        return int(np.sum(self.stop - self.start)) if self.every_position else len(self)

    def batch(self, index: np.ndarray, length: int, rows: int) -> Batch:
        """The samples `index` as a batch of static shape [rows length]."""
        filled = np.zeros((2, rows), np.int64)
        filled[:, : len(index)] = self.start[index], self.stop[index]
        start, stop = filled
        positions = start[:, None] + np.arange(length)
        real = positions < stop[:, None]
        limit = len(self.items) - 1
        at, following = np.minimum(positions, limit), np.minimum(positions + 1, limit)
        items: Events = np.where(real, self.items[at], 0)
        if self.codes is not None:
            request = np.where(real[..., None], self.codes[following], 0)
            items = Timed(items, np.where(real, self.codes[at, 0], 0), request)
        if self.every_position:
            return Batch(items, np.where(real, self.items[following], 0))
        return Batch(items, np.where(stop > start, self.items[np.minimum(stop, limit)], 0))


def training_samples(split: Split, *, max_length: int, targets: str, windows: str) -> Samples:
    """What one epoch visits.

    targets="all": each user's training items in windows of `max_length` inputs counted from the end, every interaction
    but the first a target once; windows="last" keeps the last window alone. targets="last": one sample for each
    non-empty prefix. A user with a single training item gives no sample; `ValueError` if that is everyone.
    """
    begin, end = split.start, split.train_end

    def sizes(first: int, last: int) -> np.ndarray:
        """How many samples each of the users has."""
        count = np.maximum(end[first:last] - begin[first:last] - 1, 0)  # of targets
        if targets == "last":
            return count
        return -(-count // max_length) if windows == "all" else np.minimum(count, 1)

    samples = sum(int(sizes(first, last).sum()) for first, last in split.data.blocks())
    if not samples:
        none = f"no training target is left: none of {len(end)} users has"
        if split.data.part_ends is not None:
            raise ValueError(f"{none} 2 training events or more (a target needs one before it); expected another split")
        raise ValueError(
            f"{none} 4 interactions or more (the last two are held out, "
            "and a target needs one before it); expected longer histories"
        )
    start, stop, done = np.empty(samples, np.int64), np.empty(samples, np.int64), 0
    for first, last in split.data.blocks():  # arrays of all users or events would be larger than the samples
        size = sizes(first, last)
        until = done + int(size.sum())
        number = np.arange(until - done) - np.repeat(np.cumsum(size) - size, size)  # of a user's samples
        begun = np.repeat(begin[first:last], size)
        if targets == "last":
            stop[done:until] = begun + 1 + number
        else:
            stop[done:until] = np.repeat(end[first:last] - 1, size) - number * max_length  # windows from the end
        start[done:until] = np.maximum(begun, stop[done:until] - max_length)
        done = until
    return Samples(split.data.items, start, stop, targets == "all", split.data.time_codes)


def scoring_samples(split: Split, part: Part, *, max_length: int) -> Samples:
    """Each evaluated user's last `max_length` events before the first held-out item of `part`, which is the target."""
    stop, start = split.history_end(part), split.start[split.evaluated(part)]
    begin = np.maximum(start, stop - max_length)
    return Samples(split.data.items, begin, stop, False, split.data.time_codes)


BUCKETS = 4


def bucket_lengths(max_length: int, buckets: int = BUCKETS) -> tuple[int, ...]:
    """The static lengths of batches: equal parts of `max_length`, rounded up. Each is a program to compile."""
    return tuple(sorted({-(-max_length * part // buckets) for part in range(1, buckets + 1)}))


def bucketed(
    samples: Samples,
    *,
    max_length: int,
    batch_size: int,
    buckets: int = BUCKETS,
    rng: np.random.Generator | None = None,
) -> list[tuple[np.ndarray, int, int]]:
    """(sample indices, length, rows) of each batch of an epoch; shuffled within and between buckets by `rng`.

    A bucket of length l has `batch_size * max_length // l` rows; the last batch of a bucket may be part empty.
    """
    lengths = np.subtract(samples.stop, samples.start, dtype=np.int32, casting="unsafe")
    kind = np.int32 if len(samples) < 2**31 else np.int64  # half of the memory of a plan
    plan, shorter = [], -1
    for length in bucket_lengths(max_length, buckets):
        index = np.flatnonzero((lengths > shorter) & (lengths <= length)).astype(kind)
        shorter = length
        if rng is not None:
            index = rng.permutation(index)
        rows = _rows(batch_size, max_length, length)
        plan += [(index[i : i + rows], length, rows) for i in range(0, len(index), rows)]
    if rng is not None:
        plan = [plan[i] for i in rng.permutation(len(plan))]
    return plan


def _rows(batch_size: int, max_length: int, length: int) -> int:
    """Rows of a batch of that length: as many as fill the positions of `batch_size` whole ones."""
    return max(1, batch_size * max_length // length)


def epoch_batches(
    samples: Samples, *, max_length: int, batch_size: int, seed: int, epoch: int, buckets: int = BUCKETS, skip: int = 0
) -> Iterator[Batch]:
    """One epoch's batches in an order that (seed, epoch) alone decide; `skip` of them are passed over (resume)."""
    how = {"max_length": max_length, "batch_size": batch_size, "buckets": buckets}
    for index, length, rows in _plan_of(samples, seed, epoch, **how)[skip:]:
        yield samples.batch(index, length, rows)


def _plan_of(samples: Samples, seed: int, epoch: int, **how: int) -> list[tuple[np.ndarray, int, int]]:
    return bucketed(samples, **how, rng=np.random.default_rng((seed, epoch)))


def batches_per_epoch(samples: Samples, *, max_length: int, batch_size: int, buckets: int = BUCKETS) -> int:
    """How many batches `epoch_batches` yields."""
    sizes = bucket_lengths(max_length, buckets)
    counts = np.bincount(np.searchsorted(sizes, samples.stop - samples.start), minlength=len(sizes))
    return sum(-(-int(n) // _rows(batch_size, max_length, length)) for n, length in zip(counts, sizes, strict=True))


class EndlessBatches:
    """Batches of epoch after epoch without end (the search's held-out ones); (seed, number) alone decide the `number`-th.

    An epoch is planned when its first batch is asked for.
    """

    def __init__(
        self, samples: Samples, *, max_length: int, batch_size: int, seed: int, buckets: int = BUCKETS
    ) -> None:
        self._samples, self._seed = samples, seed
        self._how = {"max_length": max_length, "batch_size": batch_size, "buckets": buckets}
        self._epoch, self._plan = -1, []

    def __call__(self, number: int) -> Batch:
        """The `number`-th batch, from 0."""
        steps = len(self._plan) or batches_per_epoch(self._samples, **self._how)
        epoch, place = divmod(number, steps)
        if epoch != self._epoch:
            self._epoch, self._plan = epoch, _plan_of(self._samples, self._seed, epoch, **self._how)
        return self._samples.batch(*self._plan[place])
