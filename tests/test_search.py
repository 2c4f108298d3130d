"""The search: what each step may change, budget, resume, determinism, and that it finds what is planted."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from easrec_jax.search import search as search_module
from easrec_jax.search.search import (
    architecture_step,
    best_of,
    init_search,
    make_searcher,
    search,
    weight_step,
    within_budget,
)
from easrec_jax.search.strategies import STRATEGIES

from easrec_jax.config import Config, DataConfig, ModelConfig, RetrainConfig, SearchConfig
from easrec_jax.data.batches import endless_batch, scoring_samples, training_samples
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.cost import cost_table
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.supernet import Supernet, extract
from easrec_jax.space import search_space
from easrec_jax.train.fit import fit
from easrec_jax.train.loop import Checkpoints

LENGTH = 40


@pytest.fixture(scope="module")
def split() -> Split:
    return Split(planted(users=200, items=100, seed=0).data)


def config(**settings) -> Config:
    fields = {
        "prune": (0.0, 0.5),
        "epochs": 2,
        "batch_size": 16,
        "buckets": 1,
        "every": 2,
        "learning_rate": 0.01,
        "warmup_epochs": 0,
    }
    return Config(
        data=DataConfig(),
        model=ModelConfig(width=16, inner=16, layers=2, heads=2, max_length=LENGTH),
        search=SearchConfig(**(fields | settings)),
    )


def run(split: Split, settings: Config, seed: int = 0, **options):
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="all")
    evaluator = Evaluator(split, "validation", LENGTH)
    return search(
        search_space(settings), samples, evaluator, settings=settings.search, dropout=0.1, seed=seed, **options
    )


def one_step(split: Split, settings: Config):
    space = search_space(settings)
    searcher = make_searcher(Supernet(space, split.data.num_items, 0.1), settings.search)
    state = init_search(searcher, jax.random.key(0))
    held_out = scoring_samples(split, "validation", max_length=LENGTH)
    batch = endless_batch(held_out, 0, max_length=LENGTH, batch_size=16, buckets=1, seed=0)
    costs = jnp.asarray(cost_table(space, split.data.num_items), jnp.float32)
    return searcher, state, batch, costs


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def copy(tree):
    return jax.tree.map(lambda x: np.array(x), tree)


def test_each_step_changes_its_own_parameters_alone(split):
    searcher, state, batch, costs = one_step(split, config())
    before = copy(state)
    state, _ = weight_step(state, batch, jax.random.key(1), None, searcher=searcher)
    between = copy(state)
    assert same(before.arch, between.arch) and same(before.arch_opt, between.arch_opt)
    assert not same(before.weights, between.weights)
    state, _ = architecture_step(state, batch, jax.random.key(2), costs, None, searcher=searcher)
    assert same(between.weights, state.weights) and same(between.weights_opt, state.weights_opt)
    assert not np.array_equal(between.arch.width, state.arch.width)
    assert not np.array_equal(between.arch.depth, state.arch.depth)


def test_a_heavier_constraint_drives_towards_smaller_networks(split):
    costs_found = []
    for weight in (0.0, 100.0):
        searcher, state, batch, costs = one_step(split, config(cost_weight=weight, arch_learning_rate=0.1))
        for _ in range(15):
            state, _ = architecture_step(state, batch, jax.random.key(2), costs, None, searcher=searcher)
            state = state._replace(step=state.step + 1)
        alpha, beta = map(jax.nn.softmax, (state.arch.width, state.arch.depth))
        costs_found.append(float(alpha @ costs @ beta))
    assert costs_found[1] < 0.7 * costs_found[0]


@pytest.mark.parametrize(
    "tau", [1.0, 0.2]
)  # warm draws, which have a share of everything that is admitted, and cold ones
def test_what_no_budget_admits_is_neither_computed_nor_trained(split, tau):
    """Budget for one layer of the wide candidate, for two of the narrow one: the wide one's second layer stays as it was."""
    settings = config(budget=0.5, tau_start=tau, tau_min=0.01)
    searcher, state, batch, costs = one_step(split, settings)
    allowed = within_budget(cost_table(search_space(settings), split.data.num_items), 0.5)
    assert allowed.tolist() == [[True, False], [True, True]]
    held_out = endless_batch(
        scoring_samples(split, "validation", max_length=LENGTH), 0, max_length=LENGTH, batch_size=16, buckets=1, seed=0
    )
    before = copy(state.weights)
    for _ in range(24):
        state, _ = weight_step(state, batch, jax.random.key(1), allowed, searcher=searcher)
        state, _ = architecture_step(state, held_out, jax.random.key(2), costs, allowed, searcher=searcher)
    changed = {name: not same(before[name], state.weights[name]) for name in before if name.startswith("blocks")}
    assert changed == {"blocks_0_0": True, "blocks_0_1": True, "blocks_1_0": False, "blocks_1_1": True}
    for kind in ("weight", "architecture"):
        counts = np.asarray(state.computed[kind])
        assert counts[0, 1] == 0 and counts[0, 0] > 4 and counts[1, 0] >= counts[1, 1] > 4


