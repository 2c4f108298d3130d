"""The search: what each step may change, budget, finalists, resume, determinism. What it finds: test_oracle, test_wide."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chain import LENGTH, chain, search_chain, setting, task_of

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, EasrecConfig, RetrainConfig, SearchConfig
from easrec_jax.data.batches import EndlessBatches, scoring_samples
from easrec_jax.models.cost import cost_table
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.supernet import Candidates
from easrec_jax.nas.distribution import Table
from easrec_jax.nas.finalists import Finalist, best_of
from easrec_jax.nas.search import Found
from easrec_jax.nas.steps import architecture_step, init_search, make_searcher, weight_step
from easrec_jax.nas.strategies import easrec
from easrec_jax.nas.strategies.strategy import Moment, Strategy
from easrec_jax.space import Space, space_of
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.fit import fit
from easrec_jax.train.loop import Run

ITEMS = 60


def config(**settings) -> Config:
    return setting(**({"prune": (0.0, 0.5), "epochs": 2, "learning_rate": 0.01, "warmup_epochs": 0} | settings))


@cache
def searched(**settings) -> tuple[Space, Found]:
    """A whole search; tests that ask for the same share it."""
    return search_chain(config(**settings))


def one_step(settings: Config, strategy: Strategy = easrec.STRATEGY):
    """(searcher, state, a batch of validation items, table) before the first step."""
    space = space_of(settings)
    searcher = make_searcher(Candidates(space, ITEMS, 0.1), settings.search, strategy, (0, 100))
    held_out = scoring_samples(chain(), "validation", max_length=LENGTH)
    batch = EndlessBatches(held_out, max_length=LENGTH, batch_size=16, buckets=1, seed=0)(0)
    table = Table.of(space, cost_table(space, ITEMS), settings.search.budget)
    return searcher, init_search(searcher, jax.random.key(0)), batch, table


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def copy(tree):
    return jax.tree.map(lambda x: np.array(x), tree)


def test_each_step_changes_its_own_parameters_alone():
    searcher, state, batch, table = one_step(config())
    before = copy(state)
    state, _ = weight_step(state, batch, jax.random.key(1), table, searcher=searcher)
    between = copy(state)
    assert same(before.arch, between.arch) and same(before.arch_opt, between.arch_opt)
    assert not same(before.weights, between.weights)
    state, _ = architecture_step(state, batch, jax.random.key(2), table, searcher=searcher)
    assert same(between.weights, state.weights) and same(between.weights_opt, state.weights_opt)
    assert not np.array_equal(between.arch["width"], state.arch["width"])
    assert not np.array_equal(between.arch["depth"], state.arch["depth"])


def test_a_heavier_constraint_drives_towards_smaller_networks():
    costs_found = []
    for weight in (0.0, 100.0):
        searcher, state, batch, table = one_step(config(easrec=EasrecConfig(cost_weight=weight)))
        for _ in range(15):
            state, _ = architecture_step(state, batch, jax.random.key(2), table, searcher=searcher)
            state = state._replace(step=state.step + 1)
        alpha, beta = jax.nn.softmax(state.arch["width"]), jax.nn.softmax(state.arch["depth"])
        costs_found.append(float(alpha @ table.costs @ beta))
    assert costs_found[1] < 0.7 * costs_found[0]


# warm draws, which have a share of everything that is admitted, and cold ones
@pytest.mark.parametrize("tau", [1.0, 0.2])
def test_what_no_budget_admits_is_neither_computed_nor_trained(tau):
    """Budget for one layer of the wide candidate, for two of the narrow one: the wide one's second layer stays as it was."""
    searcher, state, batch, table = one_step(config(budget=0.5, easrec=EasrecConfig(tau_start=tau, tau_min=0.01)))
    assert np.asarray(table.allowed).tolist() == [[True, False], [True, True]]
    before = copy(state.weights)
    for _ in range(24):
        state, _ = weight_step(state, batch, jax.random.key(1), table, searcher=searcher)
        state, _ = architecture_step(state, batch, jax.random.key(2), table, searcher=searcher)
    changed = {name: not same(before[name], state.weights[name]) for name in before if name.startswith("blocks")}
    assert changed == {"blocks_0_0": True, "blocks_0_1": True, "blocks_1_0": False, "blocks_1_1": True}
    for kind in ("weight", "architecture"):
        counts = np.asarray(state.computed[kind])
        assert counts[0, 1] == 0 and counts[0, 0] > 4 and counts[1, 0] >= counts[1, 1] > 4


