"""The supernet: parity with the networks cut out of it, and the mixture."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.models.network import Network
from easrec_jax.models.supernet import NEGLIGIBLE, Supernet, computed, extract, init_supernet
from easrec_jax.space import SearchSpace

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


def one_hot(size: tuple[int, int], candidate: int, depth: int) -> jax.Array:
    return jnp.zeros(size).at[candidate, depth - 1].set(1.0)


def assert_parity(supernet: Supernet, weights: dict, items: jax.Array, candidate: int, depth: int) -> None:
    space = supernet.space
    architecture = space.architecture(candidate, depth)
    network, compact = Network(architecture, ITEMS), extract(weights, space, architecture)
    shares = one_hot((space.num_candidates, space.num_layers), candidate, depth)
    width = architecture.width
    mixture, hidden = (
        apply(supernet, Supernet.encode, weights, items, shares),
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
    shares = jnp.outer(jnp.array([0.5, 0.2, 0.3]), jnp.array([0.4, 0.6]))
    whole, last = (
        apply(supernet, method, weights, items, shares) for method in (Supernet.encode, Supernet.encode_last)
    )
    np.testing.assert_allclose(last, np.asarray(whole)[np.arange(3), [5, 3, 0]], atol=1e-5)


def by_hand(supernet: Supernet, weights: dict, items: jax.Array, shares: np.ndarray) -> np.ndarray:
    """The mixture with every block computed, as `Supernet` writes it."""
    space, mask = supernet.space, items > 0
    pad = lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, space.largest.width - x.shape[-1])))  # noqa: E731

    def block(bound: Supernet):
        summed = bound.tables(items)
        embedded = [norm(summed[..., :w]) for norm, (w, _) in zip(bound.embedding_norms, space.sizes, strict=True)]
        stack, total = embedded, 0.0
        for layer, blocks in enumerate(bound.blocks):
            outputs = [pad(b(x, e, mask)) for b, x, e in zip(blocks, stack, embedded, strict=True)]
            total = total + sum(s * out for s, out in zip(shares[:, layer], outputs, strict=True))
            deeper = shares[:, layer + 1 :].sum(1)
            onward = sum(s * out for s, out in zip(deeper / (deeper.sum() or 1.0), outputs, strict=True))
            stack = [onward[..., :w] for w, _ in space.sizes]
        return total

    return np.asarray(jax.jit(lambda w: supernet.apply({"params": w}, method=block))(weights))


def test_the_mixture_is_the_published_one_where_shares_are_products(three_by_two, items):
    """T^(l) = sum_i p_i P_i(T^(l-1)), Y = sum_j q_j T^(j) (Eq. 10-12)."""
    supernet, weights = three_by_two
    p, q = np.array([0.5, 0.2, 0.3]), np.array([0.3, 0.7])
    mixture = apply(supernet, Supernet.encode, weights, items, jnp.asarray(np.outer(p, q)))
    np.testing.assert_allclose(mixture, by_hand(supernet, weights, items, np.outer(p, q)), atol=1e-5)
    exits = [apply(supernet, Supernet.encode, weights, items, jnp.asarray(np.outer(p, row))) for row in np.eye(2)]
    np.testing.assert_allclose(mixture, q[0] * exits[0] + q[1] * exits[1], atol=1e-5)
    first = [apply(supernet, Supernet.encode, weights, items, one_hot((3, 2), i, 1)) for i in range(3)]
    np.testing.assert_allclose(exits[0], sum(share * x for share, x in zip(p, first, strict=True)), atol=1e-5)


def test_a_network_without_a_share_has_no_part_in_the_mixture(three_by_two, items):
    """Candidate 0 is drawn with one layer, candidates 1 and 2 with two: 0 sends nothing to the second layer, nor computes it."""
    supernet, weights = three_by_two
    shares = np.array([[0.5, 0.0], [0.2, 0.1], [0.0, 0.2]])
    mixture = apply(supernet, Supernet.encode, weights, items, jnp.asarray(shares))
    np.testing.assert_allclose(mixture, by_hand(supernet, weights, items, shares), atol=1e-5)
    assert computed(jnp.asarray(shares)).tolist() == [[True, False], [True, True], [True, True]]

    deep = np.where(np.arange(2) == 1, shares, 0.0)
    alone = apply(supernet, Supernet.encode, weights, items, jnp.asarray(deep / deep.sum()))
    shallow = apply(supernet, Supernet.encode, weights, items, jnp.asarray((shares - deep) / (shares - deep).sum()))
    np.testing.assert_allclose(mixture, deep.sum() * alone + (1 - deep.sum()) * shallow, atol=1e-5)


def test_every_weight_gets_a_gradient_and_the_padding_row_none(supernet_of, items):
    supernet, weights = supernet_of(Architecture(4, 6, 2, 1, 6, "causal_linrec", 1), ((4, 6), (3, 4)))

    def loss(weights, shares):
        return jnp.sum(supernet.apply({"params": weights}, items, shares, method=Supernet.encode) ** 3)

    grads, mixed = jax.jit(jax.grad(loss, argnums=(0, 1)))(weights, jnp.full((2, 2), 1 / 4))
    flat = jax.tree_util.tree_leaves_with_path(grads)
    assert [jax.tree_util.keystr(path) for path, x in flat if not np.asarray(x).any()] == []
    assert not np.asarray(grads["tables"]["items"][0]).any()
    assert np.asarray(mixed).all()


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

    def loss(weights, shares):
        hidden = supernet.apply({"params": weights}, items, shares, method=Supernet.encode)
        return jnp.sum(hidden[..., :4] ** 2) + jnp.sum(hidden[..., 4:])

    step = jax.jit(jax.value_and_grad(loss))
    for p, q in (([0.9, 0.0005, 0.0995], [0.5, 0.5]), ([0.5, 0.3, 0.2], [0.9995, 0.0005])):
        shares = np.outer(p, q)
        above = np.maximum(shares, NEGLIGIBLE * 1.01)
        value, grads = step(weights, jnp.asarray(shares))
        near, _ = step(weights, jnp.asarray(above))
        np.testing.assert_allclose(value, near, rtol=0.02)
        skipped = grads["blocks_0_1"] if p[1] < NEGLIGIBLE else grads["blocks_1_0"]
        assert not any(np.asarray(x).any() for x in jax.tree.leaves(skipped))
        assert any(np.asarray(x).any() for x in jax.tree.leaves(grads["blocks_0_0"]))
