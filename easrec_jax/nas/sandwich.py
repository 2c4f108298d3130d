"""Training that makes every network of a space good as it stands: `--search.training sandwich`.

A step trains the largest network on the labels, and beside it one other network of most layers, drawn anew, that learns from
the largest what it does not from the labels. Both end after every layer: each position draws the layer after which it is read, so
all depths are trained at the price of one item softmax.

Sources: the sandwich rule and in-place distillation of universally slimmable networks (Yu and Huang, ICCV 2019), as in BigNAS
(Yu et al., ECCV 2020) and AlphaNet (Wang et al., ICML 2021), which train the smallest and two random networks beside the
largest; late entry of the small ones (delayed shrinking, arXiv 2407.06167). New here is the exit by position.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.data.batches import Batch
from easrec_jax.data.clock import items_of
from easrec_jax.models.cost import cost_table
from easrec_jax.models.encoder import Supernet, Weights
from easrec_jax.models.network import Network, item_table
from easrec_jax.nas.distribution import Table
from easrec_jax.nn.block import pick_last
from easrec_jax.nn.losses import CHUNK, Teacher, cross_entropy

TAUGHT = 0.5  # of the positions, drawn anew, the other network learns at: that is half of its softmax's price
DEEPEST = 0.5  # of the largest network's positions are read after its last layer, the others after any one before


class Sliced(NamedTuple):
    """The networks of most layers of a space, by row."""

    largest: int
    others: np.ndarray  # int32 [networks]
    logits: np.ndarray  # float32 [networks]: of `others`, each width as likely as the next
    exits: np.ndarray  # int32 [networks layers]: the networks that `others` are when they are read after each layer


def sliced(supernet: Supernet) -> Sliced:
    """What a step draws from."""
    space = supernet.space
    rows = np.array(list(space.exits), np.int32)
    largest = int(rows[np.argmax(cost_table(space, supernet.num_items).ravel()[rows])])
    others = rows[rows != largest]
    widths = space.networks[others, 0]
    counts = np.bincount(widths, minlength=len(space.widths))[widths]
    exits = np.array([space.exits[row] for row in others.tolist()], np.int32).reshape(-1, space.num_layers)
    return Sliced(largest, others, -np.log(counts, dtype=np.float32), exits)


def sandwich_loss(
    weights: Weights, batch: Batch, key: Array, table: Table, *, supernet: Supernet, share: float, opened: Array | bool,
    word: Teacher | None = None,
) -> Array:  # fmt: skip
    """The largest network's loss and, once `opened`, that of another, which has `share` of what it learns from the largest.

    `word` is what a teacher of the largest says. Dropout is the largest network's alone: small ones underfit. The key is consumed.
    """
    dropout_key, exit_key, row_key, other_key, taught_key = jax.random.split(key, 5)
    rows, items, targets = sliced(supernet), batch.items, batch.targets.reshape(-1)
    architecture = supernet.space.architecture(rows.largest)
    network = Network(architecture, supernet.num_items, supernet.dropout)
    part = supernet.cut(weights, architecture)
    after = [_read(x, batch) for x in network.exits(part, items, key=dropout_key)]
    drawn = _by_position(jnp.stack(after), exit_key, _of_largest(len(after)))
    loss: Array = cross_entropy(drawn, item_table(part), targets, CHUNK, word)
    if not len(rows.others):
        return loss
    teacher = jax.lax.stop_gradient(Teacher(after[-1], item_table(part), share))

    def other(weights: Weights) -> Array:
        drawn = jax.random.categorical(row_key, jnp.asarray(rows.logits))
        hidden = supernet.exits(weights, items, jnp.asarray(rows.others)[drawn])
        flat = jax.vmap(lambda x: _read(x, batch))(hidden)
        own = _by_position(flat, other_key, _of_other(table, jnp.asarray(rows.exits)[drawn]))
        taught = jnp.where(jax.random.bernoulli(taught_key, TAUGHT, targets.shape), targets, 0)
        return cross_entropy(own, item_table(weights), taught, CHUNK, teacher)

    return loss + jax.lax.cond(opened, other, lambda _: jnp.zeros(()), weights)


def _read(hidden: Array, batch: Batch) -> Array:
    """[targets width] of [batch length width]: at all positions, or at the last ones where there is a target each."""
    if batch.targets.ndim == 1:
        return pick_last(hidden, jnp.asarray(items_of(batch.items)) > 0)
    return hidden.reshape(-1, hidden.shape[-1])


def _of_largest(layers: int) -> Array:
    """Probability of each layer."""
    before = (1.0 - DEEPEST) / max(layers - 1, 1)
    return jnp.full(layers, before).at[-1].set(DEEPEST if layers > 1 else 1.0)


def _of_other(table: Table, exits: Array) -> Array:
    """Any layer whose network the budget allows; any layer at all where it allows none."""
    if table.allowed is None:
        return jnp.full(exits.shape, 1.0 / exits.shape[0])
    allowed = table.allowed.ravel()[exits].astype(jnp.float32)
    return jnp.where(jnp.any(allowed > 0), allowed, 1.0)


def _by_position(after: Array, key: Array, probability: Array) -> Array:
    """[targets width] of [layers targets width]: each position read after a layer of its own draw; the key is consumed."""
    layer = jax.random.categorical(key, jnp.log(probability), shape=(after.shape[1],))
    return jnp.take_along_axis(after, layer[None, :, None], 0)[0]
