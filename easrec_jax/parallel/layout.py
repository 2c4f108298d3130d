"""How arrays lie on several devices: the item table by rows, batches by rows, everything else whole on each.

A mesh has two axes. Each device of axis `items` has its share of the rows of the item table and of the optimiser's moments of
them; axis `data` repeats that. A batch is cut over both axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

TABLE = ("tables", "items")  # where the item table is in the weights, and its moments in the optimiser's state
TABLES, BATCH, WHOLE = PartitionSpec("items"), PartitionSpec(("data", "items")), PartitionSpec()


def make_mesh(data: int, items: int) -> Mesh:
    """The first `data * items` devices, those of one copy of the table side by side. Raises `ValueError` where there are fewer."""
    devices = jax.devices()
    count = data * items
    if count > len(devices) or (count < len(devices) and jax.process_count() > 1):
        expected = "at most" if jax.process_count() == 1 else "just"
        raise ValueError(
            f"--mesh.data {data} --mesh.items {items}: expected {expected} the {len(devices)} devices that there are "
            f"({devices[0].platform}), got {data} x {items} = {count}; XLA_FLAGS=--xla_force_host_platform_device_count={count} "
            "makes so many of a CPU"
        )
    return Mesh(np.array(devices[:count]).reshape(data, items), ("data", "items"), axis_types=(AxisType.Auto,) * 2)


def is_table(path: tuple) -> bool:
    """Whether a leaf at this path of a tree is an item table, or moments of one."""
    return tuple(getattr(entry, "key", None) for entry in path[-2:]) == TABLE


def map_tables(function: Callable, *trees: Any) -> Any:
    """`function` on the item tables of the first tree (and what stands there in the others), the last tree's leaves elsewhere."""
    return jax.tree_util.tree_map_with_path(lambda path, *x: function(*x) if is_table(path) else x[-1], *trees)


@dataclass(frozen=True)
class Layout:
    """A mesh, and the size of the catalogue whose table lies on it. Hashable: a static argument of compiled programs."""

    mesh: Mesh
    num_items: int

    @property
    def devices(self) -> int:
        """How many devices the mesh has."""
        return self.mesh.size

    @property
    def shards(self) -> int:
        """Into how many parts the table is cut."""
        return self.mesh.shape["items"]

    @property
    def rows(self) -> int:
        """Rows of a table as it lies there: `num_items + 1`, and rows of zeros up to a multiple of the shards."""
        return -(-(self.num_items + 1) // self.shards) * self.shards

    def shardings(self, tree: Any) -> Any:
        """The sharding of each leaf of a tree of weights or of an optimiser's state."""

        def of(path: tuple, leaf: Any) -> NamedSharding:
            return NamedSharding(self.mesh, TABLES if is_table(path) else WHOLE)

        return jax.tree_util.tree_map_with_path(of, tree)

    def place(self, tree: Any) -> Any:
        """A tree of whole arrays laid on the devices; what each process holds of it is the same beforehand."""
        filled = map_tables(self._fill, jax.tree.map(np.asarray, tree))
        return jax.tree.map(_lay, filled, self.shardings(filled))

    def init(self, function: Callable[[Any], Any], weights: Any) -> Any:
        """What `function` makes of placed weights, an optimiser's state, made where it will lie."""
        return jax.jit(function, out_shardings=self.shardings(jax.eval_shape(function, weights)))(weights)

    def unplace(self, tree: Any) -> Any:
        """The whole arrays of a placed tree, of NumPy, without the rows that filled up the table; the same in every process."""
        return map_tables(lambda table: table[: self.num_items + 1], jax.tree.map(whole, tree))

    def place_key(self, key: Array) -> Array:
        """A key whole on each device."""
        data = _lay(np.asarray(jax.random.key_data(key)), NamedSharding(self.mesh, WHOLE))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))

    def put(self, arrays: Any) -> Any:
        """Arrays [batch ...] cut over all devices, filled up with zeros to a multiple of them."""
        sharding = NamedSharding(self.mesh, BATCH)

        def cut(array: Any) -> Array:
            array = np.asarray(array)
            more = -len(array) % self.devices
            return _lay(np.pad(array, [(0, more)] + [(0, 0)] * (array.ndim - 1)), sharding)

        return jax.tree.map(cut, arrays)

    def keep(self, tree: Any) -> Any:
        """The tree with each leaf held where it lies, within a compiled program: a state keeps its layout from step to step."""
        return jax.lax.with_sharding_constraint(tree, self.shardings(tree))

    def replicated(self, array: Array) -> Array:
        """The array whole on each device, within a compiled program."""
        return jax.lax.with_sharding_constraint(array, NamedSharding(self.mesh, WHOLE))

    def cut(self, array: Array) -> Array:
        """The array [batch ...] cut over all devices, as `put` lays it, within a compiled program."""
        return jax.lax.with_sharding_constraint(array, NamedSharding(self.mesh, BATCH))

    def spread_over(self, count: int) -> PartitionSpec:
        """How an axis of that size is cut: over all devices where they divide it, else not."""
        return WHOLE if count % self.devices else BATCH

    def _fill(self, table: np.ndarray) -> np.ndarray:
        if len(table) != self.num_items + 1:
            raise ValueError(f"an item table: expected {self.num_items + 1} rows, got {len(table)}")
        return table if len(table) == self.rows else np.pad(table, ((0, self.rows - len(table)), (0, 0)))


def _lay(array: np.ndarray, sharding: NamedSharding) -> Array:
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def whole(array: Any) -> np.ndarray:
    """All of an array, of NumPy, in every process."""
    if isinstance(array, Array) and not array.is_fully_addressable:
        from jax.experimental.multihost_utils import process_allgather

        return np.asarray(process_allgather(array, tiled=True))
    return np.asarray(array)