def test_shares_of_another_shape_are_refused(split):
    settings = config()
    space = search_space(settings)
    strategy = STRATEGIES["easrec"]._replace(draw=lambda arch, key, moment: (jnp.ones(2) / 2, jnp.ones(2) / 2))
    searcher = make_searcher(Supernet(space, split.data.num_items, 0.1), settings.search, strategy)
    _, _, batch, _ = one_step(split, settings)
    with pytest.raises((ValueError, TypeError)):
        weight_step(init_search(searcher, jax.random.key(0)), batch, jax.random.key(1), None, searcher=searcher)


@pytest.mark.parametrize("budget", [0.05, 0.4])
def test_the_pick_never_exceeds_the_budget(split, budget):
    settings = config(budget=budget, epochs=1)
    space = search_space(settings)
    found = run(split, settings)
    candidate, depth = space.locate(found.architecture)
    assert cost_table(space, split.data.num_items)[candidate, depth - 1] <= budget


def test_the_pick_is_the_best_finalist_after_training_alone_or_the_most_probable_if_there_is_one(split):
    settings = config(epochs=1, finalists=3)
    found, alone = run(split, settings), run(split, config(epochs=1, finalists=1))
    assert same(found.arch, alone.arch) and same(found.weights, alone.weights)
    space, evaluator = search_space(settings), Evaluator(split, "validation", LENGTH)
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="all")
    training = RetrainConfig(epochs=1, batch_size=16, buckets=1, learning_rate=0.01)

    def figure(entry: dict) -> float:
        architecture = space.architecture(entry["candidate"], entry["depth"])
        network = Network(architecture, split.data.num_items, 0.1)
        weights = extract(found.weights, space, architecture)
        return fit(network, weights, samples, evaluator, settings=training, seed=0).ndcg

    figures = [figure(entry) for entry in found.finalists]
    assert len(figures) == 3 and figures == [entry["ndcg@10"] for entry in found.finalists]
    best = found.finalists[int(np.argmax(figures))]
    assert found.architecture == space.architecture(best["candidate"], best["depth"])
    alpha, beta = (np.asarray(jax.nn.softmax(x)) for x in (alone.arch.width, alone.arch.depth))
    assert alone.architecture == space.architecture(int(np.argmax(alpha)), int(np.argmax(beta)) + 1)


