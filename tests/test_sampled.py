"""Training with sampled negatives: the step is the dense one restricted to a batch's rows, and it learns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from easrec_jax.config import RetrainConfig
from easrec_jax.data.batches import epoch_batches, training_samples
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.network import Network
from easrec_jax.models.rivals.popularity import popularity_scores
from easrec_jax.nn.losses import cross_entropy, sampled_cross_entropy
from easrec_jax.train.fit import fit
from easrec_jax.train.rows import Sampler, draw_negatives, log_expected, make_sampler, sampled_step
from easrec_jax.train.step import TrainState
from easrec_jax.train.task import Task

NEGATIVES = 6


def test_with_every_item_drawn_once_the_sampled_loss_is_the_full_one():
    rng = np.random.default_rng(0)
    hidden, table = (jnp.asarray(rng.normal(size=(n, 5)), jnp.float32) for n in (8, 12))
    targets = jnp.asarray([0, *rng.integers(1, 12, 7)], jnp.int32)
    sampled = sampled_cross_entropy(hidden, table, targets, jnp.arange(1, 12), jnp.zeros(12))
    np.testing.assert_allclose(sampled, cross_entropy(hidden, table, targets), rtol=1e-6)


def test_the_correction_makes_the_normaliser_unbiased():
    """The mean over draws of sum exp(score - log expected) is the sum over all items of exp(score)."""
    rng = np.random.default_rng(0)
    counts = np.array([0, 50, 20, 5, 1, 0, 0, 0], np.int32)
    sampler = Sampler(jnp.asarray(np.repeat(np.arange(8), counts).astype(np.int32)), jnp.asarray(counts))
    scores = jnp.asarray(rng.normal(size=8), jnp.float32)

    def total(key: jax.Array) -> jax.Array:
        drawn = draw_negatives(sampler, key, 32)
        return jnp.sum(jnp.exp(scores[drawn] - log_expected(sampler, drawn, 32)))

    totals = jax.vmap(total)(jax.random.split(jax.random.key(0), 4000))
    error = float(jnp.std(totals)) / 4000**0.5
    assert abs(float(jnp.mean(totals)) - float(jnp.sum(jnp.exp(scores[1:])))) < 4 * error
    assert error < 0.05


@pytest.fixture(scope="module")
def split() -> Split:
    return Split(planted(users=150, items=100, seed=0).data)


@pytest.fixture(scope="module")
def setting(split, variant_arguments) -> tuple:
    network = Network(variant_arguments, split.data.num_items)
    weights = network.init(jax.random.key(0))
    samples = training_samples(split, max_length=9, targets="all", windows="all")
    batches = list(epoch_batches(samples, max_length=9, batch_size=2, buckets=1, seed=0, epoch=0))
    return network, weights, batches


@pytest.fixture(scope="module")
def variant_arguments():
    from easrec_jax.architecture import Architecture

    return Architecture(
        width=8, inner=12, depth=1, heads=2, max_length=9, attention="recent_linrec", gate_layers=1, conv_width=3
    )


def test_the_step_is_the_dense_one_and_touches_only_the_rows_of_the_batch(split, setting):
    network, weights, batches = setting
    tx = optax.sgd(0.1, momentum=0.9)  # Adam's first step would be the sign of gradients that are zero but for rounding
    sampler, batch, key = make_sampler(split), batches[0], jax.random.key(3)
    state = TrainState(jnp.int32(0), weights, tx.init(weights))
    before = jax.tree.map(np.array, state)
    after, figures = sampled_step(
        jax.tree.map(jnp.array, state), batch, key, sampler, encoder=network, tx=tx, negatives=NEGATIVES
    )
    drawn = draw_negatives(sampler, jax.random.split(jax.random.fold_in(key, 0))[1], NEGATIVES)
    correction = log_expected(sampler, jnp.arange(split.data.num_items + 1), NEGATIVES)

    @jax.jit
    def dense(weights: dict) -> jax.Array:
        hidden = network.encode(weights, jnp.asarray(batch.items))
        table = weights["tables"]["items"]
        return sampled_cross_entropy(
            hidden.reshape(-1, 8), table, jnp.asarray(batch.targets).ravel(), drawn, correction
        )

    loss, grads = jax.value_and_grad(dense)(weights)
    updates, _ = tx.update(grads, state.opt, weights)
    expected = optax.apply_updates(weights, updates)
    np.testing.assert_allclose(figures["loss"], loss, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), after.weights, expected)
    touched = np.unique([*batch.items.ravel(), *batch.targets.ravel(), *np.asarray(drawn)])
    untouched = np.setdiff1d(np.arange(split.data.num_items + 1), touched)
    table, old = np.asarray(after.weights["tables"]["items"]), before.weights["tables"]["items"]
    assert len(untouched) and np.array_equal(table[untouched], old[untouched])
    assert (table[touched[1:]] != old[touched[1:]]).any(1).all()
    assert not table[0].any()


def test_untouched_rows_keep_their_moments(split, setting):
    network, weights, batches = setting
    tx = optax.adam(0.01)
    sampler, key = make_sampler(split), jax.random.key(3)
    state = TrainState(jnp.int32(0), jax.tree.map(jnp.array, weights), tx.init(weights))
    step = {"encoder": network, "tx": tx, "negatives": NEGATIVES}
    state, _ = sampled_step(state, batches[0], key, sampler, **step)
    first = np.array(state.opt[0].mu["tables"]["items"])
    state, _ = sampled_step(state, batches[1], key, sampler, **step)
    second = np.array(state.opt[0].mu["tables"]["items"])
    drawn = draw_negatives(sampler, jax.random.split(jax.random.fold_in(key, 1))[1], NEGATIVES)
    touched = np.unique([*batches[1].items.ravel(), *batches[1].targets.ravel(), *np.asarray(drawn)])
    kept = np.setdiff1d(np.flatnonzero(first.any(1)), touched)
    assert len(kept) and np.array_equal(first[kept], second[kept])
    assert not np.array_equal(first, second)


def test_held_out_items_are_not_drawn(split):
    sampler = make_sampler(split)
    assert len(sampler.pool) == split.data.num_interactions - 2 * split.data.num_users
    np.testing.assert_array_equal(
        np.bincount(sampler.pool, minlength=split.data.num_items + 1), np.asarray(sampler.counts)
    )


@pytest.mark.parametrize("targets", ["all", "last"])
def test_it_learns_more_than_popularity(split, targets, variant_arguments):
    network = Network(variant_arguments, split.data.num_items, 0.0)
    samples = training_samples(split, max_length=9, targets=targets, windows="all")
    evaluator = Evaluator(split, "validation", 9)
    settings = RetrainConfig(
        epochs=12 if targets == "all" else 2, batch_size=8, buckets=1, learning_rate=0.02, loss="sampled", negatives=32
    )
    task = Task(samples, evaluator, dropout=0.0, seed=0)
    fitted = fit(network, network.init(jax.random.key(0)), task, settings=settings)
    floor = evaluator(popularity_scores, jnp.asarray(split.popularity(), jnp.float32))["full"]["ndcg@10"]
    assert fitted.ndcg > 1.3 * floor
