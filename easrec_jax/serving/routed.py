"""Answering each user by the network that a router chooses: users grouped by network, each group by that network's programs.

A masked batch would cost what the largest network costs; a group costs what its own does. A stream keeps its network; the router
chooses again where the events that count have doubled, and where the history is cut, whose state is computed anew anyway. So
what this costs stays in proportion to the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.architecture import Architecture
from easrec_jax.data.batches import bucket_lengths
from easrec_jax.files import read_arrays, write_arrays
from easrec_jax.models.corner import corner
from easrec_jax.models.network import Network
from easrec_jax.models.router import Router
from easrec_jax.precision import methods_in_float32
from easrec_jax.serving.answer import fetched, pipelined
from easrec_jax.serving.forks import refuse_fork
from easrec_jax.serving.one import OneNetwork, Top, nothing
from easrec_jax.serving.shapes import Rows, flat, rounded_up, rows_of_events, user_batches
from easrec_jax.serving.streaming import Stream

FORMAT = "easrec_jax stream, a network each, 1"


class Group(NamedTuple):
    """The users of a stream whom one network answers."""

    users: np.ndarray  # int64 [rows], -1 in rows that fill up
    stream: Stream  # a row each


class RoutedStream(NamedTuple):
    """A batch of users between two events; nothing is changed in place."""

    choice: np.ndarray  # int64 [users], whose network it is
    groups: tuple[Group | None, ...]  # of each network; None: nobody's

    @property
    def recent(self) -> np.ndarray:
        """int32 [users N], the counted events, left-aligned, 0 padding."""
        return self._of_users(lambda stream: stream.recent)

    @property
    def count(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """int64 [users], how many events count."""
        return self._of_users(lambda stream: stream.count)

    def _of_users(self, of: Any) -> np.ndarray:
        there = [group for group in self.groups if group is not None]
        found = np.zeros((len(self.choice), *of(there[0].stream).shape[1:]), of(there[0].stream).dtype)
        for users, stream in there:
            found[users[users >= 0]] = of(stream)[users >= 0]
        return found


@lru_cache(maxsize=16)
def _chooser(router: Router) -> Any:
    def best(reader: dict, head: dict, items: Array) -> Array:
        return jnp.argmax(router.scores(head, router.features(reader, items)), -1)

    return jax.jit(best)


def chosen_again(most: int) -> np.ndarray:
    """bool [most + 1]: whether the router chooses before the next event of a user with so many events, of `most` at most."""
    count = np.arange(most + 1)
    return (count == most) | ((count > 0) & (count & (count - 1) == 0))


@methods_in_float32
class RoutedNetworks:
    """Networks cut out of an elastic one, and the router that chooses among them for each history. Inner ids in and out."""

    def __init__(
        self, weights: dict, networks: Sequence[Architecture], router: Router, head: dict, num_items: int
    ) -> None:
        """`weights` are the elastic network's, `head` the router's, `networks` in the order of its scores."""
        if len(networks) != router.choices:
            raise ValueError(f"networks: expected {router.choices}, as many as the router scores, got {len(networks)}")
        self.networks = tuple(OneNetwork(Network(one, num_items), corner(weights, one)) for one in networks)
        self.router, self.head = router, jax.device_put(head)
        self.reader = jax.device_put(router.reader(weights))
        self.max_length = networks[0].max_length
        self.lengths = bucket_lengths(self.max_length)
        self.chooses = chosen_again(self.max_length)

    def choose(self, items: np.ndarray, ends: np.ndarray, rows: Rows = rows_of_events) -> np.ndarray:
        """int64 [users]: the network for each history `items[ends[u]:ends[u + 1]]`; the first for an empty one."""
        choice = np.zeros(len(ends) - 1, np.int64)
        calls = ((index, self.choices(batch)) for index, batch in user_batches(items, ends, self.lengths, rows))
        for index, found in pipelined(calls):
            choice[index] = np.asarray(found)[: len(index)]
        return choice

    def choices(self, batch: np.ndarray) -> Array:
        """int32 [rows], the network for each row of inner ids [rows length]: one device call."""
        refuse_fork()
        return _chooser(self.router)(self.reader, self.head, batch)

    def top_items(
        self, items: np.ndarray, ends: np.ndarray, k: int, *, exclude_seen: bool = True, offsets: Any = None
    ) -> Top:
        """As `OneNetwork.top_items`, each user's by the network chosen for it."""
        scores, best = nothing(len(ends) - 1, k)
        choice = self.choose(items, ends)

        def calls() -> Iterator[tuple[np.ndarray, Any]]:
            for number in np.unique(choice):
                users = np.flatnonzero(choice == number)
                theirs = histories_of(items, ends, users)
                for index, top in self.networks[number].calls(*theirs, k, exclude_seen=exclude_seen, offsets=offsets):
                    yield users[index], top

        for users, top in pipelined(calls()):
            scores[users], best[users] = fetched(top, len(users), k)
        return scores, best

    def start(self, histories: Sequence[np.ndarray]) -> RoutedStream:
        """The stream of users with these histories of inner ids; each is chosen a network for."""
        return self._begin_all(self.choose(*flat(histories)), histories)

    def push(self, stream: RoutedStream, items: np.ndarray) -> RoutedStream:
        """The stream after one more event a user, inner ids [users]; 0 leaves a user as it is."""
        stream = self._chosen_again(stream, items)
        groups = list(stream.groups)
        for number, group in enumerate(groups):
            if group is not None:
                theirs = np.where(group.users >= 0, items[group.users], 0).astype(np.int32)
                groups[number] = group._replace(stream=self.networks[number].push(group.stream, theirs))
        return stream._replace(groups=tuple(groups))

    def top_from(self, stream: RoutedStream, k: int, *, exclude_seen: bool = True, offsets: Any = None) -> Top:
        """As `top_items`, for the users of a stream; `exclude_seen` leaves out the events that the stream still counts."""
        scores, best = nothing(len(stream.choice), k)
        for network, group in zip(self.networks, stream.groups, strict=True):
            if group is None:
                continue
            found = network.top_from(group.stream, k, exclude_seen=exclude_seen, offsets=offsets)
            real = np.flatnonzero((group.users >= 0) & (group.stream.count > 0))
            scores[group.users[real]], best[group.users[real]] = (values[real] for values in found)
        return scores, best

    def check(self, stream: Any) -> None:
        """Raise `ValueError` where a stream is another model's."""
        if not isinstance(stream, RoutedStream) or len(stream.groups) != len(self.networks):
            raise ValueError(
                "stream: expected one of this model, whose users have a network each: use the recommender that started it, or "
                "start anew from the histories"
            )

    def save(self, path: Path, stream: RoutedStream, fingerprint: str) -> None:
        """Write a stream: the events that count, and whose network it is; states are computed anew from them."""
        arrays = {"choice": stream.choice, "recent": stream.recent, "count": stream.count}
        write_arrays(path, arrays | {"format": np.array([FORMAT, fingerprint])})

    def load(self, path: Path, fingerprint: str) -> RoutedStream:
        """What `save` wrote; `ValueError` names a file that is damaged, or of another model."""
        found = read_arrays(path)
        if found.get("format", np.array(["?"]))[0] != FORMAT or not {"choice", "recent", "count"} <= found.keys():
            raise ValueError(f"{path}: expected a stream of format {FORMAT!r}")
        if found["format"][1] != fingerprint:
            raise ValueError(f"{path}: another model's stream; start anew from the histories")
        choice, recent, count = (found[name] for name in ("choice", "recent", "count"))
        fits = choice.ndim == count.ndim == 1 and recent.shape == (len(choice), self.max_length) and len(choice) > 0
        fits = fits and len(count) == len(choice) and all(x.dtype.kind == "i" for x in (choice, recent, count))
        fits = fits and bool(((choice >= 0) & (choice < len(self.networks)) & (count >= 0)).all())
        if not fits or not bool(((recent >= 0) & (recent <= self.router.network.num_items)).all()):
            raise ValueError(f"{path}: its arrays do not fit this model")
        return self._begin_all(choice, [row[:n] for row, n in zip(recent, count.tolist(), strict=True)])

    def _begin_all(self, choice: np.ndarray, histories: Sequence[np.ndarray]) -> RoutedStream:
        if not len(choice):
            raise ValueError("histories: expected at least one user")
        numbers = range(len(self.networks))
        groups = [self._begin(number, np.flatnonzero(choice == number), histories) for number in numbers]
        return RoutedStream(choice, tuple(groups))

    def _begin(
        self, number: int, users: np.ndarray, histories: Sequence[np.ndarray] | dict[int, np.ndarray]
    ) -> Group | None:
        if not len(users):
            return None
        filled = np.pad(users, (0, rounded_up(len(users)) - len(users)), constant_values=-1)
        theirs = [histories[user] if user >= 0 else np.zeros(0, np.int32) for user in filled.tolist()]
        return Group(filled, self.networks[number].start(theirs))

    def _chosen_again(self, stream: RoutedStream, items: np.ndarray) -> RoutedStream:
        """The stream with the users whom the router chooses for before the next event in the groups of its choice."""
        kept: dict[int, np.ndarray] = {}
        for group in filter(None, stream.groups):
            now = (group.users >= 0) & self.chooses[group.stream.count] & (items[group.users] > 0)
            for row in np.flatnonzero(now):
                count = int(group.stream.count[row])
                first = count - count // 2 if count == self.max_length else 0
                kept[int(group.users[row])] = group.stream.recent[row, first:count]
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


def histories_of(items: np.ndarray, ends: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
