"""The compiled programs that answer: hidden states, the best items, the nearest ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easrec_jax.models.kinds import Served
from easrec_jax.models.network import item_table

ITEMS = 1 << 17  # items scored at a time at most


class Programs(NamedTuple):
    """The jitted functions of one network; `weights` is always the first argument."""

    hidden: Callable  # items [batch length] -> [batch width]
    top: Callable  # items, seen [batch any], offsets [items + 1], k -> (scores, inner ids), [batch k] each
    top_of_hidden: Callable  # the same from hidden states [batch width]
    nearest: Callable  # inner ids [batch], k -> (cosines, inner ids), [batch k] each
    vectors: Callable  # inner ids [any] -> [any width], of the items


@lru_cache(maxsize=16)
def programs(network: Served) -> Programs:
    """One set of programs a network, so that nothing recompiles."""

    def hidden(weights: dict, items: Array) -> Array:
        return network.encode_last(weights, items)

    def top_of_hidden(weights: dict, states: Array, seen: Array, offsets: Array, k: int) -> tuple[Array, Array]:
        return best_items(states, item_table(weights), offsets.at[0].set(-jnp.inf), seen, k)

    def top(weights: dict, items: Array, seen: Array, offsets: Array, k: int) -> tuple[Array, Array]:
        return top_of_hidden(weights, hidden(weights, items), seen, offsets, k)

    def nearest(weights: dict, items: Array, k: int) -> tuple[Array, Array]:
        table = item_table(weights)
        unit = table * jax.lax.rsqrt(jnp.maximum(jnp.sum(table * table, -1, keepdims=True), 1e-12))
        return best_items(unit[items], unit, jnp.zeros(table.shape[0]).at[0].set(-jnp.inf), items[:, None], k)

    def vectors(weights: dict, items: Array) -> Array:
        return item_table(weights)[items]

    jit = partial(jax.jit, static_argnames="k")
    return Programs(jax.jit(hidden), jit(top), jit(top_of_hidden), jit(nearest), jax.jit(vectors))


def best_items(
    states: Array, table: Array, offsets: Array, seen: Array, k: int, *, chunk: int = ITEMS
) -> tuple[Array, Array]:
    """Exact (scores, rows of `table`), [batch k] each, best first, of `states . table^T + offsets`; `seen` rows score -inf.

    Large tables are scored `chunk` rows at a time, so memory does not grow with them; of equal scores the lower row wins.
    """
    users = jnp.arange(states.shape[0])[:, None]

    def top(table: Array, offsets: Array, seen: Array) -> tuple[Array, Array]:
        scores = (states @ table.T + offsets[None, :]).at[users, seen].set(-jnp.inf, mode="drop")
        best, rows = jax.lax.top_k(scores, min(k, scores.shape[1]))
        return best, rows

    if table.shape[0] <= chunk:
        return top(table, offsets, seen)
    starts = jnp.arange(0, table.shape[0] - chunk + 1, chunk)
    # the last chunk overlaps the one before: those rows are left out
    starts = jnp.append(starts, table.shape[0] - chunk)
    done = jnp.append(starts[:-1], starts[-2] + chunk)

    def step(best: tuple[Array, Array], bounds: tuple[Array, Array]):
        start, first_new = bounds
        part = jax.lax.dynamic_slice_in_dim(offsets, start, chunk)
        part = jnp.where(start + jnp.arange(chunk) >= first_new, part, -jnp.inf)
        local = jnp.where(seen >= start, seen - start, chunk)
        scores, rows = top(jax.lax.dynamic_slice_in_dim(table, start, chunk), part, local)
        scores, rows = (jnp.concatenate(pair, 1) for pair in zip(best, (scores, rows + start), strict=True))
        kept, at = jax.lax.top_k(scores, k)
        return (kept, jnp.take_along_axis(rows, at, 1)), None

    nothing = (jnp.full((states.shape[0], k), -jnp.inf), jnp.zeros((states.shape[0], k), jnp.int32))
    return jax.lax.scan(step, nothing, (starts, done))[0]
