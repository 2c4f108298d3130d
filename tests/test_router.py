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
from easrec_jax.models.corner import corner
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.router import SIGNS, Router
from easrec_jax.nas.route_step import (
    Labelled,
    RouterState,
    guide_loss,
    menu_of,
    route_loss,
    route_step,
    straight_through,
)
from easrec_jax.nas.routing import (
    Elastic,
    Outcomes,
    choose,
    outcomes,
    price_at,
    ridge_head,
    route_features,
    route_scores,
    router_of,
    settle,
    spending,
    train_router,
)
from easrec_jax.space import space_of
from experiments import canet_rivals

ITEMS = 60
SPACE = space_of(setting(model={"layers": 3}))
NETWORKS = tuple(SPACE.architecture(n) for n in range(len(SPACE.networks)))[:2] + (SPACE.largest,)


@pytest.mark.parametrize("kind", ["softmax", "recent_linrec"])
def test_the_routers_flops_and_parameters_are_those_of_its_program(kind):
    largest = Architecture(64, 128, 3, 4, 64, kind, 0 if kind == "softmax" else 2, 0 if kind == "softmax" else 4)
    router = Router.beside(largest, 500, 9, width=32)
    reader = jax.eval_shape(router.network.init, jax.random.key(0))
    items, head = jax.ShapeDtypeStruct((1, 64), jnp.int32), router.init_head()
    assert router.parameters == sum(x.size for x in jax.tree.leaves(head))
    network = router.network.architecture
    assert (network.width, network.inner, network.depth) == (32, 64, 1)

    def scores(reader, head, items):
        return router.scores(head, router.features(reader, items))

    products = product_flops(jax.make_jaxpr(scores)(reader, head, items).jaxpr)
    convolution = 64 * 2 * network.conv_width * 32  # no product to JAX
    assert 0.9 <= products / (router.flops - convolution) <= 1.1
    xla = jax.jit(scores).lower(reader, head, items).compile().cost_analysis()["flops"]
    assert (
        1.0 <= xla / router.flops <= 1.75
    )  # elu, squares and norms of all keys weigh more than at width 128 (test_cost.py)


def test_it_reads_with_a_corner_of_the_elastic_network_and_padding_changes_nothing(draw_weights):
    router = Router.beside(SPACE.largest, ITEMS, 3, width=8)
    weights, items = draw_weights(Network(SPACE.largest, ITEMS).init), jnp.asarray([[3, 4, 5]])
    reader = router.reader(weights)
    found = router.features(reader, items)[0]
    np.testing.assert_allclose(
        router.features(reader, jnp.pad(items, ((0, 0), (0, 4))))[0], found, rtol=1e-4, atol=1e-5
    )
    own = network_scores(router.network)(corner(weights, router.network.architecture), items)[0, 1:]
    shares = np.asarray(jax.nn.softmax(own), np.float64)
    signs = [np.log(shares.max()), -(shares * np.log(shares)).sum(), np.log(4) / np.log(LENGTH + 1)]
    np.testing.assert_allclose(found[-3:], signs, rtol=1e-3)


