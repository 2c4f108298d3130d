"""Users as constant-size states: one more event is one small step, whatever came before (law 4).

A stream counts at most N = `max_length` events of a user. When a history has grown to N, the next event first cuts it to
its latest N/2, so the state is always exactly that of the latest `count` events, N/2 to N of them once the history is
long; the cut costs one whole-sequence call for N/2 events, two events' worth an event. Softmax keeps its keys and
values for N positions, the linear modes a matrix a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.cells import AnyArchitecture
from easrec_jax.data.clock import (
    FIRST,
    UNKNOWN,
    Events,
    Timed,
    TimedHistory,
    event_codes,
    gap_codes,
    items_of,
    request_codes,
)
from easrec_jax.files import read_arrays, write_arrays
from easrec_jax.models.kinds import Served
from easrec_jax.models.network import Network, UserState
from easrec_jax.serving.shapes import rounded_up

FORMAT = "easrec_jax stream 1"


class Clock(NamedTuple):
    """The times of a stream of a network that reads them."""

    before: np.ndarray  # uint8 [users N], codes of the gaps before the counted events (`data.clock`)
    last: np.ndarray  # float64 [users], of each user's last event, seconds since 1970; NaN: not known


class Stream(NamedTuple):
    """A batch of users between two events. Row u of everything is user u; nothing is changed in place."""

    hidden: Array  # float32 [users width], what scores the next item, or is read out for a request (`OneNetwork.asked`)
    state: UserState  # on the device
    recent: np.ndarray  # int32 [users N], the counted events, left-aligned, 0 padding
    # int64 [users], how many events count
    count: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    clock: Clock | None = None  # where the network reads times

    @property
    def events(self) -> Events:
        """The counted events as the network reads them; requests play no part."""
        if self.clock is None:
            return self.recent
        return Timed(self.recent, self.clock.before, np.zeros((*self.recent.shape, 3), np.uint8))


@lru_cache(maxsize=16)
def _programs(network: Served) -> tuple[Any, Any]:
    def begin(weights: dict, items: Events) -> tuple[Array, UserState]:
        return network.start(weights, items)

    def step(weights: dict, hidden: Array, state: UserState, items: Events) -> tuple[Array, UserState]:
        new_hidden, new_state = network.step(weights, state, items)
        ids = items_of(items)

        def choose(new: Array, old: Array) -> Array:
            return jnp.where((ids > 0).reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        return choose(new_hidden, hidden), jax.tree.map(choose, new_state, state)

    return jax.jit(begin), jax.jit(step)


def new_stream(network: Served, weights: dict, histories: Sequence[np.ndarray | TimedHistory]) -> Stream:
    """The stream of users with these histories of inner ids, each cut to its last N."""
    if isinstance(network, Network) and not network.architecture.causal:
        attention = network.architecture.attention
        raise ValueError(f"attention {attention!r} cannot stream: a new event changes earlier outputs")
    length = network.architecture.max_length
    if not len(histories):
        raise ValueError("histories: expected at least one user")
    recent = _latest([items_of(history) for history in histories], length).astype(np.int32)
    clock = _clock_of(histories, length) if network.architecture.reads_times else None
    stream = _stateless(recent, np.count_nonzero(recent, 1), clock)
    hidden, state = _programs(network)[0](weights, stream.events)
    return stream._replace(hidden=hidden, state=state)


def _clock_of(histories: Sequence[np.ndarray | TimedHistory], length: int) -> Clock:
    """The clock of users with these histories; without times nothing is known of them."""
    before, last = [], np.full(len(histories), np.nan)
    for row, history in enumerate(histories):
        if isinstance(history, TimedHistory) and len(history.times):
            before.append(event_codes(history.times, np.array([0, len(history.times)]))[:, 0])
            last[row] = history.times[-1]
        else:
            before.append(np.full(len(items_of(history)), UNKNOWN))
    return Clock(_latest(before, length).astype(np.uint8), last)


def _latest(histories: Sequence[np.ndarray], length: int) -> np.ndarray:
    """The last values of each, [users length], left-aligned, 0 after them."""
    rows = np.zeros((len(histories), length), np.int64)
    for row, history in zip(rows, histories, strict=True):
        row[: min(len(history), length)] = history[-length:]
    return rows


def _stateless(recent: np.ndarray, count: np.ndarray, clock: Clock | None) -> Stream:
    """A stream whose state is yet to be computed."""
    return Stream(jnp.zeros(0), UserState((), jnp.zeros(0, jnp.int32)), recent, count, clock)


def check_stream(stream: Any, architecture: AnyArchitecture) -> None:
    """Raise `ValueError` where a stream is another network's, as of another size of an elastic model."""
    if not isinstance(stream, Stream):
        raise ValueError(
            "stream: expected one of this network: use the recommender that started it, or start anew from the histories"
        )
    there = len(stream.state.blocks), stream.hidden.shape[-1], stream.recent.shape[-1]
    here = architecture.depth, architecture.width, architecture.max_length
    if there != here:
        of = "{} layers of width {} that read {} events"
        raise ValueError(
            f"stream: expected one of this network, of {of.format(*here)}, got one of {of.format(*there)}: a stream keeps its "
            "network; use the recommender that started it, or start anew from the histories"
        )


