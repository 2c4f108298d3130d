"""The router and its training: what it costs, what its losses ask for, that the budget is kept, that test items change nothing."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from chain import LENGTH, chain, setting
from products import product_flops
from tiny import SPLIT, poisoned

from easrec_jax.architecture import Architecture
from easrec_jax.config import RouteConfig
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.evaluate.likelihood import likelihood
from easrec_jax.models.corner import corner
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.router import Router
from easrec_jax.nas.route_step import (
    Labelled,
    RouterState,
    guide_loss,
    menu_of,
    route_loss,
    route_step,
    straight_through,
)
from easrec_jax.nas.routing import Elastic, Outcomes, choose, outcomes, price_at, settle, spending, train_router
from easrec_jax.space import space_of
from easrec_jax.train.fit import held_out_cross_entropy

ITEMS = 60
SPACE = space_of(setting(model={"layers": 3}))
NETWORKS = tuple(SPACE.architecture(n) for n in range(len(SPACE.networks)))[:2] + (SPACE.largest,)


@pytest.mark.parametrize("kind", ["softmax", "recent_linrec"])
def test_the_routers_flops_and_parameters_are_those_of_its_program(kind):
    largest = Architecture(64, 128, 3, 4, 64, kind, 0 if kind == "softmax" else 2, 0 if kind == "softmax" else 4)
    router = Router.beside(largest, 500, 9, width=32)
    weights, items = jax.eval_shape(router.init, jax.random.key(0)), jax.ShapeDtypeStruct((1, 64), jnp.int32)
    assert router.parameters == sum(x.size for x in jax.tree.leaves(weights))
    network = router.network.architecture
    assert (network.width, network.inner, network.depth) == (32, 64, 1)
    # a convolution is no dot product, and one decayed sum over events is none either
    products = product_flops(jax.make_jaxpr(router.logits)(weights, items).jaxpr)
    assert 0.9 <= products / (router.flops - 64 * 2 * network.conv_width * 32) <= 1.1
    xla = jax.jit(router.logits).lower(weights, items).compile().cost_analysis()["flops"]
    assert (
        1.0 <= xla / router.flops <= 1.75
    )  # elu, squares and norms of all keys weigh more than at width 128 (test_cost.py)


def test_logits_know_the_length_and_padding_changes_none(draw_weights):
    router = Router.beside(SPACE.largest, ITEMS, 3, width=8)
    weights = draw_weights(router.init)
    items = jnp.asarray([[3, 4, 5]])
    np.testing.assert_allclose(
        router.logits(weights, items), router.logits(weights, jnp.pad(items, ((0, 0), (0, 4)))), rtol=1e-5, atol=1e-5
    )
    blind = jax.tree.map(jnp.zeros_like, weights["head"])
    blind["kernel"] = blind["kernel"].at[-1].set(jnp.arange(3.0))
    of = [router.logits(weights | {"head": blind}, jnp.ones((1, n), jnp.int32))[0, 2] for n in (1, 5, LENGTH)]
    assert of[0] < of[1] < of[2] and of[2] == pytest.approx(2.0)


def test_keeping_some_networks_keeps_their_scores(draw_weights):
    router = Router.beside(SPACE.largest, ITEMS, 3, width=8)
    weights, items = draw_weights(router.init), jnp.asarray([[3, 4, 5]])
    small, kept = router.keep(weights, [0, 2], jnp.asarray([1.0, 5.0, -1.0]))
    wanted = router.logits(weights, items)[:, jnp.asarray([0, 2])] + jnp.asarray([[1.0, -1.0]])
    assert small.choices == 2
    np.testing.assert_allclose(small.logits(kept, items), wanted, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------------- the step


def batch_of(users: int, losses: np.ndarray, seed: int = 0) -> Labelled:
    items = np.random.default_rng(seed).integers(1, ITEMS + 1, (users, LENGTH)).astype(np.int32)
    return Labelled(items, losses.astype(np.float32), np.zeros(users, bool))


COSTS = np.array([0.1, 0.4, 1.0])
ROUTER = Router.beside(SPACE.largest, ITEMS, 3, width=8)


def test_the_expected_loss_is_the_mean_over_all_networks_and_filling_rows_do_not_count(draw_weights):
    weights, rng = draw_weights(ROUTER.init), np.random.default_rng(0)
    batch = batch_of(5, rng.random((5, 3)))
    batch.items[4] = 0
    settings = RouteConfig(budget=0.5, dropout=0.0)
    run = partial(route_loss, router=ROUTER, settings=settings)
    loss, cost = run(weights, batch, jax.random.key(0), menu_of(NETWORKS, COSTS), jnp.float32(2.0))
    shares = np.asarray(jax.nn.softmax(ROUTER.logits(weights, jnp.asarray(batch.items)), -1))[:4]
    assert float(cost) == pytest.approx(float((shares @ COSTS).mean()), rel=1e-5)
    over = float(cost) - 0.5
    wanted = float((shares * batch.losses[:4]).sum(1).mean()) + (2.0 + settings.penalty * over) * over
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_straight_through_draws_one_network_with_the_gradient_of_the_relaxed_draw():
    logits = jnp.asarray([[0.0, 1.0, -1.0], [2.0, 0.0, 0.0]])
    worth, key = jnp.asarray([[1.0, 2.0, 5.0], [0.5, 0.0, 1.0]]), jax.random.key(5)
    drawn = straight_through(jax.nn.log_softmax(logits), key)
    np.testing.assert_allclose(np.sort(drawn, 1), [[0, 0, 1], [0, 0, 1]], atol=1e-6)

    def relaxed(logits):
        noisy = jax.nn.log_softmax(logits) + jax.random.gumbel(jax.random.key(5), logits.shape)
        return jnp.sum(jax.nn.softmax(noisy) * worth)

    ours = jax.grad(lambda x: jnp.sum(straight_through(jax.nn.log_softmax(x), jax.random.key(5)) * worth))(logits)
    np.testing.assert_allclose(ours, jax.grad(relaxed)(logits), rtol=1e-5, atol=1e-6)
    many = jax.vmap(lambda key: straight_through(jax.nn.log_softmax(logits), key))(
        jax.random.split(jax.random.key(1), 4000)
    )
    np.testing.assert_allclose(many.mean(0), jax.nn.softmax(logits), atol=0.03)


def test_the_guide_asks_for_small_networks_after_a_hit_and_for_large_ones_after_a_miss():
    """Targets of three widths are (1, 4, 16)/21, of three depths (1, 2, 4)/7, after a hit reversed."""
    shapes = [(w, d) for w in (4, 8, 16) for d in (1, 2, 3)]
    networks = [dataclasses.replace(SPACE.largest, width=w, depth=d) for w, d in shapes]
    menu = menu_of(networks, np.linspace(0.1, 1, 9))
    both = jnp.asarray([[True], [False]])
    width, depth = np.array([1, 4, 16]) / 21, np.array([1, 2, 4]) / 7
    best = {True: np.outer(width[::-1], depth[::-1]).ravel(), False: np.outer(width, depth).ravel()}
    for hit in both[:, 0].tolist():
        log_shares = jnp.log(jnp.asarray(best[hit], jnp.float32))[None]
        least = guide_loss(log_shares, jnp.asarray([hit]), menu)
        assert float(least[0]) == pytest.approx(-(width @ np.log(width) + depth @ np.log(depth)), rel=1e-4)
        assert guide_loss(log_shares, jnp.asarray([not hit]), menu)[0] > least[0]


@pytest.mark.parametrize("form", ["expected", "straight_through"])
def test_dual_ascent_brings_the_mean_cost_to_the_budget(form):
    """Dearer networks are better for everyone, so without a price all would get the dearest."""
    rng = np.random.default_rng(1)
    batch = batch_of(64, np.sort(rng.random((64, 3)), 1)[:, ::-1])
    settings = RouteConfig(budget=0.3, form=form, dropout=0.0, price_rate=0.05)
    tx, menu = optax.adam(0.01), menu_of(NETWORKS, COSTS)
    weights = ROUTER.init(jax.random.key(0))
    state = RouterState(jnp.int32(0), weights, tx.init(weights), jnp.float32(0.0))
    costs = []
    for _ in range(300):
        state, _ = route_step(state, batch, jax.random.key(1), menu, router=ROUTER, tx=tx, settings=settings)
        shares = jax.nn.softmax(ROUTER.logits(state.weights, jnp.asarray(batch.items)), -1)
        costs.append(float((shares @ menu.costs).mean()))
    assert costs[0] > 0.4 and float(state.price) > 0.3
    assert np.mean(costs[-50:]) == pytest.approx(0.3, abs=0.03)


# ---------------------------------------------------------------------------------------------------- choices and their budget


def test_the_price_of_the_choices_is_the_least_that_keeps_the_budget():
    rng = np.random.default_rng(0)
    costs = np.array([0.05, 0.1, 0.5, 1.0])
    for scores in (rng.normal(size=(500, 4)) + np.arange(4), rng.normal(size=(500, 4)) - 10 * costs[None]):
        price = price_at(scores, costs, 0.3)
        assert 0.29 < costs[choose(scores, costs, price)].mean() <= 0.3
        assert costs[choose(scores, costs, price - 1e-6)].mean() > 0.3
    assert (choose(scores, costs, price_at(scores, costs, 1.0)) == 3).all()
    assert (choose(scores, costs, price_at(scores, costs, 0.05)) == 0).all()


def test_the_choices_spend_what_the_distributions_do_and_never_more_than_the_budget():
    """Everyone likes the cheap one a little more: by the highest score alone nobody would get the dear one."""
    costs, scores = np.array([0.1, 1.0]), np.log([[0.6, 0.4]]) + np.linspace(-0.01, 0.01, 200)[:, None] * [[0, 1]]
    assert spending(scores, costs, 1.0) == pytest.approx(0.46, abs=0.01) and spending(scores, costs, 0.3) == 0.3
    choice = choose(scores, costs, price_at(scores, costs, spending(scores, costs, 1.0)))
    assert (choice == 1).mean() == pytest.approx(0.4, abs=0.02) and (np.diff(choice) >= 0).all()


def test_networks_that_hardly_anyone_gets_are_left_out_and_their_users_get_the_next():
    scores = np.zeros((200, 4))
    scores[:120, 0], scores[120:199, 3], scores[199, 1], scores[199, 0] = 50, 50, 50, 49
    costs = np.array([0.1, 0.2, 0.3, 0.4])
    kept, added = settle(scores, costs, RouteConfig(budget=1.0))
    assert kept == [0, 3]
    added = np.asarray(added)
    assert np.argmax(scores + added, 1)[[0, 120, 199]].tolist() == [0, 3, 1]
    assert np.argmax((scores + added)[:, kept], 1)[[0, 120, 199]].tolist() == [0, 1, 0]
    assert settle(scores, costs, RouteConfig(budget=0.1))[0] == [0]


# ------------------------------------------------------------------------------------------------------------- from end to end


def test_outcomes_are_each_networks_own(draw_weights):
    weights = draw_weights(Network(SPACE.largest, ITEMS).init)
    evaluator = Evaluator(chain(), "validation", LENGTH, ("full",))
    found = outcomes(Elastic(SPACE.largest, weights, NETWORKS, ITEMS), evaluator)
    for number, architecture in enumerate(NETWORKS):
        network, part = Network(architecture, ITEMS), corner(weights, architecture)
        ndcg = evaluator(network_scores(network), part)["full"]["ndcg@10"]
        assert found.gains("full")[:, number].mean() == pytest.approx(ndcg)
        assert found.losses[:, number].mean() == pytest.approx(
            held_out_cross_entropy(network, part, evaluator), rel=1e-4
        )
    assert ((found.confidence > 1 / ITEMS) & (found.confidence <= 1)).all()
    assert 0 < found.hits.mean() < 1


def test_likelihood_is_that_of_the_softmax():
    def scores(table, items):
        return jnp.broadcast_to(table[None], (items.shape[0], len(table)))

    table = jnp.log(jnp.asarray([9.0, *range(1, ITEMS + 1)]))  # the padding's own does not count
    losses, sure = likelihood(scores, table, Evaluator(chain(), "validation", LENGTH))
    total = ITEMS * (ITEMS + 1) / 2
    np.testing.assert_allclose(np.exp(-losses), chain().targets("validation") / total, rtol=1e-4)
    np.testing.assert_allclose(sure, ITEMS / total, rtol=1e-4)


@pytest.fixture(scope="module")
def parity() -> Split:
    """500 users of seven events over six items."""
    rng = np.random.default_rng(0)
    names = [IdMap(tuple(f"{kind}{k}" for k in range(count))) for kind, count in (("u", 500), ("i", 6))]
    return Split(Interactions(rng.integers(1, 7, 3500).astype(np.int32), np.arange(501) * 7, *names))


def planted_outcomes(split: Split) -> Outcomes:
    """Users whose last item is odd need the dear network; for the others the cheapest is better."""
    odd = split.data.items[split.train_end - 1] % 2
    losses = np.stack([2.0 * odd, 1.5 * odd + 0.5, 0.3 - 0.3 * odd], 1).astype(np.float32)
    ranks = np.stack([np.stack([20 * odd, 20 * odd, 1 - odd]), np.zeros((3, len(odd)), np.int64)], -1)
    return Outcomes(losses, losses, {"full": ranks, "full_unseen": ranks})


@pytest.mark.parametrize("form", ["expected", "straight_through"])
def test_a_router_learns_who_needs_the_dear_network(form, parity):
    weights = Network(SPACE.largest, 6).init(jax.random.key(0))
    elastic, evaluator = Elastic(SPACE.largest, weights, NETWORKS, 6), Evaluator(parity, "validation", LENGTH)
    settings = RouteConfig(form=form, width=8, epochs=12, batch_size=16, learning_rate=0.02, budget=0.7, dropout=0.0)
    routed = train_router(elastic, evaluator, planted_outcomes(parity), settings=settings, seed=0)
    assert routed.finished and routed.networks == (NETWORKS[0], NETWORKS[2])
    items = parity.data.items.reshape(500, 7)[:, :5]
    choice = np.asarray(jnp.argmax(routed.router.logits(routed.weights, jnp.asarray(items)), -1))
    assert ((choice == 1) == (items[:, -1] % 2 == 1)).mean() > 0.95


def test_test_items_change_no_router():
    found = []
    config = setting(model={"layers": 1})
    largest = space_of(config).largest
    networks = tuple(space_of(config).architecture(n) for n in (0, 1))
    for split in (SPLIT, poisoned(SPLIT)):
        num_items = split.data.num_items
        weights = Network(largest, num_items).init(jax.random.key(0))
        elastic = Elastic(largest, weights, networks, num_items)
        evaluator = Evaluator(split, "validation", LENGTH)
        settings = RouteConfig(width=8, epochs=2, batch_size=16, learning_rate=0.05, budget=0.9, held_out=0.3)
        routed = train_router(elastic, evaluator, outcomes(elastic, evaluator), settings=settings, seed=0)
        found.append((routed.networks, routed.epoch, routed.price, jax.device_get(routed.weights)))
    assert found[0][:3] == found[1][:3]
    assert jax.tree.all(jax.tree.map(np.array_equal, found[0][3], found[1][3]))


def test_a_budget_below_the_cheapest_network_says_so(parity):
    weights = Network(SPACE.largest, 6).init(jax.random.key(0))
    evaluator = Evaluator(parity, "validation", LENGTH)
    with pytest.raises(ValueError, match="route.budget: expected at least"):
        train_router(
            Elastic(SPACE.largest, weights, NETWORKS, 6), evaluator, planted_outcomes(parity),
            settings=RouteConfig(budget=0.01), seed=0,
        )  # fmt: skip
