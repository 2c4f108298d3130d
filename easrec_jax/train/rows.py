"""Training where the catalogue is too large for a softmax over all items: sampled negatives, and only a batch's rows change.

A step first takes the rows of the item table that its batch and its negatives need, and the same rows of the optimiser's
moments, into small local ones, with ids to match. Network, loss, gradient and optimiser see these alone; then the rows go
back. So a step costs the same for 10^4 items and for 10^7, and needs no memory beside the tables. Rows that a step does
not touch keep their moments as they are ("lazy" Adam, as TensorFlow calls it).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from easrec_jax.data.batches import Batch
from easrec_jax.data.clock import items_of, replaced
from easrec_jax.data.split import Split
from easrec_jax.models.encoder import Encoder
from easrec_jax.models.network import item_table
from easrec_jax.nn.losses import sampled_cross_entropy
from easrec_jax.parallel.layout import Layout, map_tables
from easrec_jax.parallel.tables import put_rows, take_rows
from easrec_jax.train.featured import Known
from easrec_jax.train.step import TrainState


class Sampler(NamedTuple):
    """What negatives are drawn from: half of them by popularity in the training interactions, half uniformly."""

    pool: Array  # int32 [training interactions], inner ids
    counts: Array  # int32 [items + 1], how often each is in the pool
    known: Known | None = None  # where items have features: those with training events, of which uniform ones are


def make_sampler(split: Split, known: Known | None = None) -> Sampler:
    """The training interactions of a split; held-out items are not among them."""
    return Sampler(jnp.asarray(split.training_items()), jnp.asarray(split.popularity(), jnp.int32), known)


def draw_negatives(sampler: Sampler, key: Array, count: int) -> Array:
    """int32 [count] inner ids, with replacement; the key is consumed."""
    coin, by_popularity, uniform = jax.random.split(key, 3)
    popular = sampler.pool[jax.random.randint(by_popularity, (count,), 0, len(sampler.pool))]
    any_item = jax.random.randint(uniform, (count,), 1, _uniform_items(sampler) + 1)
    if sampler.known is not None:
        any_item = sampler.known.ids[any_item]
    return jnp.where(jax.random.bernoulli(coin, 0.5, (count,)), popular, any_item)


def log_expected(sampler: Sampler, items: Array, count: int) -> Array:
    """log of how often each item is expected among `count` negatives: the logQ correction."""
    popular = sampler.counts.at[items].get(mode="clip") / len(sampler.pool)
    return jnp.log(count * 0.5 * (popular + 1.0 / _uniform_items(sampler)))


def _uniform_items(sampler: Sampler) -> int:
    return len(sampler.counts) - 1 if sampler.known is None else sampler.known.num_items


@partial(jax.jit, static_argnames=("encoder", "tx", "negatives", "layout"), donate_argnames="state")
def sampled_step(
    state: TrainState,
    batch: Batch,
    key: Array,
    sampler: Sampler,
    *,
    encoder: Encoder,
    tx: optax.GradientTransformation,
    negatives: int,
    layout: Layout | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """`step.train_step` with a softmax over each target and `negatives` negatives that the whole batch shares.

    With features of the items, they are folded into a batch's rows as `featured.Known` folds them into all. With a layout each
    device reads and writes the rows of its own part of the table; what a step needs of all is summed up.
    """
    step_key, id_key, known = jax.random.fold_in(key, state.step), None, sampler.known
    if known is not None:
        step_key, id_key = jax.random.split(step_key)
    dropout_key, negatives_key = jax.random.split(step_key)
    drawn = draw_negatives(sampler, negatives_key, negatives)
    events = items_of(batch.items)
    parts = [jnp.zeros(1, jnp.int32), events.ravel(), batch.targets.ravel(), drawn]
    if layout is not None:  # ids are few bytes: sorted on each device
        parts = [layout.replicated(part) for part in parts]
    # sorted, so padding stays 0; what fills up is out of range, or a row of zeros that stays zero
    ids, local = jnp.unique(
        jnp.concatenate(parts), size=sum(p.size for p in parts), return_inverse=True, fill_value=encoder.num_items + 1
    )
    items, targets, drawn = jnp.split(local[1:], np.cumsum([p.size for p in parts[1:-1]]))
    items, targets = items.reshape(events.shape), targets.reshape(batch.targets.shape)
    if layout is not None:
        items, targets = layout.cut(items), layout.cut(targets)
    correction = log_expected(sampler, ids, negatives)
    small = encoder.clone(num_items=len(ids) - 1)
    weights, opt = _rows(state.weights, ids, layout), _rows(state.opt, ids, layout)

    def loss_of(weights: dict) -> Array:
        weights = weights if known is None else known.fold_rows(weights, ids, id_key)
        encode = small.encode_last if targets.ndim == 1 else small.encode
        hidden = encode(weights, replaced(batch.items, items), key=dropout_key)
        flat = hidden.reshape(-1, hidden.shape[-1])
        return sampled_cross_entropy(flat, item_table(weights), targets.ravel(), drawn, correction)

    loss, grads = jax.value_and_grad(loss_of)(weights)
    updates, opt = tx.update(grads, opt, weights)
    weights = optax.apply_updates(weights, updates)
    put = partial(_put_rows, ids=ids, layout=layout)
    state = TrainState(state.step + 1, put(state.weights, weights), put(state.opt, opt))
    return state if layout is None else layout.keep(state), {"loss": loss}


def _rows(tree: Any, ids: Array, layout: Layout | None) -> Any:
    def take(table: Array) -> Array:
        if layout is not None:
            return take_rows(table, ids, layout)
        return table.at[ids].get(mode="clip", indices_are_sorted=True)

    return map_tables(take, tree)


def _put_rows(tree: Any, small: Any, ids: Array, layout: Layout | None) -> Any:
    def put(table: Array, rows: Array) -> Array:
        if layout is not None:
            return put_rows(table, ids, rows, layout)
        return table.at[ids].set(rows, mode="drop", indices_are_sorted=True, unique_indices=False)

    return map_tables(put, tree, small)