def test_keeping_some_networks_keeps_their_scores():
    rng = np.random.default_rng(0)
    router = Router.beside(SPACE.largest, ITEMS, 3, width=8)
    head = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), router.init_head())
    features = jnp.asarray(rng.normal(size=(5, len(head["kernel"]))), jnp.float32)
    small, kept = router.keep(head, [0, 2], jnp.asarray([1.0, 5.0, -1.0]))
    wanted = router.scores(head, features)[:, jnp.asarray([0, 2])] + jnp.asarray([[1.0, -1.0]])
    assert small.choices == 2
    np.testing.assert_allclose(small.scores(kept, features), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(route_scores(kept, np.asarray(features)), wanted, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------------- the step


COSTS = np.array([0.1, 0.4, 1.0])
ROUTER = Router.beside(SPACE.largest, ITEMS, 3, width=8)


def batch_of(users: int, losses: np.ndarray) -> Labelled:
    features = np.random.default_rng(0).normal(size=(users, 8 + SIGNS)).astype(np.float32)
    return Labelled(features, losses.astype(np.float32), np.zeros(users, bool))


def test_the_expected_loss_is_the_mean_over_all_networks():
    rng = np.random.default_rng(0)
    head = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), ROUTER.init_head())
    batch, settings = batch_of(5, rng.random((5, 3))), RouteConfig(budget=0.5, guide=0.0, uniform=0.25)
    run = partial(route_loss, router=ROUTER, settings=settings)
    loss, cost = run(head, batch, jax.random.key(0), menu_of(NETWORKS, COSTS), jnp.float32(2.0))
    shares = np.asarray(jax.nn.softmax(ROUTER.scores(head, jnp.asarray(batch.features)), -1))
    assert float(cost) == pytest.approx(float((shares @ COSTS).mean()), rel=1e-5)
    over = float(cost) - 0.5
    wanted = float((shares * batch.losses).sum(1).mean()) + max(2.0 + settings.penalty * over, 0.0) * over
    assert float(loss) == pytest.approx(wanted - 0.25 * np.log(shares).mean(), rel=1e-4)


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
    settings = RouteConfig(budget=0.3, form=form, price_rate=0.05)
    tx, menu, head = optax.adam(0.02), menu_of(NETWORKS, COSTS), ROUTER.init_head()
    state, costs = RouterState(jnp.int32(0), head, tx.init(head), jnp.float32(0.0)), []
    for _ in range(300):
        state, _ = route_step(state, batch, jax.random.key(1), menu, router=ROUTER, tx=tx, settings=settings)
        shares = jax.nn.softmax(ROUTER.scores(state.head, jnp.asarray(batch.features)), -1)
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
    evaluator, elastic = Evaluator(chain(), "validation", LENGTH), Elastic(SPACE.largest, weights, NETWORKS, ITEMS)
    router = router_of(elastic, RouteConfig(width=8))
    found = outcomes(elastic, router, evaluator)
    for number, architecture in enumerate(NETWORKS):
        alone = network_scores(Network(architecture, ITEMS)), corner(weights, architecture)
        assert found.gains[:, number].mean() == pytest.approx(evaluator(*alone)["full"]["ndcg@10"])
    unseen = dataclasses.replace(evaluator, protocols=("full_unseen",))
    cheapest = network_scores(Network(NETWORKS[0], ITEMS)), corner(weights, NETWORKS[0])
    assert found.hits.mean() == pytest.approx(unseen(*cheapest)["full_unseen"]["recall@10"])
    history = jnp.asarray(chain().data.items[:LENGTH][None])
    np.testing.assert_allclose(
        found.features[0], router.features(router.reader(weights), history)[0], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(found.losses.mean(1), 0, atol=1e-5)
    assert found.losses.std() == pytest.approx(1.0, rel=1e-3)
    order = np.corrcoef(found.losses.ravel(), -(found.gains - found.gains.mean(1, keepdims=True)).ravel())[0, 1]
    assert order == pytest.approx(1.0)


def test_an_exit_is_as_sure_as_its_highest_probability():
    def scores(table, items):
        return jnp.broadcast_to(table[None], (items.shape[0], len(table)))

    table = jnp.log(jnp.asarray([99.0, *range(1, ITEMS + 1)]))  # the padding's own does not count
    evaluator = Evaluator(chain(), "validation", LENGTH)
    sure = evaluator.of_users(lambda items: canet_rivals.highest_probability(table, items, scores=scores))
    np.testing.assert_allclose(sure, ITEMS / (ITEMS * (ITEMS + 1) / 2), rtol=1e-4)


def test_what_is_computed_of_users_comes_in_their_order():
    evaluator = Evaluator(chain(), "validation", LENGTH, batch_size=32, buckets=2)
    found = evaluator.of_users(lambda items: jnp.stack([jnp.sum(items, 1), jnp.sum(items > 0, 1)], 1))
    split = chain()
    expected = [
        split.data.items[a:b][-LENGTH:] for a, b in zip(split.start, split.history_end("validation"), strict=True)
    ]
    np.testing.assert_array_equal(found, [(items.sum(), len(items)) for items in expected])


@pytest.fixture(scope="module")
def unequal() -> Split:
    """500 users of five to fourteen events over six items."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(5, 15, 500))])
    names = [IdMap(tuple(f"{kind}{k}" for k in range(count))) for kind, count in (("u", 500), ("i", 6))]
    return Split(Interactions(rng.integers(1, 7, offsets[-1]).astype(np.int32), offsets, *names))


def planted_outcomes(elastic: Elastic, split: Split) -> Outcomes:
    """Users of long histories need the dear network; for the others the cheapest is better."""
    dear = (split.data.lengths > 9).astype(float)
    gains = np.stack([1.0 - dear, 0.6 - 0.6 * dear, 0.5 + 0.5 * dear], 1)
    router = router_of(elastic, SETTINGS)
    features = route_features(router, router.reader(elastic.weights), Evaluator(split, "validation", LENGTH))
    return Outcomes(features, gains, dear == 0)


SETTINGS = RouteConfig(width=8, epochs=25, batch_size=32, learning_rate=0.05, budget=0.7)


def test_a_ridge_has_the_least_penalised_squares_and_a_strong_one_treats_all_alike():
    rng = np.random.default_rng(0)
    features, gains = rng.normal(size=(200, 6)), rng.random((200, 3))

    def penalised(kernel, bias):
        return ((features @ kernel + bias - gains) ** 2).sum() + 0.5 * len(features) * (kernel**2).sum()

    head = jax.tree.map(np.asarray, ridge_head(features, gains, 0.5))
    least = penalised(head["kernel"], head["bias"])
    for _ in range(20):
        nudged = {name: value + 0.01 * rng.normal(size=value.shape) for name, value in head.items()}
        assert penalised(**nudged) > least
    alike = route_scores(ridge_head(features, gains, 1e9), features)
    np.testing.assert_allclose(alike, np.broadcast_to(gains.mean(0), alike.shape), atol=1e-6)


@pytest.mark.parametrize("form", ["ridge", "expected", "straight_through"])
def test_a_router_learns_who_needs_the_dear_network(form, unequal, draw_weights):
    elastic = Elastic(SPACE.largest, draw_weights(Network(SPACE.largest, 6).init), NETWORKS, 6)
    settings = dataclasses.replace(SETTINGS, form=form)
    found = planted_outcomes(elastic, unequal)
    routed = train_router(elastic, unequal, found, settings=settings, seed=0)
    assert routed.finished and routed.networks == (NETWORKS[0], NETWORKS[2])
    choice = choose(route_scores(routed.head, found.features), np.zeros(2))
    # the length decides by a step, and a ridge is linear in it
    wrong, least = (0.2, 0.8) if form == "ridge" else (0.05, 0.95)
    assert ((choice == 1) == found.hits).mean() < wrong
    assert routed.ndcg > least


def test_test_items_change_no_router(draw_weights):
    networks, found = (SPACE.architecture(0), SPACE.largest), []
    for split in (SPLIT, poisoned(SPLIT)):
        num_items = split.data.num_items
        elastic = Elastic(SPACE.largest, draw_weights(Network(SPACE.largest, num_items).init), networks, num_items)
        settings = RouteConfig(width=8, epochs=2, batch_size=16, budget=0.9)
        measured = outcomes(elastic, router_of(elastic, settings), Evaluator(split, "validation", LENGTH))
        routed = train_router(elastic, split, measured, settings=settings, seed=0)
        found.append((routed.networks, routed.price, routed.ndcg, jax.tree.map(np.asarray, routed.head)))
    assert found[0][:3] == found[1][:3]
    assert jax.tree.all(jax.tree.map(np.array_equal, found[0][3], found[1][3]))


def test_a_budget_below_the_cheapest_network_says_so(unequal, draw_weights):
    elastic = Elastic(SPACE.largest, draw_weights(Network(SPACE.largest, 6).init), NETWORKS, 6)
    found = planted_outcomes(elastic, unequal)
    for settings, message in (
        (RouteConfig(budget=0.01), "route.budget: expected at least"),
        (RouteConfig(held_out=0.0001), "route.held_out"),
    ):
        with pytest.raises(ValueError, match=message):
            train_router(elastic, unequal, found, settings=settings, seed=0)
