"""The compiled programs that answer: hidden states, the best items, the nearest ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easrec_jax.data.clock import Events
from easrec_jax.models.kinds import Served
from easrec_jax.models.network import Network, item_table
from easrec_jax.nn.best import best_items


class Programs(NamedTuple):
    """The jitted functions of one network; `weights` is always the first argument."""

    hidden: Callable  # items [batch length] -> [batch width]
    top: Callable  # items, seen [batch any], offsets [items + 1], k -> (scores, inner ids), [batch k] each
    top_of_hidden: Callable  # the same from hidden states [batch width]
    nearest: Callable  # inner ids [batch], k -> (cosines, inner ids), [batch k] each
    vectors: Callable  # inner ids [any] -> [any width], of the items
    read_out: Callable  # hidden states of a stream [batch width], codes of requests [batch 3] -> [batch width]


@lru_cache(maxsize=16)
def programs(network: Served) -> Programs:
    """One set of programs a network, so that nothing recompiles."""

    def hidden(weights: dict, items: Events) -> Array:
        return network.encode_last(weights, items)

    def top_of_hidden(weights: dict, states: Array, seen: Array, offsets: Array, k: int) -> tuple[Array, Array]:
        return best_items(states, item_table(weights), offsets.at[0].set(-jnp.inf), seen, k)

    def top(weights: dict, items: Events, seen: Array, offsets: Array, k: int) -> tuple[Array, Array]:
        return top_of_hidden(weights, hidden(weights, items), seen, offsets, k)

    def nearest(weights: dict, items: Array, k: int) -> tuple[Array, Array]:
        table = item_table(weights)
        unit = table * jax.lax.rsqrt(jnp.maximum(jnp.sum(table * table, -1, keepdims=True), 1e-12))
        return best_items(unit[items], unit, jnp.zeros(table.shape[0]).at[0].set(-jnp.inf), items[:, None], k)

    def vectors(weights: dict, items: Array) -> Array:
        return item_table(weights)[items]

    def read_out(weights: dict, states: Array, request: Array) -> Array:
        assert isinstance(network, Network), "cells read no times"
        return network.read_out(weights, states, request)

    jit = partial(jax.jit, static_argnames="k")
    return Programs(jax.jit(hidden), jit(top), jit(top_of_hidden), jit(nearest), jax.jit(vectors), jax.jit(read_out))
