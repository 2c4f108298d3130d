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
from easrec_jax.files import read_arrays, write_arrays
from easrec_jax.models.kinds import Served
from easrec_jax.models.network import Network, UserState
from easrec_jax.serving.shapes import rounded_up

FORMAT = "easrec_jax stream 1"


class Stream(NamedTuple):
    """A batch of users between two events. Row u of everything is user u; nothing is changed in place."""

    hidden: Array  # float32 [users width], what scores the next item
    state: UserState  # on the device
    recent: np.ndarray  # int32 [users N], the counted events, left-aligned, 0 padding
    # int64 [users], how many events count
    count: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]


@lru_cache(maxsize=16)
def _programs(network: Served) -> tuple[Any, Any]:
    def begin(weights: dict, items: Array) -> tuple[Array, UserState]:
        return network.start(weights, items)

    def step(weights: dict, hidden: Array, state: UserState, items: Array) -> tuple[Array, UserState]:
        new_hidden, new_state = network.step(weights, state, items)

        def choose(new: Array, old: Array) -> Array:
            return jnp.where((items > 0).reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        return choose(new_hidden, hidden), jax.tree.map(choose, new_state, state)

    return jax.jit(begin), jax.jit(step)


def new_stream(network: Served, weights: dict, histories: Sequence[np.ndarray]) -> Stream:
    """The stream of users with these histories of inner ids, each cut to its last N."""
    if isinstance(network, Network) and not network.architecture.causal:
        attention = network.architecture.attention
        raise ValueError(f"attention {attention!r} cannot stream: a new event changes earlier outputs")
    length = network.architecture.max_length
    recent = np.zeros((len(histories), length), np.int32)
    for row, history in enumerate(histories):
        recent[row, : min(len(history), length)] = history[-length:]
    if not len(histories):
        raise ValueError("histories: expected at least one user")
    hidden, state = _programs(network)[0](weights, recent)
    return Stream(hidden, state, recent, np.count_nonzero(recent, 1))


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


def push(network: Served, weights: dict, stream: Stream, items: np.ndarray) -> Stream:
    """The stream after one more event a user, inner ids [users]; 0 leaves a user as it is."""
    begin, step = _programs(network)
    recent, count = stream.recent.copy(), stream.count.copy()
    length = recent.shape[1]
    full = np.flatnonzero((count == length) & (items > 0))
    hidden, state = stream.hidden, stream.state
    if len(full):
        keep = length // 2
        recent[full] = np.pad(recent[full, length - keep :], ((0, 0), (0, length - keep)))
        count[full] = keep
        rows = np.resize(full, rounded_up(len(full)))  # repeated rows are written twice, with the same
        fresh = begin(weights, recent[rows])
        hidden, state = jax.tree.map(lambda old, new: old.at[rows].set(new), (hidden, state), fresh)
    some = np.flatnonzero(items > 0)
    recent[some, count[some]] = items[some]
    count[some] += 1
    hidden, state = step(weights, hidden, state, items.astype(np.int32))
    return Stream(hidden, state, recent, count)


def save_stream(path: Path, stream: Stream, fingerprint: str) -> None:
    """One .npz file, written aside and renamed; it names the model by its fingerprint."""
    arrays = {f"state/{number}": np.asarray(x) for number, x in enumerate(jax.tree.leaves(stream.state))}
    arrays |= {"hidden": np.asarray(stream.hidden), "recent": stream.recent, "count": stream.count}
    write_arrays(path, arrays | {"format": np.array([FORMAT, fingerprint])})


def load_stream(path: Path, network: Served, weights: dict, fingerprint: str) -> Stream:
    """What `save_stream` wrote; `ValueError` names a file that is damaged, or of another model."""
    found = read_arrays(path)
    if found.get("format", np.array(["?"]))[0] != FORMAT or "recent" not in found:
        raise ValueError(f"{path}: expected a stream of format {FORMAT!r}")
    if found["format"][1] != fingerprint:
        raise ValueError(f"{path}: another model's stream; start anew from the histories")
    template = jax.eval_shape(_programs(network)[0], weights, jax.ShapeDtypeStruct(found["recent"].shape, jnp.int32))
    leaves, tree = jax.tree.flatten(template[1])
    stored = [found.get(f"state/{number}") for number in range(len(leaves))]
    if any(x is None or x.shape != want.shape for x, want in zip(stored, leaves, strict=True)):
        raise ValueError(f"{path}: its arrays do not fit this model")
    state = jax.tree.unflatten(tree, [jnp.asarray(x) for x in stored])
    return Stream(jnp.asarray(found["hidden"]), state, found["recent"], found["count"])
