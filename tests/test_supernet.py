"""The supernet: parity with the networks cut out of it, and the mixture."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.architecture import Architecture, SearchSpace
from easrec_jax.network import Network
from easrec_jax.supernet import NEGLIGIBLE, Supernet, extract, init_supernet

ITEMS = 20


@pytest.fixture(scope="module")
def items() -> jax.Array:
    drawn = np.random.default_rng(5).integers(1, ITEMS + 1, (3, 6))
    return jnp.asarray(np.where(np.arange(6) < np.array([[6], [4], [1]]), drawn, 0), jnp.int32)


@partial(jax.jit, static_argnames=("module", "method"))
def apply(module, method, weights, *args):
    return module.apply({"params": weights}, *args, method=method)


@pytest.fixture(scope="module")
def supernet_of(draw_weights):
    @cache
    def build(largest: Architecture, sizes: tuple) -> tuple[Supernet, dict]:
        supernet = Supernet(SearchSpace(largest, sizes), ITEMS)
        return supernet, draw_weights(lambda key: init_supernet(supernet, key))

    return build


@pytest.fixture
def three_by_two(supernet_of) -> tuple[Supernet, dict]:
    """Three candidates, two depths."""
    return supernet_of(Architecture(8, 12, 2, 2, 6, "recent_linrec", 1, conv_width=2), ((8, 12), (6, 9), (4, 6)))


def assert_parity(supernet: Supernet, weights: dict, items: jax.Array, candidate: int, depth: int) -> None:
    space = supernet.space
    architecture = space.architecture(candidate, depth)
    network, compact = Network(architecture, ITEMS), extract(weights, space, architecture)
    p, q = jnp.eye(space.num_candidates)[candidate], jnp.eye(space.num_layers)[depth - 1]
    width = architecture.width
    mixture, hidden = (
        apply(supernet, Supernet.encode, weights, items, p, q),
        apply(network, Network.encode, compact, items),
    )
    np.testing.assert_allclose(mixture[..., :width], hidden, atol=2e-5)
    assert not np.asarray(mixture[..., width:]).any()
    assert jax.tree.map(jnp.shape, compact) == jax.tree.map(
        jnp.shape,
        jax.eval_shape(lambda key: network.init(key, items, method=Network.encode), jax.random.key(0))["params"],
    )


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("candidate", [0, 1, 2])
def test_one_hot_supernet_is_the_extracted_network(three_by_two, items, candidate, depth):
    assert_parity(*three_by_two, items, candidate, depth)


def test_one_hot_supernet_is_the_extracted_network_in_every_mode(variant, supernet_of, items):
    largest = Architecture(**variant)
    assert_parity(*supernet_of(largest, ((largest.width, largest.inner), (4, 6))), items, 1, 2)


def test_encode_last_is_encode_at_the_last_event(three_by_two, items):
    supernet, weights = three_by_two
    p, q = jnp.array([0.5, 0.2, 0.3]), jnp.array([0.4, 0.6])
    whole, last = (apply(supernet, method, weights, items, p, q) for method in (Supernet.encode, Supernet.encode_last))
    np.testing.assert_allclose(last, np.asarray(whole)[np.arange(3), [5, 3, 0]], atol=1e-5)


def test_a_layer_mixes_the_candidates_by_p(three_by_two, items):
    supernet, weights = three_by_two
    p, first = jnp.array([0.5, 0.2, 0.3]), jnp.eye(2)[0]
    mixture = apply(supernet, Supernet.encode, weights, items, p, first)
    alone = [apply(supernet, Supernet.encode, weights, items, row, first) for row in jnp.eye(3)]
    np.testing.assert_allclose(mixture, sum(share * x for share, x in zip(p, alone, strict=True)), atol=1e-5)


def test_the_output_mixes_the_depths_by_q_of_one_common_stack(three_by_two, items):
    supernet, weights = three_by_two
    p, q = jnp.array([0.5, 0.2, 0.3]), jnp.array([0.3, 0.7])
    mixture = apply(supernet, Supernet.encode, weights, items, p, q)
    exits = [apply(supernet, Supernet.encode, weights, items, p, row) for row in jnp.eye(2)]
    assert all(np.asarray(x).any() for x in exits)
    np.testing.assert_allclose(mixture, sum(share * x for share, x in zip(q, exits, strict=True)), atol=1e-5)


def test_every_weight_gets_a_gradient_and_the_padding_row_none(supernet_of, items):
    supernet, weights = supernet_of(Architecture(4, 6, 2, 1, 6, "causal_linrec", 1), ((4, 6), (3, 4)))
    shares = jnp.full(2, 1 / 2)

    def loss(weights, p, q):
        return jnp.sum(supernet.apply({"params": weights}, items, p, q, method=Supernet.encode) ** 3)

    grads, *mixed = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(weights, shares, shares)
    flat = jax.tree_util.tree_leaves_with_path(grads)
    assert [jax.tree_util.keystr(path) for path, x in flat if not np.asarray(x).any()] == []
    assert not np.asarray(grads["tables"]["items"][0]).any()
    assert all(np.asarray(x).all() for x in mixed)


def test_extract_refuses_an_architecture_of_another_space(three_by_two):
    supernet, weights = three_by_two
    for stranger in (
        Architecture(8, 12, 4, 2, 6, "recent_linrec", 2, 3),
        Architecture(8, 9, 2, 2, 6, "recent_linrec", 2, 3),
    ):
        with pytest.raises(ValueError, match="not in the search space"):
            extract(weights, supernet.space, stranger)


def test_a_negligible_share_is_skipped_and_changes_next_to_nothing(three_by_two, items):
    supernet, weights = three_by_two

    def loss(weights, p, q):
        hidden = supernet.apply({"params": weights}, items, p, q, method=Supernet.encode)
        return jnp.sum(hidden[..., :4] ** 2) + jnp.sum(hidden[..., 4:])

    step = jax.jit(jax.value_and_grad(loss))
    for p, q in (([0.9, 0.0005, 0.0995], [0.5, 0.5]), ([0.5, 0.3, 0.2], [0.9995, 0.0005])):
        above = [max(x, NEGLIGIBLE * 1.01) for x in (*p, *q)]
        value, grads = step(weights, jnp.array(p), jnp.array(q))
        near, _ = step(weights, jnp.array(above[:3]), jnp.array(above[3:]))
        np.testing.assert_allclose(value, near, rtol=0.02)
        skipped = grads["blocks_0_1"] if p[1] < NEGLIGIBLE else grads["blocks_1_0"]
        assert not any(np.asarray(x).any() for x in jax.tree.leaves(skipped))
        assert any(np.asarray(x).any() for x in jax.tree.leaves(grads["blocks_0_0"]))
