"""The chunked cross entropy is the plain one, in value and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.nn.losses import cross_entropy

TARGETS, ITEMS, WIDTH = 11, 9, 5


@pytest.fixture(scope="module")
def arrays() -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    targets = rng.integers(1, ITEMS + 1, TARGETS)
    targets[[0, 4, 5, 10]] = 0
    hidden, table = (jnp.asarray(rng.normal(size=(n, WIDTH)), jnp.float32) for n in (TARGETS, ITEMS + 1))
    return hidden, table, jnp.asarray(targets, jnp.int32)


def plain(hidden: jax.Array, table: jax.Array, targets: jax.Array) -> jax.Array:
    """Log softmax over items 1..V of the targets that are real, one by one."""
    losses = [-jax.nn.log_softmax(table[1:] @ hidden[i])[t - 1] for i, t in enumerate(np.asarray(targets)) if t > 0]
    return sum(losses) / len(losses)


@pytest.fixture(scope="module")
def expected(arrays) -> tuple:
    return jax.jit(jax.value_and_grad(lambda h, t: plain(h, t, arrays[2]), argnums=(0, 1)))(*arrays[:2])


@pytest.mark.parametrize("chunk", [1, 3, 4, 7, 1024])
def test_every_chunk_size_gives_the_plain_loss_and_gradients(arrays, expected, chunk):
    value, grads = expected
    run = jax.jit(jax.value_and_grad(lambda *a: 3.0 * cross_entropy(*a, chunk), argnums=(0, 1)))
    loss, ours = run(*arrays)
    np.testing.assert_allclose(loss, 3 * value, rtol=1e-5)
    np.testing.assert_allclose(cross_entropy(*arrays, chunk), value, rtol=1e-5)
    for a, b in zip(ours, grads, strict=True):
        np.testing.assert_allclose(a, 3 * b, atol=2e-6)
    assert not np.asarray(ours[1][0]).any()
    assert not np.asarray(ours[0])[np.asarray(arrays[2]) == 0].any()


def test_no_targets_give_no_loss_and_no_gradients(arrays):
    hidden, table, targets = arrays
    run = jax.jit(jax.value_and_grad(cross_entropy, argnums=(0, 1)))
    loss, grads = run(hidden, table, jnp.zeros_like(targets))
    assert loss == 0
    assert not any(np.asarray(g).any() for g in grads)


def test_the_padding_row_is_no_class_and_its_hidden_states_do_not_matter(arrays):
    hidden, table, targets = arrays
    expected = cross_entropy(hidden, table, targets)
    other = jnp.where((targets == 0)[:, None], 50.0, hidden)
    np.testing.assert_allclose(cross_entropy(other, table.at[0].set(50.0), targets), expected, rtol=1e-6)


def test_large_scores_stay_finite(arrays):
    hidden, table, targets = arrays
    loss, grads = jax.value_and_grad(cross_entropy, argnums=(0, 1))(300.0 * hidden, 300.0 * table, targets)
    np.testing.assert_allclose(loss, plain(300.0 * hidden, 300.0 * table, targets), rtol=1e-5)
    assert all(np.isfinite(g).all() for g in grads)
