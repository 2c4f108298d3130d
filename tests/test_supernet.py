"""The supernets: parity with the networks cut out of them, of own weights, corners and masks; and the mixture."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, ModelConfig
from easrec_jax.models.corner import corner
from easrec_jax.models.encoder import Supernet
from easrec_jax.models.masked import Masked
from easrec_jax.models.network import Network
from easrec_jax.models.supernet import NEGLIGIBLE, Candidates, OwnWeights, computed
from easrec_jax.nas.search import supernet_of
from easrec_jax.space import Space, space_of

ITEMS = 20


@pytest.fixture(scope="module")
def items() -> jax.Array:
    drawn = np.random.default_rng(5).integers(1, ITEMS + 1, (3, 6))
    return jnp.asarray(np.where(np.arange(6) < np.array([[6], [4], [1]]), drawn, 0), jnp.int32)


@partial(jax.jit, static_argnames=("encoder", "method"))
def apply(encoder, method, weights, *args):
    return method(encoder, weights, *args)


def paired(largest: Architecture, widths: tuple, inners: tuple) -> Space:
    """The paper's space of these candidates."""
    return Space(
        largest, widths, inners, (largest.heads,), (largest.gate_layers,), (largest.attention,), largest.conv_width
    )


@pytest.fixture(scope="module")
def build(draw_weights):
    @cache
    def build(space: Space, kind: Callable[..., Supernet] = Candidates) -> tuple[Any, dict]:
        supernet = kind(space, ITEMS)
        return supernet, draw_weights(supernet.init)

    return build


THREE_BY_TWO = paired(Architecture(8, 12, 2, 2, 6, "recent_linrec", 1, conv_width=2), (8, 6, 4), (12, 9, 6))


@pytest.fixture
def three_by_two(build) -> tuple[Candidates, dict]:
    """Three candidates, two depths."""
    return build(THREE_BY_TWO)


def one_hot(shape: tuple[int, int], network: int) -> jax.Array:
    return jnp.zeros(shape).ravel().at[network].set(1.0).reshape(shape)


def assert_parity(supernet: Supernet, weights: dict, items: jax.Array, number: int) -> None:
    """Network `number` of the space, computed in the supernet and alone."""
    space = supernet.space
    network, compact = Network(space.architecture(number), ITEMS), supernet.cut(weights, space.architecture(number))
    drawn = one_hot(space.shape, number) if supernet.mixes else jnp.asarray(space.networks[number])
    width, real = network.architecture.width, (np.asarray(items) > 0)[..., None]
    mixture, hidden = (
        np.asarray(apply(supernet, type(supernet).encode, weights, items, drawn)),
        np.asarray(apply(network, Network.encode, compact, items)),
    )
    np.testing.assert_allclose(mixture[..., :width] * real, hidden * real, atol=2e-5)
    assert not mixture[..., width:].any()
    assert jax.tree.map(jnp.shape, compact) == jax.tree.map(jnp.shape, jax.eval_shape(network.init, jax.random.key(0)))


CornersOfWidest = partial(Candidates, sharing="corners")
KINDS = {"own": Candidates, "corners": CornersOfWidest, "masked": Masked}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("number", range(6))
def test_one_network_of_the_supernet_is_the_network_cut_out(build, items, number, kind):
    """Own weights and corners under a one-hot share, and corners told apart by masks, over the paper's own space."""
    assert_parity(*build(THREE_BY_TWO, kind), items, number)


@pytest.mark.parametrize("kind", [Candidates, CornersOfWidest], ids=["own", "corners"])
def test_a_candidate_is_the_network_cut_out_in_every_mode(variant, build, items, kind):
    largest = Architecture(**variant)
    assert_parity(*build(paired(largest, (largest.width, 4), (largest.inner, 6)), kind), items, 3)


def test_the_largest_corner_is_the_whole_and_corners_of_corners_are_corners(build):
    supernet, weights = build(THREE_BY_TWO, CornersOfWidest)
    sizes = [THREE_BY_TWO.architecture(number) for number in (1, 3, 5)]
    whole, middle, small = (supernet.cut(weights, architecture) for architecture in sizes)
    assert jax.tree.all(jax.tree.map(np.array_equal, whole, weights))
    assert jax.tree.all(jax.tree.map(np.array_equal, corner(middle, sizes[2]), small))


def test_masks_know_no_learned_decays_and_candidates_no_free_choices():
    learned = paired(Architecture(8, 12, 2, 2, 6, "recent_linrec", 1, learn_decay=True), (8, 4), (12, 6))
    with pytest.raises(ValueError, match=r"model\.learn_decay: expected False"):
        Masked(learned, ITEMS)
    free = Space(THREE_BY_TWO.largest, (8, 4), (12, 6), (1, 2), (1,), ("recent_linrec",), 2, "layer")
    with pytest.raises(ValueError, match="expected a space of paired sizes and depths"):
        Candidates(free, ITEMS)
    kinds = [type(supernet_of(space, ITEMS, 0.0)) for space in (learned, free, space_of(Config(model=ModelConfig())))]
    assert kinds == [Candidates, Masked, Candidates]


