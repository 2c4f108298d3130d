"""Answering each user by the network that a router chooses: users grouped by network, each group by that network's programs.

A masked batch would cost what the largest network costs; a group costs what its own does. A stream keeps the network it began
with until its history is cut, when its state is computed anew anyway; then the router chooses again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.architecture import Architecture
from easrec_jax.data.batches import bucket_lengths
from easrec_jax.models.corner import corner
from easrec_jax.models.network import Network
from easrec_jax.models.router import Router
from easrec_jax.precision import methods_in_float32
from easrec_jax.serving.answer import fetched, pipelined
from easrec_jax.serving.programs import Programs, programs
from easrec_jax.serving.shapes import flat, rounded_up, rows_of_events, seen_items, user_batches
from easrec_jax.serving.streaming import Stream, new_stream, push


class Group(NamedTuple):
    """The users of a stream whom one network answers."""

    users: np.ndarray  # int64 [rows], -1 in rows that fill up
    stream: Stream  # a row each


class RoutedStream(NamedTuple):
    """A batch of users between two events; nothing is changed in place."""

    choice: np.ndarray  # int64 [users], whose network it is
    groups: tuple[Group | None, ...]  # of each network; None: nobody's


@lru_cache(maxsize=16)
def _chooser(router: Router) -> Any:
    def best(reader: dict, head: dict, items: Array) -> Array:
        return jnp.argmax(router.scores(head, router.features(reader, items)), -1)

    return jax.jit(best)


@methods_in_float32
class RoutedNetworks:
    """Networks cut out of an elastic one, and the router that chooses among them for each history. Inner ids in and out."""

    def __init__(
        self, weights: dict, networks: Sequence[Architecture], router: Router, head: dict, num_items: int
    ) -> None:
        """`weights` are the elastic network's, `head` the router's, `networks` in the order of its scores."""
        if len(networks) != router.choices:
            raise ValueError(f"networks: expected {router.choices}, as many as the router scores, got {len(networks)}")
        self.networks = tuple(Network(architecture, num_items) for architecture in networks)
        self.weights = tuple(jax.device_put(corner(weights, architecture)) for architecture in networks)
        self.programs: tuple[Programs, ...] = tuple(programs(network) for network in self.networks)
        self.router, self.head = router, jax.device_put(head)
        self.reader = jax.device_put(router.reader(weights))
        self.max_length, self.num_items = networks[0].max_length, num_items
        self.lengths = bucket_lengths(self.max_length)
        self.no_offsets = jax.device_put(np.zeros(num_items + 1, np.float32))

    def choose(self, items: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """int64 [users]: the network for each history `items[ends[u]:ends[u + 1]]`; the first for an empty one."""
        chooser, choice = _chooser(self.router), np.zeros(len(ends) - 1, np.int64)
        batches = user_batches(items, ends, self.lengths, rows_of_events)
        for index, found in pipelined((index, chooser(self.reader, self.head, batch)) for index, batch in batches):
            choice[index] = np.asarray(found)[: len(index)]
        return choice

    def top_items(
        self, items: np.ndarray, ends: np.ndarray, k: int, *, exclude_seen: bool = True, offsets: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(scores, inner ids), [users k] each, as `Recommender.top_items`, each user's by the network chosen for it."""
        scores = np.full((len(ends) - 1, k), -np.inf, np.float32)
        best = np.zeros((len(ends) - 1, k), np.int32)
        added = self.no_offsets if offsets is None else offsets
        choice, size = self.choose(items, ends), rounded_up(k, self.num_items)

        def calls() -> Iterator[tuple[np.ndarray, Any]]:
            for number in np.unique(choice):
                users = np.flatnonzero(choice == number)
                theirs = _histories(items, ends, users)
                for index, batch in user_batches(*theirs, self.lengths, rows_of_events):
                    seen = seen_items(*theirs, index, batch) if exclude_seen else np.zeros((len(batch), 1), np.int32)
                    top = self.programs[number].top(self.weights[number], batch, seen, added, k=size)
                    yield users[index], top

        for users, top in pipelined(calls()):
            scores[users], best[users] = fetched(top, len(users), k)
        return scores, best

    def start(self, histories: Sequence[np.ndarray]) -> RoutedStream:
        """The stream of users with these histories of inner ids; each is chosen a network for."""
        choice = self.choose(*flat(histories))
        groups = [
            self._begin(number, np.flatnonzero(choice == number), histories) for number in range(len(self.networks))
        ]
        return RoutedStream(choice, tuple(groups))

    def push(self, stream: RoutedStream, items: np.ndarray) -> RoutedStream:
        """The stream after one more event a user, inner ids [users]; 0 leaves a user as it is."""
        stream = self._chosen_again(stream, items)
        groups = list(stream.groups)
        for number, group in enumerate(groups):
            if group is not None:
                theirs = np.where(group.users >= 0, items[group.users], 0).astype(np.int32)
                moved = push(self.networks[number], self.weights[number], group.stream, theirs)
                groups[number] = group._replace(stream=moved)
        return stream._replace(groups=tuple(groups))

    def top_from(
        self, stream: RoutedStream, k: int, *, exclude_seen: bool = True, offsets: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `top_items`, for the users of a stream; `exclude_seen` leaves out the events that the stream still counts."""
        scores = np.full((len(stream.choice), k), -np.inf, np.float32)
        best = np.zeros((len(stream.choice), k), np.int32)
        added, size = self.no_offsets if offsets is None else offsets, rounded_up(k, self.num_items)
        for number, group in enumerate(stream.groups):
            if group is None:
                continue
            seen = group.stream.recent if exclude_seen else np.zeros((len(group.users), 1), np.int32)
            top = self.programs[number].top_of_hidden(self.weights[number], group.stream.hidden, seen, added, k=size)
            real = np.flatnonzero((group.users >= 0) & (group.stream.count > 0))
            found = fetched(top, len(group.users), k)
            scores[group.users[real]], best[group.users[real]] = (values[real] for values in found)
        return scores, best

    def _begin(
        self, number: int, users: np.ndarray, histories: Sequence[np.ndarray] | dict[int, np.ndarray]
    ) -> Group | None:
        if not len(users):
            return None
        filled = np.pad(users, (0, rounded_up(len(users)) - len(users)), constant_values=-1)
        theirs = [histories[user] if user >= 0 else np.zeros(0, np.int32) for user in filled]
        return Group(filled, new_stream(self.networks[number], self.weights[number], theirs))

    def _chosen_again(self, stream: RoutedStream, items: np.ndarray) -> RoutedStream:
        """The stream with the users whose history the next event cuts in the groups that the router now chooses."""
        kept: dict[int, np.ndarray] = {}
        for group in filter(None, stream.groups):
            full = (group.users >= 0) & (group.stream.count == self.max_length)
            for row in np.flatnonzero(full & (items[group.users] > 0)):
                kept[int(group.users[row])] = group.stream.recent[row, self.max_length - self.max_length // 2 :]
        if not kept:
            return stream
        again, choice = np.array(sorted(kept)), stream.choice.copy()
        choice[again] = self.choose(*flat([kept[user] for user in again.tolist()]))
        moved = set(np.flatnonzero(choice != stream.choice).tolist())
        groups = []
        for number, group in enumerate(stream.groups):
            come = np.array([user for user in sorted(moved) if choice[user] == number], np.int64)
            stay = None if group is None else _without(group, moved)
            groups.append(_joined(stay, self._begin(number, come, kept)))
        return RoutedStream(choice, tuple(groups))


def _histories(items: np.ndarray, ends: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The histories of some users, as `shapes.flat` has them."""
    lengths = ends[users + 1] - ends[users]
    theirs = np.concatenate([[0], np.cumsum(lengths)])
    at = np.arange(theirs[-1]) + np.repeat(ends[users] - theirs[:-1], lengths)
    return np.concatenate([items[at], np.zeros(1, np.int32)]), theirs


def _without(group: Group, users: set[int]) -> Group | None:
    """The group as it is if none of them is in it, else its other users alone."""
    stay = np.array([row for row, user in enumerate(group.users.tolist()) if user >= 0 and user not in users], int)
    if len(stay) == np.count_nonzero(group.users >= 0):
        return group
    return _taken(group, stay) if len(stay) else None


def _joined(first: Group | None, second: Group | None) -> Group | None:
    if first is None or second is None:
        return second if first is None else first

    def join(a: Any, b: Any) -> Any:
        return np.concatenate([a, b]) if isinstance(a, np.ndarray) else jnp.concatenate([a, b])

    both = jax.tree.map(join, first, second)
    return _taken(both, np.flatnonzero(both.users >= 0))


def _taken(group: Group, rows: np.ndarray) -> Group:
    """These rows, filled up to a power of two by copies that are nobody's."""
    filled = np.resize(rows, rounded_up(len(rows)))
    users = np.where(np.arange(len(filled)) < len(rows), group.users[filled], -1)
    return jax.tree.map(lambda x: x[filled], group)._replace(users=users)
