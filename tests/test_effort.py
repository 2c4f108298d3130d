"""FLOPs of training: the products of the program, and of a search the blocks that its steps really computed."""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from products import product_flops

from easrec_jax.architecture import Architecture
from easrec_jax.config import EasrecConfig, RetrainConfig, SearchConfig
from easrec_jax.data.batches import Batch, training_samples
from easrec_jax.models.cost import request_flops, token_flops
from easrec_jax.models.network import Network
from easrec_jax.models.supernet import Candidates
from easrec_jax.nas.distribution import Table
from easrec_jax.nas.steps import architecture_step, init_search, make_searcher, moment_of, weight_step
from easrec_jax.nas.strategies import easrec, proxyless
from easrec_jax.nas.strategies.known import STRATEGIES
from easrec_jax.space import Space
from experiments.effort import alone_flops, batch_shapes, epochs_run, search_flops, steps_made
from experiments.spaces import Grid

ITEMS, LENGTH = 20, 8
SPACE = Space(Architecture(8, 12, 2, 2, LENGTH, "softmax", 2), (8, 4), (12, 6), (2,), (2,), ("softmax",))
SHAPES = Counter({(4, 6): 2, (LENGTH, 3): 5})  # (length, rows): batches
GRID = Grid([[SPACE.architecture(2 * i + j) for j in (0, 1)] for i in (0, 1)], SPACE.largest)
STEPS = sum(SHAPES.values())


def test_training_a_network_is_three_times_the_products_of_its_forward_pass():
    network = Network(SPACE.largest, ITEMS)
    weights = jax.eval_shape(network.init, jax.random.key(0))

    def forward(weights, items):
        return network.encode(weights, items) @ weights["tables"]["items"].T

    expected = 0
    for (length, rows), count in SHAPES.items():
        jaxpr = jax.make_jaxpr(forward)(weights, jax.ShapeDtypeStruct((rows, length), jnp.int32)).jaxpr
        padding = 2 * rows * length * SPACE.largest.width  # item 0 is scored too
        expected += 3 * count * (product_flops(jaxpr) - padding)
    assert alone_flops(SPACE.largest, ITEMS, SHAPES, every_position=True) == expected


def test_one_sample_a_prefix_is_a_request_each():
    requests = sum(
        count * rows * request_flops(SPACE.largest, ITEMS, length) for (length, rows), count in SHAPES.items()
    )
    assert alone_flops(SPACE.largest, ITEMS, SHAPES, every_position=False) == 3 * requests