def test_without_a_budget_the_finalist_of_the_lowest_loss_plus_lambda_r_is_the_pick(split):
    """With lambda 0 the loss decides, with a large one R, which is that of the finalist itself: its cost times its depth over all."""
    space, evaluator = search_space(config()), Evaluator(split, "validation", LENGTH)
    costs = cost_table(space, split.data.num_items)
    free, dear = (run(split, config(finalists=4, cost_weight=weight)) for weight in (0.0, 1000.0))
    assert costs[space.locate(dear.architecture)[0], space.locate(dear.architecture)[1] - 1] == costs.min()
    assert free.architecture.to_json() == min(free.finalists, key=lambda f: f["cross_entropy"])["architecture"]
    for found, weight in ((free, 0.0), (dear, 1000.0)):
        for f in found.finalists:
            np.testing.assert_allclose(f["price"], weight * f["cost"] * f["depth"] / 2, rtol=1e-6)
    entry = free.finalists[0]
    architecture = space.architecture(entry["candidate"], entry["depth"])
    network: Any = Network(architecture, split.data.num_items, 0.1)
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="all")
    training = RetrainConfig(epochs=1, batch_size=16, buckets=1, learning_rate=0.01)
    weights = fit(
        network, extract(free.weights, space, architecture), samples, evaluator, settings=training, seed=0
    ).weights
    histories, targets = scoring_samples(split, "validation", max_length=LENGTH), split.targets("validation")
    batch = histories.batch(np.arange(len(targets)), LENGTH, len(targets))
    scores = np.asarray(network_scores(network)(weights, jnp.asarray(batch.items)), np.float64)[:, 1:]
    chosen = scores[np.arange(len(targets)), targets - 1]
    np.testing.assert_allclose(entry["cross_entropy"], np.mean(np.log(np.exp(scores).sum(1)) - chosen), rtol=1e-5)


def test_a_higher_price_never_picks_a_higher_r_of_the_same_finalists():
    rng, strategy = np.random.default_rng(0), STRATEGIES["easrec"]
    costs = np.outer([1.0, 0.6, 0.3], [0.25, 0.5, 0.75, 1.0])
    resource = strategy.price(costs, SearchConfig(cost_weight=1.0)).ravel()
    for _ in range(20):
        entropies, picked = rng.random(12), []
        for weight in (0.0, 0.1, 1.0, 10.0):
            prices = strategy.price(costs, SearchConfig(cost_weight=weight)).ravel()
            finalists = [{"id": n, "cross_entropy": entropies[n], "price": prices[n]} for n in range(12)]
            picked.append(best_of(finalists)["id"])
        assert picked[0] == entropies.argmin() and (np.diff(resource[picked]) <= 0).all()


def test_a_budget_below_the_smallest_network_is_refused_before_the_first_step(split):
    with pytest.raises(ValueError, match=r"search\.budget: expected at least 0\.\d+, the smallest network's cost"):
        run(split, config(budget=0.0001))


def test_a_search_cut_in_two_is_the_search_bit_for_bit(split, tmp_path):
    settings = config()
    whole = run(split, settings)
    checkpoints = Checkpoints(tmp_path)

    class Killed(Exception):
        pass

    def die(record):
        if record["epoch"] == 2:  # after the second epoch's steps, before its checkpoint
            raise Killed

    with pytest.raises(Killed):
        run(split, settings, checkpoints=checkpoints, on_epoch=die)
    resumed = run(split, settings, checkpoints=checkpoints, resume=True)
    assert same(resumed.weights, whole.weights) and same(resumed.arch, whole.arch)
    assert resumed.architecture == whole.architecture


def test_both_steps_are_traced_once(split):
    traces = []
    original = search_module._supernet_loss

    def counted(*args):
        traces.append(args[2].targets.ndim)
        return original(*args)

    search_module._supernet_loss = counted
    try:
        run(split, config(prune=(0.0, 0.25), epochs=2))
    finally:
        search_module._supernet_loss = original
    assert sorted(traces) == [1, 2]  # the architecture step, the weight step


def test_last_targets_train_the_bidirectional_supernet(split):
    settings = Config(
        data=DataConfig(targets="last"),
        model=ModelConfig(width=16, inner=16, layers=2, heads=2, max_length=LENGTH, attention="linrec", conv_width=0),
        search=config(epochs=1, batch_size=64).search,
    )
    samples = training_samples(split, max_length=LENGTH, targets="last", windows="all")
    records = []
    search(
        search_space(settings), samples, Evaluator(split, "validation", LENGTH), settings=settings.search,
        dropout=0.0, seed=0, on_epoch=records.append,
    )  # fmt: skip
    assert records[0]["loss"] < np.log(split.data.num_items)
