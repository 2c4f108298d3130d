"""The average of the weights, and smoothed labels: settings that are off change nothing, on they are what they say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from easrec_jax.config import RetrainConfig
from easrec_jax.nn.losses import cross_entropy, smoothing
from easrec_jax.train.average import averaged, trained

DECAY = 0.6


def test_the_average_forgets_by_its_decay_and_faster_while_it_is_young():
    tx, weights = averaged(optax.sgd(1.0), DECAY), {"a": jnp.array([1.0, 2.0])}
    state, expected = tx.init(weights), np.array([1.0, 2.0])
    for step in range(12):
        updates, state = tx.update({"a": jnp.array([0.5, -0.25])}, state, weights)
        weights = optax.apply_updates(weights, updates)
        decay = min(DECAY, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * np.asarray(weights["a"])
        np.testing.assert_allclose(trained(weights, state)["a"], expected, rtol=1e-6)
    np.testing.assert_allclose(weights["a"], [1.0 - 12 * 0.5, 2.0 + 12 * 0.25])  # the optimiser's own way
    assert trained(weights, optax.sgd(1.0).init(weights)) is weights


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_smoothed_labels_are_spread_over_all_items_but_the_padding(share):
    rng = np.random.default_rng(0)
    hidden, table = (jnp.asarray(rng.normal(size=(n, 5)), jnp.float32) for n in (7, 10))
    targets = jnp.asarray([0, 1, 9, 4, 0, 4, 2], jnp.int32)

    def by_hand(hidden, table):
        wanted = (1 - share) * jax.nn.one_hot(targets - 1, 9) + share / 9
        losses = -jnp.sum(wanted * jax.nn.log_softmax(hidden @ table[1:].T, -1), -1)
        return jnp.sum(jnp.where(targets > 0, losses, 0.0)) / jnp.sum(targets > 0)

    def ours(hidden, table):
        return cross_entropy(hidden, table, targets) + share * smoothing(hidden, table, targets)

    value, expected = jax.value_and_grad(by_hand, argnums=(0, 1))(hidden, table)
    loss, grads = jax.value_and_grad(ours, argnums=(0, 1))(hidden, table)
    np.testing.assert_allclose(loss, value, rtol=1e-5)
    for mine, other in zip(grads, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-6)


@pytest.mark.parametrize("name", ["average", "label_smoothing"])
def test_shares_are_shares_and_need_the_loss_over_all_items(name):
    for wrong in ({name: 1.0}, {name: -0.1}, {name: 0.1, "loss": "sampled"}):
        with pytest.raises(ValueError, match=f"retrain.{name}"):
            RetrainConfig(**wrong)