def test_shares_of_another_shape_are_refused():
    strategy = easrec.STRATEGY._replace(draw=lambda logits, key, moment: jnp.ones((1, 4)) / 4)
    searcher, state, batch, table = one_step(config(), strategy)
    with pytest.raises(ValueError, match=r"expected shares of shape \[candidates depths\] = \(2, 2\)"):
        weight_step(state, batch, jax.random.key(1), table, searcher=searcher)


@pytest.mark.parametrize("budget", [0.07, 0.25])
def test_the_pick_never_exceeds_the_budget(budget):
    space, found = searched(budget=budget, epochs=1)
    assert cost_table(space, ITEMS).ravel()[space.network(found.architecture)] <= budget


def trained_alone(found: Found, finalist: Finalist):
    """(the network, its training from the shared weights), as the contest trains it."""
    network = Network(finalist.architecture, ITEMS, 0.3)
    training = RetrainConfig(epochs=1, batch_size=16, buckets=1, learning_rate=0.01)
    assert found.supernet is not None
    weights = found.supernet.cut(found.weights, finalist.architecture)
    return network, fit(network, weights, task_of(config()), settings=training)


def test_the_pick_is_the_best_finalist_after_training_alone_or_the_most_probable_if_there_is_one():
    (space, found), (_, alone) = searched(budget=1.0, finalists=3), searched(budget=1.0)
    assert same(found.arch, alone.arch) and same(found.weights, alone.weights)
    figures = [trained_alone(found, finalist)[1].ndcg for finalist in found.finalists]
    assert len(figures) == 3 and figures == [finalist.ndcg for finalist in found.finalists]
    assert found.architecture == found.finalists[int(np.argmax(figures))].architecture
    alpha, beta = (np.asarray(jax.nn.softmax(alone.arch[name])) for name in ("width", "depth"))
    assert alone.architecture == space.architecture(2 * int(np.argmax(alpha)) + int(np.argmax(beta)))


def test_without_a_budget_the_finalist_of_the_lowest_loss_plus_lambda_r_is_the_pick():
    """With lambda 0 the loss decides, with a large one R, which is that of the finalist itself: its cost times its depth over all."""
    (_, free), (space, dear) = (
        searched(finalists=4, epochs=1, easrec=EasrecConfig(cost_weight=weight)) for weight in (0.0, 1000.0)
    )
    costs = cost_table(space, ITEMS).ravel()
    assert costs[space.network(dear.architecture)] == costs.min()
    assert free.architecture == min(free.finalists, key=lambda f: f.cross_entropy or 0.0).architecture
    for found, weight in ((free, 0.0), (dear, 1000.0)):
        for f in found.finalists:
            np.testing.assert_allclose(f.price, weight * f.cost * f.architecture.depth / 2, rtol=1e-6)
    network, fitted = trained_alone(free, free.finalists[0])
    histories, targets = scoring_samples(chain(), "validation", max_length=LENGTH), chain().targets("validation")
    batch = histories.batch(np.arange(len(targets)), LENGTH, len(targets))
    scores = np.asarray(network_scores(network)(fitted.weights, jnp.asarray(batch.items)), np.float64)[:, 1:]
    chosen = scores[np.arange(len(targets)), targets - 1]
    expected = np.mean(np.log(np.exp(scores).sum(1)) - chosen)
    np.testing.assert_allclose(free.finalists[0].cross_entropy, expected, rtol=1e-5)


def test_a_higher_price_never_picks_a_higher_r_of_the_same_finalists():
    space = Space(Architecture(8, 8, 4, 2, 5, "softmax", 0), (8, 6, 4), (8, 6, 4), (2,), (0,), ("softmax",))
    rng, costs = np.random.default_rng(0), np.outer([1.0, 0.6, 0.3], [0.25, 0.5, 0.75, 1.0])
    table, depths = Table.of(space, costs, None), 1 + np.arange(4)

    def prices(weight: float) -> np.ndarray:
        settings = SearchConfig(easrec=EasrecConfig(cost_weight=weight))
        return easrec.price(costs, depths, Moment(0, 0.0, table, settings)).ravel()

    for _ in range(20):
        entropies, picked = rng.random(12), []
        for weight in (0.0, 0.1, 1.0, 10.0):
            of_each = [
                Finalist(n, space.architecture(n), 1.0, price=price, cross_entropy=entropies[n])
                for n, price in enumerate(prices(weight))
            ]
            picked.append(best_of(tuple(of_each)).network)
        assert picked[0] == entropies.argmin() and (np.diff(prices(1.0)[picked]) <= 0).all()