def push(network: Served, weights: dict, stream: Stream, items: np.ndarray, times: np.ndarray | None = None) -> Stream:
    """The stream after one more event a user, inner ids [users]; 0 leaves a user as it is.

    `times`: of the events, float64 [users], seconds since 1970, NaN unknown; None: all unknown.
    """
    begin, step = _programs(network)
    stream = stream._replace(recent=stream.recent.copy(), count=stream.count.copy())
    length = stream.recent.shape[1]
    full = np.flatnonzero((stream.count == length) & (items > 0))
    if len(full):
        stream = _cut(begin, weights, stream, full)
    event: Events = items.astype(np.int32)
    if stream.clock is not None:
        stream, before = _ticked(stream, items, np.full(len(items), np.nan) if times is None else times)
        event = Timed(event, before, np.zeros((len(items), 3), np.uint8))
    some = np.flatnonzero(items > 0)
    stream.recent[some, stream.count[some]] = items[some]
    stream.count[some] += 1
    hidden, state = step(weights, stream.hidden, stream.state, event)
    return stream._replace(hidden=hidden, state=state)


def _cut(begin: Any, weights: dict, stream: Stream, full: np.ndarray) -> Stream:
    """The stream whose `full` users count their latest N/2 events alone; its own arrays are written to."""
    length = stream.recent.shape[1]
    keep = length // 2

    def latest(rows: np.ndarray) -> np.ndarray:
        return np.pad(rows[full, length - keep :], ((0, 0), (0, length - keep)))

    stream.recent[full] = latest(stream.recent)
    stream.count[full] = keep
    if stream.clock is not None:
        before = stream.clock.before.copy()
        before[full] = latest(before)
        stream = stream._replace(clock=stream.clock._replace(before=before))
    rows = np.resize(full, rounded_up(len(full)))  # repeated rows are written twice, with the same
    fresh = begin(weights, jax.tree.map(lambda events: events[rows], stream.events))
    there = stream.hidden, stream.state
    hidden, state = jax.tree.map(lambda old, new: old.at[rows].set(new), there, fresh)
    return stream._replace(hidden=hidden, state=state)


def _ticked(stream: Stream, items: np.ndarray, times: np.ndarray) -> tuple[Stream, np.ndarray]:
    """(the stream with its clock after one more event a user, the code of the gap before it); its count is still that before."""
    assert stream.clock is not None
    table, codes = stream.clock.before.copy(), gap_codes(times - stream.clock.last)
    codes = np.where((stream.count == 0) & ~np.isnan(times), FIRST, codes).astype(np.uint8)
    some = np.flatnonzero(items > 0)
    table[some, stream.count[some]] = codes[some]
    return stream._replace(clock=Clock(table, np.where(items > 0, times, stream.clock.last))), codes


def requests_at(stream: Stream, now: np.ndarray | None) -> np.ndarray:
    """uint8 [users 3], codes of requests at these times, float64 [users], NaN or None: not known."""
    assert stream.clock is not None
    now = np.full(len(stream.count), np.nan) if now is None else now
    return request_codes(now, now - stream.clock.last)


def save_stream(path: Path, stream: Stream, fingerprint: str) -> None:
    """One .npz file, written aside and renamed; it names the model by its fingerprint."""
    arrays = {f"state/{number}": np.asarray(x) for number, x in enumerate(jax.tree.leaves(stream.state))}
    arrays |= {"hidden": np.asarray(stream.hidden), "recent": stream.recent, "count": stream.count}
    arrays |= {} if stream.clock is None else {f"clock/{name}": of for name, of in stream.clock._asdict().items()}
    write_arrays(path, arrays | {"format": np.array([FORMAT, fingerprint])})


def load_stream(path: Path, network: Served, weights: dict, fingerprint: str) -> Stream:
    """What `save_stream` wrote; `ValueError` names a file that is damaged, or of another model."""
    found = read_arrays(path)
    if found.get("format", np.array(["?"]))[0] != FORMAT or "recent" not in found:
        raise ValueError(f"{path}: expected a stream of format {FORMAT!r}")
    if found["format"][1] != fingerprint:
        raise ValueError(f"{path}: another model's stream; start anew from the histories")
    recent, clock = found["recent"], None
    if network.architecture.reads_times:
        clock = Clock(*(found.get(f"clock/{name}", np.zeros(0)) for name in Clock._fields))
        if clock.before.shape != recent.shape or clock.last.shape != recent.shape[:1]:
            raise ValueError(f"{path}: its arrays do not fit this model")
    stream = _stateless(recent, found["count"], clock)
    template = jax.eval_shape(_programs(network)[0], weights, stream.events)
    leaves, tree = jax.tree.flatten(template[1])
    stored = [found.get(f"state/{number}") for number in range(len(leaves))]
    if any(x is None or x.shape != want.shape for x, want in zip(stored, leaves, strict=True)):
        raise ValueError(f"{path}: its arrays do not fit this model")
    state = jax.tree.unflatten(tree, [jnp.asarray(x) for x in stored])
    return stream._replace(hidden=jnp.asarray(found["hidden"]), state=state)
