"""Training with item features: a step sees the items that have training events, their features folded into their rows.

Items without training events are no class of the softmax, which would push them down; they have no id embedding either, so that
their rows are functions of their features. `model.id_dropout` leaves out, in each step, the ids of that share of the classes, so that
features learn to stand alone; in the histories, where an event may tell much, ids stay.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.data.batches import Batch
from easrec_jax.data.clock import items_of, replaced
from easrec_jax.models.encoder import Encoder
from easrec_jax.models.item_features import Rows, feature_rows, with_items
from easrec_jax.train.step import softmax_loss
from easrec_jax.train.task import Task


class Known(NamedTuple):
    """The items with training events, as a small catalogue of its own; what a step reads, a pytree."""

    ids: Array  # int32 [known + 1], inner ids; padding is first
    places: Array  # int32 [items + 1], where each item is among them, 0 for the others
    rows: Rows  # features of `ids`
    id_dropout: Array  # []

    @property
    def num_items(self) -> int:
        """How many they are."""
        return len(self.ids) - 1

    def batch(self, batch: Batch) -> Batch:
        """The batch in the numbers of this catalogue; targets that are not in it count as none."""
        items, targets = (self.places[jnp.asarray(ids)] for ids in (items_of(batch.items), batch.targets))
        return Batch(replaced(batch.items, items), targets)  # type: ignore[arg-type]

    def fold(self, weights: dict, key: Array | None = None) -> dict:
        """The network's own weights over this catalogue; a key drops ids of the classes and is consumed."""
        tables = weights["tables"]
        return self._sum(weights, tables["items"][self.ids], feature_rows(tables, self.rows), key)

    def fold_rows(self, weights: dict, ids: Array, key: Array | None) -> dict:
        """The same where the item table has the rows of these inner ids alone; ids out of range fill up."""
        tables, places = weights["tables"], self.places.at[ids].get(mode="clip")
        return self._sum(weights, tables["items"], feature_rows(tables, self.rows.at(places)), key)

    def _sum(self, weights: dict, ids: Array, features: Array, key: Array | None) -> dict:
        """Nothing is scaled where an id is left out, as nothing is where there is none."""
        if key is None:
            return with_items(weights, ids + features)
        kept = jax.random.bernoulli(key, 1.0 - self.id_dropout, (len(ids), 1))
        return with_items(weights, ids + features, classes=jnp.where(kept, ids, 0.0) + features)


def known_items(task: Task) -> Known | None:
    """The catalogue that a task's training sees; None where its data have no features."""
    inputs = task.split.data.features
    if inputs is None:
        return None
    places = np.where(inputs.trained, np.cumsum(inputs.trained), 0).astype(np.int32)
    return Known(
        jnp.asarray(inputs.known),
        jnp.asarray(places),
        Rows.of(inputs.coded, inputs.known),
        jnp.float32(task.id_dropout),
    )


def featured_loss(weights: Any, encoder: Encoder, batch: Batch, key: Array, known: Known) -> Array:
    """`step.softmax_loss` over the items with training events."""
    id_key, key = jax.random.split(key)
    encoder = encoder.clone(num_items=known.num_items)
    return softmax_loss(known.fold(weights, id_key), encoder, known.batch(batch), key)