def test_shapes_are_those_of_the_batches(split):
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="all")
    shapes = batch_shapes(samples, LENGTH, RetrainConfig(batch_size=4, buckets=2))
    lengths = samples.stop - samples.start
    assert set(shapes) == {(4, 8), (8, 4)}
    assert shapes[4, 8] == -(-np.sum(lengths <= 4) // 8) and shapes[8, 4] == -(-np.sum(lengths > 4) // 4)


def test_early_stopping_is_in_the_price():
    settings = RetrainConfig(epochs=30, patience=10)
    assert [epochs_run({"best_epoch": best}, settings) for best in (3, 20, 28)] == [13, 30, 30]


def test_a_search_that_drew_one_network_all_the_time_is_training_it_with_its_blocks_computed_once_more():
    blocks = [[STEPS, STEPS], [0, 0]]
    none = {"steps": 0, "blocks": [[0, 0], [0, 0]]}
    drawn = {"weight": {"steps": STEPS, "blocks": blocks}, "architecture": none}
    found = search_flops(GRID, ITEMS, SHAPES, drawn, [], SearchConfig(), every_position=True)
    again = sum(
        count * rows * length * 2 * token_flops(SPACE.largest, length) for (length, rows), count in SHAPES.items()
    )
    assert found == pytest.approx(alone_flops(SPACE.largest, ITEMS, SHAPES, every_position=True) + again)
    entries = [{"architecture": SPACE.architecture(number).to_json()} for number in (0, 3)]
    more = search_flops(GRID, ITEMS, SHAPES, drawn, entries, SearchConfig(finalist_epochs=3), every_position=True)
    alone = [alone_flops(SPACE.architecture(number), ITEMS, SHAPES, every_position=True) for number in (0, 3)]
    assert more - found == pytest.approx(3 * sum(alone))


@pytest.mark.parametrize("step", ["weight", "architecture"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_step_of_the_supernet_costs_the_products_of_its_program(step, depth):
    """With every block computed once, in softmax attention, whose products the closed form counts exactly.

    Of blocks that get a gradient of their input alone, gates are less than 3 passes and products of two sequences more.
    """
    space = Space(Architecture(32, 48, depth, 2, LENGTH, "softmax", 2), (32, 16), (48, 24), (2,), (2,), ("softmax",))
    settings = SearchConfig(strategy="darts", budget=None)
    searcher = make_searcher(Candidates(space, ITEMS), settings, STRATEGIES["darts"], (0, 1))
    state = jax.eval_shape(lambda key: init_search(searcher, key), jax.random.key(0))
    rows = jax.ShapeDtypeStruct((3, LENGTH), jnp.int32)
    batch = Batch(rows, rows if step == "weight" else jax.ShapeDtypeStruct((3,), jnp.int32))
    key, table = jax.random.key(0), Table.of(space, np.ones((2, depth)), None)
    if step == "weight":
        jaxpr = jax.make_jaxpr(lambda s, b: weight_step(s, b, key, table, searcher=searcher))(state, batch).jaxpr
    else:
        jaxpr = jax.make_jaxpr(lambda s, b: architecture_step(s, b, key, table, searcher=searcher))(state, batch).jaxpr
    none = {"steps": 0, "blocks": np.zeros((2, depth), int)}
    drawn = dict.fromkeys(("weight", "architecture"), none) | {step: {"steps": 1, "blocks": np.ones((2, depth), int)}}
    grid = Grid([[space.architecture(depth * i + j) for j in range(depth)] for i in (0, 1)], space.largest)
    found = search_flops(grid, ITEMS, Counter({(LENGTH, 3): 1}), drawn, [], settings, every_position=True)
    assert found == pytest.approx(product_flops(jaxpr), rel=0.01 if step == "weight" or depth == 1 else 0.11)


@pytest.mark.parametrize("name", ["easrec", "proxyless"])  # whose draws differ from step to step
def test_the_blocks_that_steps_compute_are_counted(name):
    settings = SearchConfig(
        strategy=name,
        budget=0.9 if STRATEGIES[name].keeps_budget else None,
        easrec=EasrecConfig(tau_start=0.02, tau_min=0.01),
    )
    searcher = make_searcher(Candidates(SPACE, ITEMS), settings, STRATEGIES[name], (0, 1))
    state = init_search(searcher, jax.random.key(0))
    rows = jnp.ones((3, LENGTH), jnp.int32)
    table = Table.of(SPACE, np.array([[0.5, 1.0], [0.2, 0.6]]), settings.budget)
    relaxed = {"easrec": easrec.draw, "proxyless": proxyless.two_paths}[name]
    expected = {"weight": np.zeros((2, 2), int), "architecture": np.zeros((2, 2), int)}
    for _ in range(12):
        for kind, shares in (("weight", searcher.strategy.draw), ("architecture", relaxed)):
            step = state.step
            key, _ = jax.random.split(jax.random.fold_in(jax.random.key(3), step))
            drawn = np.asarray(shares(state.arch, key, moment_of(step, table, searcher)))
            expected[kind] += np.stack([drawn.sum(1), drawn[:, 1]], 1) > 1e-3
            if kind == "weight":
                state, _ = weight_step(state, Batch(rows, rows), jax.random.key(3), table, searcher=searcher)
            else:
                state, _ = architecture_step(
                    state, Batch(rows, rows[:, 0]), jax.random.key(3), table, searcher=searcher
                )
    for kind, blocks in expected.items():
        np.testing.assert_array_equal(state.computed[kind], blocks)
    assert expected["weight"].min() < 12


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("warmup", [0, 2])
def test_architecture_steps_follow_every_fth_weight_step_after_the_warm_up(every, warmup):
    settings = SearchConfig(every=every, warmup_epochs=warmup, epochs=5)
    made = [n for n in range(5 * 7) if (n + 1) % every == 0 and n >= warmup * 7]
    assert steps_made(settings, 7, 5) == {"weight": 35, "architecture": len(made)}
    assert steps_made(settings, 7, 5, learns=False) == {"weight": 35, "architecture": 0}
