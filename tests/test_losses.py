"""The chunked cross entropy is the plain one, in value and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.nn.losses import Teacher, cross_entropy

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


@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_teacher_has_his_share_of_what_is_learned_and_learns_nothing(arrays, chunk, share):
    hidden, table, targets = arrays
    rng = np.random.default_rng(1)
    taught, rows = (jnp.asarray(rng.normal(size=(n, WIDTH + 2)), jnp.float32) for n in (TARGETS, ITEMS + 1))

    def by_hand(hidden: jax.Array, table: jax.Array) -> jax.Array:
        wanted = share * jax.nn.softmax(taught @ rows[1:].T, -1) + (1 - share) * jax.nn.one_hot(targets - 1, ITEMS)
        losses = -jnp.sum(wanted * jax.nn.log_softmax(hidden @ table[1:].T, -1), -1)
        return jnp.sum(jnp.where(targets > 0, losses, 0.0)) / jnp.sum(targets > 0)

    def ours(hidden: jax.Array, table: jax.Array, teacher: Teacher) -> jax.Array:
        return cross_entropy(hidden, table, targets, chunk, teacher)

    value, expected = jax.value_and_grad(by_hand, argnums=(0, 1))(hidden, table)
    loss, (by_hidden, by_table, by_teacher) = jax.jit(jax.value_and_grad(ours, argnums=(0, 1, 2)))(
        hidden, table, Teacher(taught, rows, share)
    )
    np.testing.assert_allclose(loss, value, rtol=1e-5)
    np.testing.assert_allclose(by_hidden, expected[0], atol=2e-6)
    np.testing.assert_allclose(by_table, expected[1], atol=2e-6)
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(by_teacher))
    np.testing.assert_allclose(ours(hidden, table, Teacher(taught, rows, 0.0)), cross_entropy(*arrays), rtol=1e-6)


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
