"""An item table whose rows lie on several devices: to read rows, to write rows, to score by it.

Only what is here and the losses and lists that are made of it know of shards; a network sees a `RowTable` and reads it by
`table[items]`, so it stays one program under `jit` and draws its dropout as one device would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec

from easrec_jax.parallel.layout import BATCH, TABLES, WHOLE, Layout, map_tables


@partial(jax.tree_util.register_dataclass, data_fields=["rows"], meta_fields=["layout"])
@dataclass(frozen=True)
class RowTable:
    """A placed item table inside a compiled program."""

    rows: Array  # [layout.rows width]
    layout: Layout

    @property
    def shape(self) -> tuple[int, int]:
        """Without the rows that fill it up."""
        return self.layout.num_items + 1, self.rows.shape[1]

    def __getitem__(self, index: Any) -> Any:
        """Rows by item, `table[items]`, laid as the items are; or the same table of some columns, `table[:, :width]`."""
        if isinstance(index, tuple):
            return RowTable(self.rows[index], self.layout)
        return take_rows(self.rows, index, self.layout, self.layout.spread_over(index.shape[0]))

    @property
    def T(self) -> Columns:
        """What hidden states are multiplied by."""
        return Columns(self)


@dataclass(frozen=True)
class Columns:
    """`hidden @ table.T`: scores [batch layout.rows] of which each device has its users and its items, and keeps them."""

    table: RowTable

    def __rmatmul__(self, hidden: Array) -> Array:
        layout = self.table.layout
        cut = layout.spread_over(hidden.shape[0])
        users = "data" if cut == BATCH else None

        def score(hidden: Array, rows: Array) -> Array:
            return gathered(hidden, cut) @ rows.T

        out = PartitionSpec(users, "items")
        return on_shards(score, layout, (cut, TABLES), out)(hidden, self.table.rows)


def spread(tree: Any, layout: Layout | None) -> Any:
    """The tree with a `RowTable` for each item table; itself where there is no layout."""
    return tree if layout is None else map_tables(lambda table: RowTable(table, layout), tree)


def on_shards(function: Callable, layout: Layout, inputs: Any, outputs: Any) -> Callable:
    """`shard_map`; gradients through it are written out by who uses it, so nothing is checked twice."""
    return jax.shard_map(function, mesh=layout.mesh, in_specs=inputs, out_specs=outputs, check_vma=False)


def gathered(array: Array, cut: PartitionSpec) -> Array:
    """Within `on_shards`: the part of an array [batch ...] that the devices which share the table hold together."""
    return lax.all_gather(array, "items", tiled=True) if cut == BATCH else array


def scattered(array: Array, cut: PartitionSpec) -> Array:
    """Within `on_shards`: the sum over the devices that share the table, each left with its own part of `gathered`."""
    return lax.psum_scatter(array, "items", tiled=True) if cut == BATCH else lax.psum(array, "items")


def local_rows(items: Array, count: int) -> tuple[Array, Array]:
    """Within `on_shards`: (where items are among the `count` rows of this device, whether they are there)."""
    at = items - lax.axis_index("items") * count
    here = (at >= 0) & (at < count)
    return jnp.where(here, at, 0), here


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def take_rows(table: Array, items: Array, layout: Layout, cut: PartitionSpec = WHOLE) -> Array:
    """Rows [... width] of a placed table by item, laid as `cut` says of both; zeros for items that are in no shard."""

    def take(table: Array, items: Array) -> Array:
        at, here = local_rows(gathered(items, cut), table.shape[0])
        return scattered(jnp.where(here[..., None], table[at], 0.0), cut)

    return on_shards(take, layout, (TABLES, cut), cut)(table, items)


def _take_forward(table: Array, items: Array, layout: Layout, cut: PartitionSpec) -> tuple[Array, Array]:
    return take_rows(table, items, layout, cut), items


def _take_backward(layout: Layout, cut: PartitionSpec, items: Array, upstream: Array) -> tuple[Array, None]:
    count = layout.rows // layout.shards

    def add(items: Array, upstream: Array) -> Array:
        at, here = local_rows(gathered(items, cut), count)
        rows = jnp.where(here[..., None], gathered(upstream, cut), 0.0)
        found = jnp.zeros((count, upstream.shape[-1])).at[at].add(rows)
        return lax.psum(found, "data") if cut == BATCH else found

    return on_shards(add, layout, (cut, cut), TABLES)(items, upstream), None


take_rows.defvjp(_take_forward, _take_backward)


def put_rows(table: Array, items: Array, rows: Array, layout: Layout) -> Array:
    """A placed table with these rows at these items, both whole on each device; items that are in no shard are left out."""

    def put(table: Array, items: Array, rows: Array) -> Array:
        at, here = local_rows(items, table.shape[0])
        return table.at[jnp.where(here, at, table.shape[0])].set(rows, mode="drop")

    return on_shards(put, layout, (TABLES, WHOLE, WHOLE), TABLES)(table, items, rows)