def test_encode_last_is_encode_at_the_last_event(three_by_two, items):
    supernet, weights = three_by_two
    shares = jnp.outer(jnp.array([0.5, 0.2, 0.3]), jnp.array([0.4, 0.6]))
    whole, last = (
        apply(supernet, method, weights, items, shares) for method in (Candidates.encode, Candidates.encode_last)
    )
    np.testing.assert_allclose(last, np.asarray(whole)[np.arange(3), [5, 3, 0]], atol=1e-5)


def by_hand(supernet: Candidates, weights: dict, items: jax.Array, shares: np.ndarray) -> np.ndarray:
    """The mixture with every block computed, as `Candidates` writes it."""
    space, mask = supernet.space, items > 0
    pad = lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, space.largest.width - x.shape[-1])))  # noqa: E731

    def block(module: OwnWeights):
        summed = module.tables(items)
        embedded = [norm(summed[..., :w]) for norm, w in zip(module.embedding_norms, space.widths, strict=True)]
        stack, total = embedded, 0.0
        for layer, blocks in enumerate(module.blocks):
            outputs = [pad(b(x, e, mask)) for b, x, e in zip(blocks, stack, embedded, strict=True)]
            total = total + sum(s * out for s, out in zip(shares[:, layer], outputs, strict=True))
            deeper = shares[:, layer + 1 :].sum(1)
            onward = sum(s * out for s, out in zip(deeper / (deeper.sum() or 1.0), outputs, strict=True))
            stack = [onward[..., :w] for w in space.widths]
        return total

    module = OwnWeights(space, ITEMS)
    return np.asarray(jax.jit(lambda w: module.apply({"params": w}, method=block))(weights))


def test_the_mixture_is_the_published_one_where_shares_are_products(three_by_two, items):
    """T^(l) = sum_i p_i P_i(T^(l-1)), Y = sum_j q_j T^(j) (Eq. 10-12)."""
    supernet, weights = three_by_two
    p, q = np.array([0.5, 0.2, 0.3]), np.array([0.3, 0.7])
    mixture = apply(supernet, Candidates.encode, weights, items, jnp.asarray(np.outer(p, q)))
    np.testing.assert_allclose(mixture, by_hand(supernet, weights, items, np.outer(p, q)), atol=1e-5)
    exits = [apply(supernet, Candidates.encode, weights, items, jnp.asarray(np.outer(p, row))) for row in np.eye(2)]
    np.testing.assert_allclose(mixture, q[0] * exits[0] + q[1] * exits[1], atol=1e-5)
    first = [apply(supernet, Candidates.encode, weights, items, one_hot((3, 2), 2 * i)) for i in range(3)]
    np.testing.assert_allclose(exits[0], sum(share * x for share, x in zip(p, first, strict=True)), atol=1e-5)


def test_a_network_without_a_share_has_no_part_in_the_mixture(three_by_two, items):
    """Candidate 0 is drawn with one layer, candidates 1 and 2 with two: 0 sends nothing to the second layer, nor computes it."""
    supernet, weights = three_by_two
    shares = np.array([[0.5, 0.0], [0.2, 0.1], [0.0, 0.2]])
    mixture = apply(supernet, Candidates.encode, weights, items, jnp.asarray(shares))
    np.testing.assert_allclose(mixture, by_hand(supernet, weights, items, shares), atol=1e-5)
    assert computed(jnp.asarray(shares)).tolist() == [[True, False], [True, True], [True, True]]

    deep = np.where(np.arange(2) == 1, shares, 0.0)
    alone = apply(supernet, Candidates.encode, weights, items, jnp.asarray(deep / deep.sum()))
    shallow = apply(supernet, Candidates.encode, weights, items, jnp.asarray((shares - deep) / (shares - deep).sum()))
    np.testing.assert_allclose(mixture, deep.sum() * alone + (1 - deep.sum()) * shallow, atol=1e-5)


@pytest.mark.parametrize("kind", [Candidates, CornersOfWidest], ids=["own", "corners"])
def test_every_weight_gets_a_gradient_and_the_padding_row_none(build, items, kind):
    space = paired(Architecture(4, 6, 2, 1, 6, "causal_linrec", 1), (4, 3), (6, 4))
    supernet, weights = build(space, kind)

    def loss(weights, shares):
        return jnp.sum(supernet.encode(weights, items, shares) ** 3)

    grads, mixed = jax.jit(jax.grad(loss, argnums=(0, 1)))(weights, jnp.full((2, 2), 1 / 4))
    flat = jax.tree_util.tree_leaves_with_path(grads)
    assert [jax.tree_util.keystr(path) for path, x in flat if not np.asarray(x).any()] == []
    assert not np.asarray(grads["tables"]["items"][0]).any()
    assert np.asarray(mixed).all()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_architecture_of_another_space_is_not_cut_out(build, kind):
    supernet, weights = build(THREE_BY_TWO, kind)
    for stranger in (
        Architecture(8, 12, 4, 2, 6, "recent_linrec", 2, 3),
        Architecture(8, 9, 2, 2, 6, "recent_linrec", 2, 3),
    ):
        with pytest.raises(ValueError, match="not in the search space"):
            supernet.cut(weights, stranger)


def test_a_negligible_share_is_skipped_and_changes_next_to_nothing(three_by_two, items):
    supernet, weights = three_by_two

    def loss(weights, shares):
        hidden = supernet.encode(weights, items, shares)
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