def test_a_finalist_is_told_with_what_is_known_of_it_and_nothing_else():
    known = {"network", "architecture", "cost"}
    (space, priced), (_, within), (_, single) = (
        searched(finalists=4, epochs=1, easrec=EasrecConfig(cost_weight=0.0)), searched(budget=1.0, finalists=3),
        searched(budget=1.0),
    )  # fmt: skip
    contest = {"probability", "ndcg@10"}
    for found, more in (
        (priced, contest | {"price", "cross_entropy"}),
        (within, contest),
        (single, {"probability"}),
        (searched(strategy="random", finalists=1, epochs=1)[1], {"ndcg@10"}),
    ):
        for finalist in found.finalists:
            tree = finalist.to_json()
            assert set(tree) == known | more
            assert Architecture.from_json(tree["architecture"]) == space.architecture(tree["network"])
    assert within.finalists[0].to_json()["ndcg@10"] == within.finalists[0].ndcg


def test_a_budget_below_the_smallest_network_is_refused_before_the_first_step():
    with pytest.raises(ValueError, match=r"search\.budget: expected at least 0\.\d+, the smallest network's cost"):
        searched(budget=0.0001)


def test_a_network_beyond_the_budget_is_no_pick_whatever_the_strategy_makes_of_it():
    """RecNAS has not pruned yet; another strategy prefers what is too dear; a third leaves nothing."""
    records: list[dict] = []
    settings = config(strategy="recnas", budget=0.1, epochs=1, warmup_epochs=1)
    space, found = search_chain(settings, run=Run(on_epoch=records.append))
    costs = cost_table(space, ITEMS)
    assert (costs <= 0.1).sum() == 1 and costs.ravel()[0] > 0.1
    assert (
        records[0]["pick"]["cost"] == found.finalists[0].cost == costs.min() and found.finalists[0].probability == 1.0
    )
    np.testing.assert_allclose(found.expected_cost, costs.min())

    dearest = Strategy(log_probability=lambda logits, moment: jnp.log(moment.table.costs / moment.table.costs.sum()))
    settings = config(budget=0.25, epochs=1, warmup_epochs=1)
    assert search_chain(settings, strategy=dearest)[1].finalists[0].cost == costs[costs <= 0.25].max()
    nothing = Strategy(log_probability=lambda logits, moment: jnp.where(moment.table.allowed, -jnp.inf, 0.0))
    with pytest.raises(ValueError, match="a network within the budget that the strategy has not ruled out, found none"):
        search_chain(settings, strategy=nothing)


@pytest.mark.parametrize("wide", [False, True], ids=["paper", "wide"])
def test_a_search_cut_in_two_is_the_search_bit_for_bit(wide, tmp_path):
    settings = setting(wide=wide, epochs=2, warmup_epochs=0, finalists=1)
    checkpoints = Checkpoints(tmp_path)

    class Killed(Exception):
        pass

    def die(record):
        if record["epoch"] == 2:  # after the second epoch's steps, before its checkpoint
            raise Killed

    _, whole = search_chain(settings)
    with pytest.raises(Killed):
        search_chain(settings, run=Run(checkpoints, on_epoch=die))
    _, resumed = search_chain(settings, run=Run(checkpoints, resume=True))
    assert same(resumed.weights, whole.weights) and same(resumed.arch, whole.arch)
    assert resumed.architecture == whole.architecture and resumed.finalists == whole.finalists


@pytest.mark.parametrize("wide", [False, True], ids=["paper", "wide"])
def test_both_steps_are_traced_once(wide):
    steps = weight_step, architecture_step
    before = [step._cache_size() for step in steps]
    search_chain(setting(wide=wide, epochs=2, warmup_epochs=0, finalists=1, learning_rate=0.021))
    assert [step._cache_size() - size for step, size in zip(steps, before, strict=True)] == [1, 1]


def test_last_targets_train_the_bidirectional_supernet():
    records: list[dict] = []
    model = {"attention": "linrec", "dropout": 0.0}
    settings = setting(targets="last", model=model, epochs=1, batch_size=64, warmup_epochs=0, learning_rate=0.01)
    search_chain(settings, run=Run(on_epoch=records.append))
    assert records[0]["loss"] < np.log(ITEMS)
