"""Sessions: users as streaming states in memory, bounded in number and in age, advanced many at a time.

A session is a network and a row of its `Stream`: the same arrays without the batch axis, on the host. Its answers are those of
`Recommender.update`, event by event. Only the device thread touches sessions, so there are no locks.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from easrec_jax.serving.one import OneNetwork
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.routed import RoutedNetworks
from easrec_jax.serving.shapes import flat, rounded_up
from easrec_jax.serving.streaming import Stream


class Held(NamedTuple):
    """A session: its user's row of a stream, and which of the networks it is a stream of."""

    network: int
    stream: Stream


class Moved(NamedTuple):
    """A session of a model before: the events that count, and no state of this model yet."""

    history: np.ndarray  # int32, inner ids


class UnknownSession(KeyError):
    """No such session: it never was, expired, gave way to newer ones, or was deleted."""


class Sessions:
    """Streams by name, least recently used first. `evicted` counts those that gave way before their time.

    Where memory is full, a client that holds more than its share (the limit over the number of clients) replaces its own
    oldest, so that nobody pushes the others out; `per_client` bounds it before that (0: not).
    """

    def __init__(
        self, limit: int, seconds: float, per_client: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._seconds, self._per_client, self._clock = limit, seconds, per_client, clock
        self._held: OrderedDict[str, tuple[float, Held | Moved, str]] = OrderedDict()
        self._of: dict[str, OrderedDict[str, None]] = {}  # client -> its sessions, least recently used first
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, name: str) -> Held | Moved:
        """The session, used now. Raises `UnknownSession`."""
        self.expire()
        if name not in self._held:
            raise UnknownSession(name)
        held = self._held[name][1]
        self.put(name, held)
        return held

    def put(self, name: str, held: Held | Moved, client: str | None = None) -> None:
        """Keep a session, used now; a new one is its client's, and may make another give way."""
        if client is None:
            if name not in self._held:
                return  # it gave way meanwhile
            client = self._held[name][2]
        self._held[name] = (self._clock(), held, client)
        self._held.move_to_end(name)
        own = self._of.setdefault(client, OrderedDict())
        own[name] = None
        own.move_to_end(name)
        full = len(self._held) > self._limit
        if full and len(own) > max(1, self._limit // len(self._of)) or 0 < self._per_client < len(own):
            self._evict(next(iter(own)))
        elif full:
            self._evict(next(iter(self._held)))

    def _evict(self, name: str) -> None:
        self._forget(name)
        self.evicted += 1

    def _forget(self, name: str) -> None:
        client = self._held.pop(name)[2]
        del self._of[client][name]
        if not self._of[client]:
            del self._of[client]

    def drop(self, name: str) -> None:
        """Forget a session. Raises `UnknownSession`."""
        self.get(name)
        self._forget(name)

    def adopt(self, others: Sessions, rows: np.ndarray) -> None:
        """Take the sessions of another model, their ages and clients; `rows` are inner ids here by inner ids there, 0 for none."""
        for name, (used, held, client) in others._held.items():
            events = held.history if isinstance(held, Moved) else held.stream.recent[: held.stream.count]
            here = rows[events]
            self._held[name] = (used, Moved(here[here > 0]), client)
            self._of.setdefault(client, OrderedDict())[name] = None
        self.evicted = others.evicted

    def expire(self) -> None:
        """Forget what was not used for too long."""
        oldest = self._clock() - self._seconds
        while self._held and next(iter(self._held.values()))[0] < oldest:
            self._forget(next(iter(self._held)))


class Advance:
    """Advances sessions, each with its network; a router, if there is one, chooses again as in `RoutedNetworks.push`."""

    def __init__(self, recommender: Recommender) -> None:
        self._routed: RoutedNetworks | None = recommender.routed
        networks = (recommender.one,) if recommender.routed is None else recommender.routed.networks
        self._rows_of = [_Rows(one) for one in networks]
        self._length = recommender.architecture.max_length

    @property
    def blank(self) -> Held:
        """The session of a user without events."""
        return Held(0, self._rows_of[0].blank)

    def advance(self, sessions: Sequence[Held | Moved], events: Sequence[np.ndarray], rows: int) -> list[Held]:
        """Each session after its further events (inner ids), as if `update` had been called for one after the other."""
        both = [
            (self.blank, np.concatenate([held.history, more])) if isinstance(held, Moved) else (held, more)
            for held, more in zip(sessions, events, strict=True)
        ]
        return self._advance([held for held, _ in both], [more for _, more in both], rows)

    def _advance(self, sessions: list[Held], events: list[np.ndarray], rows: int) -> list[Held]:
        after, chosen = list(sessions), self._choose(sessions, events, rows)
        for number in sorted(set(chosen)):
            mine = [n for n, network in enumerate(chosen) if network == number]
            streams, more = [], []
            for n in mine:
                network, stream = sessions[n]
                stays = network == number
                streams.append(stream if stays else self._rows_of[number].blank)
                more.append(events[n] if stays else np.concatenate([stream.recent[: stream.count], events[n]]))
            done = self._rows_of[number].advance(streams, more, rows)
            for n, stream in zip(mine, done, strict=True):
                after[n] = Held(number, stream)
        return after

    def _choose(self, sessions: list[Held], events: list[np.ndarray], rows: int) -> list[int]:
        """The network of each session after its events."""
        chosen = [held.network for held in sessions]
        if self._routed is None:
            return chosen
        read = {}
        for n, held in enumerate(sessions):
            whole = np.concatenate([held.stream.recent[: held.stream.count], events[n]])
            if (part := self._read(whole, int(held.stream.count), self._routed.chooses)) is not None:
                read[n] = part
        if read:
            found = self._routed.choose(*flat(list(read.values())), rows=lambda length: rows)
            for n, number in zip(read, found.tolist(), strict=True):
                chosen[n] = number
        return chosen

    def _read(self, whole: np.ndarray, known: int, chooses: np.ndarray) -> np.ndarray | None:
        """What the router reads when it chooses for the last time on the way from the `known` first events to all; None: it does not."""
        first, last = 0, None
        for end in range(known, len(whole)):
            count = end - first
            if chooses[count]:
                first = end - count // 2 if count == self._length else first
                last = whole[first:end]
        return last

    def programs_of(self, rows: int) -> list[Callable[[], Any]]:
        """Calls that compile all programs for so many rows."""
        return [call for one in self._rows_of for call in one.programs_of(rows)]


class _Rows:
    """Starts and advances rows of one network's streams, so many at most in a device call, in powers of two."""

    def __init__(self, one: OneNetwork) -> None:
        self._one, self._length = one, one.network.architecture.max_length
        self.blank = _rows(one.start([np.zeros(0, np.int32)]), 1)[0]

    def advance(self, sessions: list[Stream], events: list[np.ndarray], rows: int) -> list[Stream]:
        """Each row after its further events."""
        after = list(sessions)
        one = [n for n, e in enumerate(events) if len(e) == 1 and sessions[n].count < self._length]
        many = [n for n, e in enumerate(events) if len(e) and n not in set(one)]
        for first in range(0, len(one), rows):
            chosen = one[first : first + rows]
            items = [int(events[n][0]) for n in chosen]
            self._set(after, chosen, self._step([sessions[n] for n in chosen], items, rows))
        for first in range(0, len(many), rows):
            chosen = many[first : first + rows]
            self._set(after, chosen, self._start([self._history(sessions[n], events[n]) for n in chosen], rows))
        return after

    def programs_of(self, rows: int) -> list[Callable[[], Any]]:
        """Calls that compile both of its programs."""
        start = partial(self._start, [np.ones(1, np.int32)] * rows, rows)
        return [start, partial(self._step, [self.blank] * rows, [1] * rows, rows)]

    def _history(self, session: Stream, events: np.ndarray) -> np.ndarray:
        """The events that count after `events`: where N are reached, the next cuts to the latest N/2 (`Recommender.update`)."""
        whole = np.concatenate([session.recent[: session.count], events])
        overflow, cut = len(whole) - self._length, self._length - self._length // 2
        return whole[max(0, -(-overflow // cut)) * cut :]

    def _step(self, sessions: list[Stream], items: list[int], rows: int) -> list[Stream]:
        padded = sessions + [self.blank] * (rounded_up(len(sessions), rows) - len(sessions))
        stream: Any = jax.tree.map(lambda *rows: np.stack(rows), *padded)
        inner = np.array(items + [0] * (len(padded) - len(items)), np.int32)
        return _rows(self._one.push(stream, inner), len(sessions))

    def _start(self, histories: list[np.ndarray], rows: int) -> list[Stream]:
        padding = [np.zeros(0, np.int32)] * (rounded_up(len(histories), rows) - len(histories))
        return _rows(self._one.start(histories + padding), len(histories))

    @staticmethod
    def _set(after: list[Stream], chosen: list[int], new: list[Stream]) -> None:
        for number, stream in zip(chosen, new, strict=True):
            after[number] = stream


def _rows(stream: Stream, count: int) -> list[Stream]:
    """The first rows of a stream, each by itself (copies: a view would keep the whole batch in memory)."""
    host = jax.tree.map(np.asarray, stream)
    return [jax.tree.map(lambda x, row=row: x[row].copy(), host) for row in range(count)]
