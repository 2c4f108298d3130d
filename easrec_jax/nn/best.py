"""The items of the highest scores, exactly: of one table, and of one that lies on several devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec

from easrec_jax.parallel.layout import TABLES, WHOLE, Layout
from easrec_jax.parallel.tables import RowTable, gathered, on_shards

ITEMS = 1 << 17  # items scored at a time at most


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


def top_rows(states: Array, table: RowTable, offsets: Array, seen: Array, k: int) -> tuple[Array, Array]:
    """`best_items` by a `RowTable`, of states that lie as a batch does; `offsets` are [items + 1], row 0 is no item.

    Each device finds the best of its own rows; what the devices tell each other are k scores and rows a user.
    """
    layout: Layout = table.layout
    cut = layout.spread_over(states.shape[0])
    users = PartitionSpec("data" if cut != WHOLE else None)
    offsets = jnp.pad(offsets, (0, layout.rows - len(offsets)), constant_values=-jnp.inf).at[0].set(-jnp.inf)

    def top(states: Array, rows: Array, offsets: Array, seen: Array) -> tuple[Array, Array]:
        states, seen = gathered(states, cut), gathered(seen, cut)
        count = rows.shape[0]
        first = lax.axis_index("items") * count
        local = jnp.where((seen >= first) & (seen < first + count), seen - first, count)
        scores, found = best_items(states, rows, offsets, local, min(k, count))
        scores, found = (lax.all_gather(x, "items", axis=1, tiled=True) for x in (scores, found + first))
        best, at = lax.top_k(scores, min(k, scores.shape[1]))  # of equal ones the first: that of the lower row
        return best, jnp.take_along_axis(found, at, 1)

    return on_shards(top, layout, (cut, TABLES, TABLES, cut), (users, users))(states, table.rows, offsets, seen)
