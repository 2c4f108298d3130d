"""Training, validation and test parts of every history: leave-one-out by time (last item test, the one before it validation),
or where the data say that the parts end (`data.parts`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from easrec_jax.data.clock import FIRST, GAP_ROWS, REQUEST_ROWS
from easrec_jax.data.interactions import Interactions

Part = Literal["validation", "test"]


@dataclass(frozen=True)
class Split:
    """Views into one `Interactions`; nothing is copied.

    User u trains on `items[start[u]:train_end[u]]`; its validation targets follow, then its test targets: one each in
    leave-one-out, where every history has at least three items. In other splits a user may have several targets in a part, or
    none; `evaluated` are those that have a target and an event before it.
    """

    data: Interactions
    """The whole histories."""

    def __post_init__(self) -> None:
        if self.data.part_ends is None:
            shortest = int(self.data.lengths.min())
            if shortest < 3:
                raise ValueError(
                    f"leave-one-out needs histories of at least 3 items, the shortest has {shortest}: use data.min_history"
                )
            return
        parts: tuple[Part, Part] = ("validation", "test")
        for part in parts:
            if not len(self.evaluated(part)):
                raise ValueError(
                    f"data.split: the {part} part has no target of a user with an earlier event, nothing could be measured: "
                    "expected other shares or files"
                )

    def without_times(self) -> Split:
        """The same for networks that read no times."""
        return self if self.data.times is None else Split(replace(self.data, times=None))

    @property
    def start(self) -> np.ndarray:
        """int64 [users], where each history begins."""
        return self.data.offsets[:-1]

    @property
    def train_end(self) -> np.ndarray:
        """int64 [users], where the training items end: the position of the first validation item, if there is one."""
        ends = self.data.part_ends
        return self.data.offsets[1:] - 2 if ends is None else ends[:, 0]

    def known_end(self, part: Part) -> np.ndarray:
        """int64 [users], where the targets of `part` end."""
        ends = self.data.part_ends
        if part == "test":
            return self.data.offsets[1:]
        return self.data.offsets[1:] - 1 if ends is None else ends[:, 1]

    def evaluated(self, part: Part) -> np.ndarray:
        """int64 [evaluated], the users that have a target in `part` and an event before it, in order."""
        if self.data.part_ends is None:
            return np.arange(self.data.num_users)
        begin = self._begin(part)
        return np.flatnonzero((self.known_end(part) > begin) & (begin > self.start))

    def _begin(self, part: Part) -> np.ndarray:
        return self.train_end if part == "validation" else self.known_end("validation")

    def history_end(self, part: Part) -> np.ndarray:
        """int64 [evaluated], where the first target stands; at test time the history includes the validation items."""
        return self._begin(part)[self.evaluated(part)]

    def history_lengths(self, part: Part) -> np.ndarray:
        """int64 [evaluated], events before the first target."""
        return self.history_end(part) - self.start[self.evaluated(part)]

    def targets(self, part: Part) -> np.ndarray:
        """int32 [evaluated], the first held-out item of each."""
        return self.data.items[self.history_end(part)]

    def target_sets(self, part: Part) -> np.ndarray:
        """int32 [evaluated most], the distinct held-out items of each in any order, 0 where there are no more."""
        if self.data.part_ends is None:
            return self.targets(part)[:, None]
        begin, rows = self.history_end(part), len(self.evaluated(part))
        count = self.known_end(part)[self.evaluated(part)] - begin
        at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - begin, count)
        keys = np.unique(np.repeat(np.arange(rows), count) * (self.data.num_items + 1) + self.data.items[at])
        row, item = np.divmod(keys, self.data.num_items + 1)
        count = np.bincount(row, minlength=rows)
        sets = np.zeros((rows, count.max()), np.int32)
        sets[row, np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)] = item
        return sets

    def popularity(self) -> np.ndarray:
        """int64 [items + 1], training interactions of each inner id."""
        found = np.zeros(self.data.num_items + 1, np.int64)
        for items in self._training_blocks(self.data.items):
            found += np.bincount(items, minlength=len(found))
        return found

    def training_items(self) -> np.ndarray:
        """int32 [training interactions], their inner ids in order."""
        found = np.empty(int((self.train_end - self.start).sum()), np.int32)
        at = 0
        for items in self._training_blocks(self.data.items):
            found[at : at + len(items)] = items
            at += len(items)
        return found

    def time_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """How often each code of a gap, and each of a request, is that of a training event; `ValueError` without times."""
        codes = self.data.time_codes
        if codes is None:
            raise ValueError("the data keep no times: read them with times=True")
        gaps, requests = np.zeros((2, REQUEST_ROWS["calendar"]), np.int64)
        for block in self._training_blocks(codes):
            gaps += np.bincount(block[:, 0], minlength=len(gaps))
            requests += np.bincount(block[block[:, 0] != FIRST].ravel(), minlength=len(requests))
        return gaps[:GAP_ROWS], requests

    def _training_blocks(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Those of `values` [interactions ...] that are of training events, block by block."""
        data, train_end = self.data, self.train_end
        for first, last in data.blocks():
            begin, end = data.offsets[first], data.offsets[last]
            lengths = np.diff(data.offsets[first : last + 1])
            yield values[begin:end][np.arange(begin, end) < np.repeat(train_end[first:last], lengths)]

    def counts(self) -> dict[str, dict[str, int]]:
        """Of each held-out part: users with a target, those among them that are evaluated, targets."""
        found = {}
        parts: tuple[Part, Part] = ("validation", "test")
        for part in parts:
            size = self.known_end(part) - self._begin(part)
            found[part] = {
                "users": int(np.count_nonzero(size)),
                "evaluated": len(self.evaluated(part)),
                "targets": int(size.sum()),
            }
        return found
