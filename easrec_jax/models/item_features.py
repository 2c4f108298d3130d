"""Item features as a part of the item table, outside of the networks.

A network that reads item features trains more arrays in its tables: `values_n`, a row a value of the n-th column; `numbers`, a row
a standardised column and a row where it is missing; `vectors`, a row a dimension. Its item table is then the embedding of each id
plus the mean of the item's values in each column, plus the projections of its numbers and of its vector. `fold` computes that and
leaves the network's own weights: no network, supernet or saved model knows more than an item table.

All these arrays are as wide as the table, so that slices of a supernet's tables are slices of them too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from easrec_jax.data.item_inputs import Coded, Coding, ItemInputs
from easrec_jax.nn.times import NAMES

OWN = ("items", "positions", *NAMES)  # the tables that a network has without features


class Rows(NamedTuple):
    """Features of some items, as `Coded` has them; on the device."""

    values: tuple[Array, ...]
    numbers: Array
    vectors: Array

    @classmethod
    def of(cls, coded: Coded, items: Any = None) -> Rows:
        """Of the items of these inner ids, or of all."""

        def chosen(array: np.ndarray) -> Array:
            return jnp.asarray(array if items is None else array[items])

        return cls(tuple(map(chosen, coded.values)), chosen(coded.numbers), chosen(coded.vectors))

    def at(self, places: Array) -> Rows:
        """Those of some of these items; places out of range are the last."""
        return jax.tree.map(lambda a: a.at[places].get(mode="clip"), self)


class FeatureWeights(NamedTuple):
    """What a trained network knows of features: with it, new items get rows."""

    coding: Coding
    tables: dict[str, Any]  # float32 [rows, width] by name, as `Coding.rows` has them


def has_features(weights: dict) -> bool:
    """Whether a network's weights have arrays of features beside its own."""
    return bool(weights["tables"].keys() - set(OWN))


def with_columns(weights: dict, coding: Coding | None) -> dict:
    """A network's or supernet's weights with arrays of features, all zero; as they are without a coding.

    Zero is no saddle: what an item's features share is learned from the first step on. Values that no trained item has stay zero.
    """
    if coding is None:
        return weights
    width = weights["tables"]["items"].shape[1]
    columns = {name: jnp.zeros((rows, width)) for name, rows in coding.rows.items()}
    return weights | {"tables": weights["tables"] | columns}


def with_features(weights: dict, inputs: ItemInputs | None) -> dict:
    """`with_columns`, and the ids of items without training events are zero: nothing trains them, their features speak alone."""
    if inputs is None:
        return weights
    weights = with_columns(weights, inputs.coding)
    items = jnp.where(jnp.asarray(inputs.trained)[:, None], weights["tables"]["items"], 0.0)
    return weights | {"tables": weights["tables"] | {"items": items}}


def feature_rows(tables: dict[str, Any], rows: Rows) -> Float[Array, "items width"]:
    """What features add to the rows of the item table."""
    summed: Any = jnp.zeros((len(rows.numbers), next(iter(tables.values())).shape[1]))
    for number, values in enumerate(rows.values):
        real = (values > 0).astype(jnp.float32)
        share = real / jnp.maximum(jnp.sum(real, 1, keepdims=True), 1.0)
        summed += jnp.sum(tables[f"values_{number}"][values] * share[:, :, None], 1)
    for name, columns in (("numbers", rows.numbers), ("vectors", rows.vectors)):
        if columns.shape[1]:
            summed += columns @ tables[name]
    return summed


def with_items(weights: dict, items: Array, **others: Array) -> dict:
    """A network's own weights, with these rows for its items."""
    own = {name: table for name, table in weights["tables"].items() if name in OWN}
    return weights | {"tables": own | {"items": items} | others}


@jax.jit
def _folded(tables: dict[str, Any], rows: Rows) -> Array:
    return tables["items"] + feature_rows(tables, rows)


def fold(weights: dict, inputs: ItemInputs | None) -> dict:
    """The network's own weights, features folded into its item table; as they are where there are no arrays of features."""
    if inputs is None or not has_features(weights):
        return weights
    items = _folded(weights["tables"], Rows.of(inputs.coded))
    return with_items(weights, items)


def feature_weights(weights: dict, inputs: ItemInputs | None) -> FeatureWeights | None:
    """The arrays of features of a trained network, and their coding; None where there are none."""
    if inputs is None or not has_features(weights):
        return None
    tables = {name: np.asarray(table) for name, table in weights["tables"].items() if name not in OWN}
    return FeatureWeights(inputs.coding, tables)
