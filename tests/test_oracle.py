"""Whole searches of the chain, each beside every network trained alone: what is planted is found."""

from __future__ import annotations

import dataclasses
from functools import cache

import jax
import numpy as np
import pytest
from chain import chain, search_chain, setting

from easrec_jax.config import Config, EasrecConfig, ProxylessConfig, SearchConfig
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.cost import cost_table
from easrec_jax.models.network import Network, network_scores
from easrec_jax.nas.search import Found
from easrec_jax.nas.strategies.known import STRATEGIES
from easrec_jax.nas.strategies.strategy import Strategy
from easrec_jax.runs.search_folder import chosen_by
from easrec_jax.space import space_of
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.loop import QUIET, Run

SUPERNETS = {name: strategy for name, strategy in STRATEGIES.items() if isinstance(strategy, Strategy)}
LEARNERS = [name for name, strategy in SUPERNETS.items() if strategy.learn is not None]


# the wide network of one layer: candidate 1, of two depths each
BEST, BUDGET = 2, 0.9


@cache
def searched(name: str, *, seed: int = 0, run: Run = QUIET, **settings) -> tuple[int, Found]:
    """(row of the pick, what the search found); tests that ask for the same share it."""
    space, found = search_chain(setting(strategy=name, **settings), seed=seed, run=run)
    return space.network(found.architecture), found


def test_a_pick_says_the_lambda_of_its_own_strategy():
    settings, (_, found) = (
        SearchConfig(easrec=EasrecConfig(0.3), proxyless=ProxylessConfig(0.7)),
        searched("exhaustive"),
    )

    def said(name: str) -> float | None:
        return chosen_by(found, Config(search=dataclasses.replace(settings, strategy=name)))["cost_weight"]

    weights = {"easrec": 0.3, "untrained": 0.3, "proxyless": 0.7}
    assert {name: said(name) for name in (*STRATEGIES, "mine.py")} == dict.fromkeys([*STRATEGIES, "mine.py"]) | weights


def oracle() -> dict[int, float]:
    """Validation NDCG@10 of each network trained alone, by the exhaustive strategy."""
    pick, found = searched("exhaustive")
    assert len(found.finalists) == 4 and found.weights is None and found.supernet is None
    figures = {f.network: f.ndcg for f in found.finalists if f.ndcg is not None}
    assert pick == max(figures, key=lambda network: figures[network])
    return figures


def test_the_planted_network_is_clearly_best_within_the_budget_and_all_but_the_best_without():
    """The wide one of one layer; a second layer is worth next to nothing and costs three times as much again."""
    costs, figures = cost_table(space_of(setting()), 60).ravel(), oracle()
    within = [network for network in figures if costs[network] <= BUDGET]
    assert len(within) == 3 and figures[BEST] > max(figures[n] for n in within if n != BEST) + 0.1
    assert abs(figures[BEST + 1] - figures[BEST]) < 0.03 and costs[BEST + 1] > 3 * costs[BEST]


def test_random_search_finds_the_planted_network_if_it_draws_it():
    pick, found = searched("random", finalists=2, budget=BUDGET)
    figures = {f.network: f.ndcg for f in found.finalists}
    assert len(figures) == 2 and BEST in figures and figures == {n: oracle()[n] for n in figures}
    assert pick == BEST


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("easrec", {"budget": BUDGET}),
        ("proxyless", {"proxyless": ProxylessConfig(cost_weight=0.1)}),
        ("recnas", {"budget": BUDGET}),
    ],
)
def test_a_strategy_that_minds_the_cost_finds_the_planted_network(name, settings):
    pick, found = searched(name, **settings)
    assert pick == BEST, found.arch
    assert jax.nn.softmax(found.arch["width"])[1] > 0.7  # learned: they begin at one half, which may do to be picked


def test_the_control_learns_no_architecture_and_trains_the_supernet():
    space, (_, found) = space_of(setting()), searched("untrained", budget=BUDGET)
    start = SUPERNETS["easrec"].init(space)
    assert found.arch.keys() == start.keys() and all(np.array_equal(found.arch[name], start[name]) for name in start)
    network, evaluator = Network(space.architecture(BEST), 60), Evaluator(chain(), "validation", 12, ("full",))
    assert found.supernet is not None
    cut = found.supernet.cut(found.weights, network.architecture)
    assert evaluator(network_scores(network), cut)["full"]["ndcg@10"] > 0.5


def test_darts_which_minds_no_cost_finds_the_width_and_a_network_as_good_as_the_best():
    pick, found = searched("darts")
    assert pick >= BEST and oracle()[pick] > max(oracle().values()) - 0.03, found.arch


@pytest.mark.parametrize("name", SUPERNETS)
def test_every_strategy_searches_the_wide_space_too(name):
    """One network at a time, drawn from the strategy's distribution; a budget is kept by those that know one."""
    records: list[dict] = []
    strategy, start = SUPERNETS[name], SUPERNETS[name].init(space_of(setting(wide=True)))
    budget = 0.15 if strategy.keeps_budget else None
    settings = setting(wide=True, epochs=2, warmup_epochs=1, finalists=1, budget=budget)
    space, found = search_chain(settings, strategy=strategy, run=Run(on_epoch=records.append))
    assert records[1]["loss"] < records[0]["loss"] and all(np.isfinite(record["expected_cost"]) for record in records)
    assert all(np.isfinite(leaf).all() for leaf in found.arch.values())
    moved = [part for part in start if not np.array_equal(found.arch[part], start[part])]
    assert bool(moved) == (name in LEARNERS)
    assert budget is None or max(found.finalists[0].cost, *(record["pick"]["cost"] for record in records)) <= budget
    assert found.architecture == space.architecture(found.finalists[0].network)
    if name == "recnas":
        assert np.flatnonzero(found.arch["alive"]).tolist() == [found.finalists[0].network]


@pytest.mark.parametrize("name", ["darts", "proxyless"])
def test_a_budget_that_would_mean_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"search.budget: expected none with search.strategy = '{name}'"):
        searched(name, budget=0.5)


def test_networks_trained_alone_are_not_trained_again_on_resume(tmp_path):
    settings = {"prune": (0.75,), "epochs": 1, "warmup_epochs": 0}
    trained, records = set(), []

    class Killed(Exception):
        pass

    def die(record):
        raise Killed

    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(Killed):
        searched("exhaustive", run=Run(checkpoints, on_epoch=die), **settings)
    told = Run(checkpoints, True, lambda info: trained.add(info["finalist"]), records.append)
    resumed = searched("exhaustive", run=told, **settings)
    assert trained == {"2/2"} and [r["architecture"]["depth"] for r in records] == [1, 2]
    assert resumed[1].finalists == searched("exhaustive", **settings)[1].finalists
