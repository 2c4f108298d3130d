"""Sessions: users as streaming states in memory, bounded in number and in age, advanced many at a time.

A session is a row of a `Stream`: the same arrays without the batch axis, on the host. Its answers are those of
`Recommender.update`, event by event. Only the device thread touches sessions, so there are no locks.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from easrec_jax.recommend import Recommender
from easrec_jax.streaming import Stream, new_stream, push


class UnknownSession(KeyError):
    """No such session: it never was, expired, gave way to newer ones, or was deleted."""


class Sessions:
    """Streams by name, least recently used first. `evicted` counts those that gave way before their time."""

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._seconds, self._clock = limit, seconds, clock
        self._held: OrderedDict[str, tuple[float, Stream]] = OrderedDict()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, name: str) -> Stream:
        """The session, used now. Raises `UnknownSession`."""
        self.expire()
        if name not in self._held:
            raise UnknownSession(name)
        stream = self._held[name][1]
        self.put(name, stream)
        return stream

    def put(self, name: str, stream: Stream) -> None:
        """Keep a session, used now; the one unused for longest gives way."""
        self._held[name] = (self._clock(), stream)
        self._held.move_to_end(name)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)
            self.evicted += 1

    def drop(self, name: str) -> None:
        """Forget a session. Raises `UnknownSession`."""
        self.get(name)
        del self._held[name]

    def expire(self) -> None:
        """Forget what was not used for too long."""
        oldest = self._clock() - self._seconds
        while self._held and next(iter(self._held.values()))[0] < oldest:
            self._held.popitem(last=False)


class Advance:
    """Starts and advances rows of streams, `rows` at most in a device call, in powers of two."""

    def __init__(self, recommender: Recommender, rows: int) -> None:
        self._network, self._weights = recommender.network, recommender.weights
        self._length = recommender.architecture.max_length
        self._rows = rows
        self._blank = _rows(new_stream(self._network, self._weights, [np.zeros(0, np.int32)]), 1)[0]

    @property
    def blank(self) -> Stream:
        """The session of a user without events."""
        return self._blank

    def advance(self, sessions: list[Stream], events: list[np.ndarray]) -> list[Stream]:
        """Each session after its further events (inner ids), as if `update` had been called for one after the other."""
        after = list(sessions)
        one = [n for n, e in enumerate(events) if len(e) == 1 and sessions[n].count < self._length]
        many = [n for n, e in enumerate(events) if len(e) and n not in set(one)]
        for first in range(0, len(one), self._rows):
            chosen = one[first : first + self._rows]
            self._set(after, chosen, self._step([sessions[n] for n in chosen], [int(events[n][0]) for n in chosen]))
        for first in range(0, len(many), self._rows):
            chosen = many[first : first + self._rows]
            self._set(after, chosen, self._start([self._history(sessions[n], events[n]) for n in chosen]))
        return after

    def warm_up(self) -> None:
        """Compile both programs for every number of rows."""
        for power in range((self._rows - 1).bit_length() + 1):
            rows = min(1 << power, self._rows)
            self._step([self._blank] * rows, [1] * rows)
            self._start([np.ones(1, np.int32)] * rows)

    def _history(self, session: Stream, events: np.ndarray) -> np.ndarray:
        """The events that count after `events`: where N are reached, the next cuts to the latest N/2 (`Recommender.update`)."""
        whole = np.concatenate([session.recent[: session.count], events])
        overflow, cut = len(whole) - self._length, self._length - self._length // 2
        return whole[max(0, -(-overflow // cut)) * cut :]

    def _step(self, sessions: list[Stream], items: list[int]) -> list[Stream]:
        padded = sessions + [self._blank] * (padded_rows(len(sessions), self._rows) - len(sessions))
        stream: Any = jax.tree.map(lambda *rows: np.stack(rows), *padded)
        inner = np.array(items + [0] * (len(padded) - len(items)), np.int32)
        return _rows(push(self._network, self._weights, stream, inner), len(sessions))

    def _start(self, histories: list[np.ndarray]) -> list[Stream]:
        padding = [np.zeros(0, np.int32)] * (padded_rows(len(histories), self._rows) - len(histories))
        return _rows(new_stream(self._network, self._weights, histories + padding), len(histories))

    @staticmethod
    def _set(after: list[Stream], chosen: list[int], new: list[Stream]) -> None:
        for number, stream in zip(chosen, new, strict=True):
            after[number] = stream


def padded_rows(rows: int, most: int) -> int:
    """The next power of two, at most `most`: how many rows a device call has."""
    return min(1 << (rows - 1).bit_length(), most)


def _rows(stream: Stream, count: int) -> list[Stream]:
    """The first rows of a stream, each by itself (copies: a view would keep the whole batch in memory)."""
    host = jax.tree.map(np.asarray, stream)
    return [jax.tree.map(lambda x, row=row: x[row].copy(), host) for row in range(count)]
