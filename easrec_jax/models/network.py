"""The compact network of one `Architecture`: what is retrained, evaluated and served."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from easrec_jax.architecture import Architecture
from easrec_jax.data.clock import items_of
from easrec_jax.models.encoder import Encoder, Events, ScoreFunction
from easrec_jax.nn.block import blocks_of
from easrec_jax.nn.dropout import split_key
from easrec_jax.nn.embedding import EmbeddingNorm, Event, Tables
from easrec_jax.nn.times import read_out
from easrec_jax.precision import in_float32


class UserState(NamedTuple):
    """A batch of users after some events: one state a layer, and how many events each has seen."""

    blocks: tuple[Any, ...]
    count: Int[Array, " batch"]  # pyright: ignore[reportIncompatibleMethodOverride]


class NetworkModule(nn.Module):
    """The layers of a `Network`: item and position embedding, `depth` equal blocks."""

    architecture: Architecture
    num_items: int
    dropout: float = 0.0

    def setup(self):
        arch = self.architecture
        self.tables = Tables(self.num_items, arch.max_length, arch.width, arch.times)
        self.embedding_norm = EmbeddingNorm(self.dropout)
        self.blocks = blocks_of(arch, self.dropout)

    def encode(self, items: Events, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        return self.exits(items, key=key)[-1]

    def exits(self, items: Events, *, key: Array | None = None) -> list[Array]:
        """Hidden states after each layer, [batch length width] each: those of the networks that end there."""
        keys = split_key(key, self.architecture.depth + 1)
        mask, after = items_of(items) > 0, []
        embedded = x = self.embedding_norm(self.tables(items), key=keys[0])
        for block, block_key in zip(self.blocks, keys[1:], strict=True):
            x = block(x, embedded, mask, key=block_key)
            after.append(x)
        return [self.tables.read_out(x, items) for x in after]

    def encode_last(self, items: Events, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event; the last layer is computed there alone."""
        keys = split_key(key, self.architecture.depth + 1)
        mask = items_of(items) > 0
        embedded = x = self.embedding_norm(self.tables(items), key=keys[0])
        for block, block_key in zip(self.blocks[:-1], keys[1:-1], strict=True):
            x = block(x, embedded, mask, key=block_key)
        last = self.blocks[-1].last(x, embedded, mask, key=keys[-1])
        return self.tables.read_out_last(last, items)

    def start(self, items: Events) -> tuple[Float[Array, "batch width"], UserState]:
        """Hidden state at the last event, whatever the request, and the state from which `step` continues (causal modes)."""
        mask = items_of(items) > 0
        embedded = x = self.embedding_norm(self.tables(items))
        states = []
        for block in self.blocks[:-1]:
            states.append(block.states(x, mask))
            x = block(x, embedded, mask)
        states.append(self.blocks[-1].states(x, mask))
        last = self.blocks[-1].last(x, embedded, mask)
        return last, UserState(tuple(states), jnp.sum(mask, -1, dtype=jnp.int32))

    def step(self, state: UserState, items: Event) -> tuple[Float[Array, "batch width"], UserState]:
        """Hidden state after one more event a user, at constant cost in the linear modes."""
        embedded = x = self.embedding_norm(self.tables.at(items, state.count))
        states = []
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x, block_state = block.step(x, embedded, block_state)
            states.append(block_state)
        return x, UserState(tuple(states), state.count + 1)


@dataclass(frozen=True)
class Network:
    """The compact network of an architecture; scores are inner products with the item table (Eq. 12).

    Items are inner ids, left-aligned, 0 padding, or `Timed` where it reads times (to it ids alone are events of unknown times).
    `encode`, `encode_last`, `start` and `step` are one function seen from four sides: all positions, the last one, the state after
    it, one more event. Each is a pure function of the weights. The last two know of no request: `read_out` makes of their hidden
    states what the first two give.
    """

    architecture: Architecture
    num_items: int
    dropout: float = 0.0

    @property
    def name(self) -> str:
        """Its class."""
        return "Network"

    def clone(self, **fields: Any) -> Network:
        """The same network with another `dropout` or `num_items`."""
        return replace(self, **fields)

    @in_float32
    def init(self, key: Array) -> dict:
        """Fresh weights; the key is consumed."""
        items = jax.ShapeDtypeStruct((1, min(2, self.architecture.max_length)), jnp.int32)
        # lazy: a forward pass compiles long
        variables: Any = self._module.lazy_init(key, items, method=NetworkModule.encode)
        return variables["params"]

    def encode(self, weights: dict, items: Events, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        return self._apply("encode", weights, items, key=key)

    def exits(self, weights: dict, items: Events, *, key: Array | None = None) -> list[Array]:
        """Hidden states after each layer, [batch length width] each: those of the networks that end there."""
        return self._apply("exits", weights, items, key=key)

    def encode_last(self, weights: dict, items: Events, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event; the last layer is computed there alone."""
        return self._apply("encode_last", weights, items, key=key)

    def start(self, weights: dict, items: Events) -> tuple[Float[Array, "batch width"], UserState]:
        """Hidden state at the last event, and the state from which `step` continues (causal modes)."""
        return self._apply("start", weights, items)

    def step(self, weights: dict, state: UserState, items: Event) -> tuple[Float[Array, "batch width"], UserState]:
        """Hidden state after one more event a user, at constant cost in the linear modes."""
        return self._apply("step", weights, state, items)

    def read_out(
        self, weights: dict, hidden: Float[Array, "batch width"], request: Array
    ) -> Float[Array, "batch width"]:
        """Hidden states of `start` and `step` for requests of these codes [batch 3]."""
        tables = weights["tables"]
        return read_out(hidden, tables["scale"], tables["shift"], request) if self.architecture.reads_times else hidden

    @property
    def _module(self) -> NetworkModule:
        return NetworkModule(self.architecture, self.num_items, self.dropout)

    def _apply(self, method: str, weights: dict, *args: Any, **options: Any) -> Any:
        return self._module.apply({"params": weights}, *args, method=method, **options)


def item_table(weights: dict) -> Any:
    """The item embeddings that score, [rows width]: row v is inner id v, row 0 is padding. A `RowTable` on several devices.

    They are those that are read, but in training with item features, where the ids of some `classes` are left out.
    """
    tables = weights["tables"]
    return tables.get("classes", tables["items"])


def network_scores(encoder: Encoder) -> ScoreFunction:
    """`scores(weights, items) -> [batch items + 1]` of a network; one function object a network, so that nothing recompiles.

    Scoring knows no dropout, so networks that differ in it alone share the function.
    """
    return _scores_of(encoder.clone(dropout=0.0))


@lru_cache(maxsize=64)
def _scores_of(encoder: Encoder) -> ScoreFunction:
    def scores(weights: dict, items: Any) -> Array:
        return encoder.encode_last(weights, items) @ item_table(weights).T

    return scores
