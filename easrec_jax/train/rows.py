"""Training where the catalogue is too large for a softmax over all items: sampled negatives, and only a batch's rows change.

A step first takes the rows of the item table that its batch and its negatives need, and the same rows of the optimiser's
moments, into small local ones, with ids to match. Network, loss, gradient and optimiser see these alone; then the rows go
back. So a step costs the same for 10^4 items and for 10^7, and needs no memory beside the tables. Rows that a step does
not touch keep their moments as they are ("lazy" Adam, as TensorFlow calls it).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from easrec_jax.data.batches import Batch
from easrec_jax.data.split import Split
from easrec_jax.models.encoder import Encoder
from easrec_jax.models.network import item_table
from easrec_jax.nn.losses import sampled_cross_entropy
from easrec_jax.train.featured import Known
from easrec_jax.train.step import TrainState

TABLE = ("tables", "items")  # where the item table is in the weights, and its moments in the optimiser's state


class Sampler(NamedTuple):
    """What negatives are drawn from: half of them by popularity in the training interactions, half uniformly."""

    pool: Array  # int32 [training interactions], inner ids
    counts: Array  # int32 [items + 1], how often each is in the pool
    known: Known | None = None  # where items have features: those with training events, of which uniform ones are


def make_sampler(split: Split, known: Known | None = None) -> Sampler:
    """The training interactions of a split; held-out items are not among them."""
    position = np.arange(len(split.data.items))
    training = position < np.repeat(split.train_end, split.data.lengths)
    return Sampler(jnp.asarray(split.data.items[training]), jnp.asarray(split.popularity(), jnp.int32), known)


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


@partial(jax.jit, static_argnames=("encoder", "tx", "negatives"), donate_argnames="state")
def sampled_step(
    state: TrainState,
    batch: Batch,
    key: Array,
    sampler: Sampler,
    *,
    encoder: Encoder,
    tx: optax.GradientTransformation,
    negatives: int,
) -> tuple[TrainState, dict[str, Array]]:
    """`step.train_step` with a softmax over each target and `negatives` negatives that the whole batch shares.

    With features of the items, they are folded into a batch's rows as `featured.Known` folds them into all.
    """
    step_key, id_key, known = jax.random.fold_in(key, state.step), None, sampler.known
    if known is not None:
        step_key, id_key = jax.random.split(step_key)
    dropout_key, negatives_key = jax.random.split(step_key)
    drawn = draw_negatives(sampler, negatives_key, negatives)
    parts = [jnp.zeros(1, jnp.int32), batch.items.ravel(), batch.targets.ravel(), drawn]
    ids, local = jnp.unique(  # sorted, so padding stays 0; what fills up is out of range
        jnp.concatenate(parts), size=sum(p.size for p in parts), return_inverse=True, fill_value=encoder.num_items + 1
    )
    items, targets, drawn = jnp.split(local[1:], np.cumsum([p.size for p in parts[1:-1]]))
    items, targets = items.reshape(batch.items.shape), targets.reshape(batch.targets.shape)
    correction = log_expected(sampler, ids, negatives)
    small = encoder.clone(num_items=len(ids) - 1)
    weights, opt = _rows(state.weights, ids), _rows(state.opt, ids)

    def loss_of(weights: dict) -> Array:
        weights = weights if known is None else known.fold_rows(weights, ids, id_key)
        encode = small.encode_last if targets.ndim == 1 else small.encode
        hidden = encode(weights, items, key=dropout_key)
        flat = hidden.reshape(-1, hidden.shape[-1])
        return sampled_cross_entropy(flat, item_table(weights), targets.ravel(), drawn, correction)

    loss, grads = jax.value_and_grad(loss_of)(weights)
    updates, opt = tx.update(grads, opt, weights)
    weights = optax.apply_updates(weights, updates)
    put = partial(_put_rows, ids=ids)
    return TrainState(state.step + 1, put(state.weights, weights), put(state.opt, opt)), {"loss": loss}


def _of_items(path: tuple) -> bool:
    return tuple(getattr(entry, "key", None) for entry in path[-2:]) == TABLE


def _map_tables(function: Callable, *trees: Any) -> Any:
    """`function` on the item tables of the first tree (and what stands there in the others), the last tree's leaves elsewhere."""
    return jax.tree_util.tree_map_with_path(lambda path, *x: function(*x) if _of_items(path) else x[-1], *trees)


def _rows(tree: Any, ids: Array) -> Any:
    return _map_tables(lambda table: table.at[ids].get(mode="clip", indices_are_sorted=True), tree)


def _put_rows(tree: Any, small: Any, ids: Array) -> Any:
    def put(table: Array, rows: Array) -> Array:
        return table.at[ids].set(rows, mode="drop", indices_are_sorted=True, unique_indices=False)

    return _map_tables(put, tree, small)
