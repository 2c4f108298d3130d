"""The adarec search: what is drawn, the supernet against the networks cut out of it, both steps, and what is found."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chain import ITEMS, LENGTH, setting, task_of

from easrec_jax.architecture import Architecture
from easrec_jax.cells import EDGES, NAMES, operation_cost
from easrec_jax.config import AdarecConfig, DistillConfig
from easrec_jax.data.batches import epoch_batches, scoring_samples
from easrec_jax.models.cell_supernet import CellSupernet
from easrec_jax.models.kinds import network_of
from easrec_jax.models.network import Network
from easrec_jax.nas import adarec
from easrec_jax.nas.adarec import DRAWS, draw_cell, likeliest_cell, search_cells, temperature
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.distillation import DISTILLATION, Taught
from easrec_jax.train.loop import Run

SUPERNET = CellSupernet(width=8, depth=2, max_length=LENGTH, num_items=ITEMS, dropout=0.1)
TEACHER = Network(Architecture(12, 12, 3, 2, LENGTH, "softmax", 0), ITEMS)
ALPHA = jnp.asarray(np.random.default_rng(0).standard_normal((len(EDGES), len(NAMES))), jnp.float32)
COSTS = np.array([operation_cost(name) for name in NAMES])
PLAN = {"strategy": "adarec", "epochs": 2, "warmup_epochs": 0, "every": 2, "budget": None}


def settings_of(**fields):
    return setting(**(PLAN | fields)).search


def taught_by(share: float = 0.5) -> Taught:
    return Taught(TEACHER, TEACHER.init(jax.random.key(5)), DistillConfig(share=share, teacher="sasrec"), "abc")


@pytest.fixture(scope="module")
def weights():
    return SUPERNET.init(jax.random.key(1))


@pytest.fixture(scope="module")
def items():
    drawn = np.random.default_rng(5).integers(1, ITEMS + 1, (3, LENGTH))
    return jnp.asarray(np.where(np.arange(LENGTH) < np.array([[12], [7], [1]]), drawn, 0), jnp.int32)


@pytest.mark.parametrize("shift", range(4))
def test_what_is_drawn_is_the_network_cut_out_alone_and_mixed(weights, items, shift):
    drawn = (jnp.arange(len(EDGES)) * 3 + shift * 2) % len(NAMES)
    network = network_of(SUPERNET.architecture(tuple(NAMES[int(n)] for n in drawn)), ITEMS)
    cut = SUPERNET.cut(weights, network.architecture)
    assert jax.tree.structure(cut) == jax.tree.structure(network.init(jax.random.key(0)))
    exits = jax.jit(SUPERNET.exits)
    for mine, other, alone in zip(
        exits(weights, items, drawn), exits(weights, items, jax.nn.one_hot(drawn, len(NAMES))), network.exits(cut, items),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(mine, alone, atol=1e-5)
        np.testing.assert_allclose(other, alone, atol=1e-5)
    scores, given = SUPERNET.alone(weights, network.architecture.operations)
    expected = network.encode_last(cut, items) @ cut["tables"]["items"].T
    np.testing.assert_allclose(scores(given, items), expected, atol=1e-5)


def test_a_weight_step_moves_the_drawn_operations_alone(weights, items):
    drawn = jnp.array([NAMES.index("conv3_2")] * 3 + [NAMES.index("max3")] * 3)
    moved = jax.grad(lambda weights: jnp.sum(jnp.sin(SUPERNET.exits(weights, items, drawn)[-1])))(weights)
    for edge, name in itertools.product(range(len(EDGES)), NAMES):
        taken = any(np.abs(x[1, edge]).max() > 1e-7 for x in jax.tree.leaves(moved["cells"]["edges"].get(name, {})))
        assert taken == (edge < 3 and name == "conv3_2")


def test_draws_follow_alpha_and_gradients_go_through_the_soft_shares():
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn, shares = jax.jit(jax.vmap(lambda key: draw_cell(ALPHA, key, 0.5, None)))(keys)
    frequency = np.stack([np.bincount(drawn[:, edge], minlength=len(NAMES)) for edge in range(len(EDGES))]) / len(keys)
    np.testing.assert_allclose(frequency, jax.nn.softmax(ALPHA), atol=0.03)
    np.testing.assert_allclose(shares, jax.nn.one_hot(drawn, len(NAMES)), atol=1e-6)
    worth = jnp.arange(float(len(NAMES)))
    gradient = jax.grad(lambda alpha: jnp.sum(draw_cell(alpha, jax.random.key(7), 0.5, None)[1] @ worth))(ALPHA)
    noise = jax.random.gumbel(jax.random.key(7), (DRAWS, *ALPHA.shape))[0]
    soft = jax.grad(lambda alpha: jnp.sum(jax.nn.softmax((jax.nn.log_softmax(alpha) + noise) / 0.5) @ worth))(ALPHA)
    np.testing.assert_allclose(gradient, soft, rtol=1e-4, atol=1e-5)


def test_nothing_beyond_the_budget_is_drawn_where_a_draw_stays_within():
    def drawn_costs(alpha, budget):
        keys = jax.random.split(jax.random.key(1), 300)
        drawn, _ = jax.jit(jax.vmap(lambda key: draw_cell(alpha, key, 1.0, budget)))(keys)
        return COSTS[np.asarray(drawn)].mean(1)

    assert (drawn_costs(ALPHA, 0.35) <= 0.35 + 1e-6).all() and (drawn_costs(ALPHA, None) > 0.35).any()
    dear = jnp.asarray(6.0 * COSTS[None, :].repeat(len(EDGES), 0), jnp.float32)
    assert drawn_costs(dear, 0.01).mean() < drawn_costs(dear, None).mean() - 0.1  # the cheapest of them, then


def test_the_pick_is_the_likeliest_cell_within_the_budget():
    alpha = np.asarray(ALPHA)
    assert likeliest_cell(alpha, None) == tuple(NAMES[n] for n in alpha.argmax(1))
    for budget in (0.0, 0.3, 0.5):
        pick = likeliest_cell(alpha, budget)
        cost, score = (sum(f(n, edge) for edge, n in enumerate(map(NAMES.index, pick))) for f in (
            lambda n, edge: COSTS[n] / len(EDGES), lambda n, edge: alpha[edge, n]))  # fmt: skip
        assert cost <= budget + 1e-6
        rng = np.random.default_rng(2)
        others = rng.integers(0, len(NAMES), (20_000, len(EDGES)))
        allowed = others[COSTS[others].mean(1) <= budget + 1e-6]
        assert (alpha[np.arange(len(EDGES)), allowed].sum(1) <= score + 1e-9).all() and (budget == 0 or len(allowed))


def searcher_of(**fields):
    taught = taught_by()
    return adarec.make_searcher(SUPERNET, settings_of(**fields), 10, taught.teacher, taught.settings), taught


def test_temperature_falls_every_few_epochs():
    searcher, _ = searcher_of(adarec=AdarecConfig(tau_start=2.0, tau_decay=0.5, tau_epochs=3))
    assert [float(temperature(step, searcher)) for step in (0, 29, 30, 60)] == [2.0, 2.0, 1.0, 0.5]


def test_each_step_moves_its_own_parameters_and_a_price_moves_alpha_from_dear_operations():
    task = task_of(setting(**PLAN))
    (batch, *_) = epoch_batches(task.samples, max_length=LENGTH, batch_size=16, buckets=1, seed=0, epoch=0)
    held_out = scoring_samples(task.split, "validation", max_length=LENGTH).batch(np.arange(16), LENGTH, 16)

    def alpha_of(cost_weight: float):
        searcher, taught = searcher_of(adarec=AdarecConfig(cost_weight=cost_weight, arch_weight_decay=0.0))
        state = adarec.init_search(searcher, taught, jax.random.key(0))
        before = np.asarray(state.arch), jax.tree.map(np.asarray, state.weights)
        state, _ = adarec.alpha_step(state, held_out, jax.random.key(2), taught.weights, searcher=searcher)
        for mine, theirs in zip(jax.tree.leaves(state.weights), jax.tree.leaves(before[1]), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        alpha = np.asarray(state.arch)
        assert np.abs(alpha - before[0]).max() > 1e-4
        state, figures = adarec.weight_step(state, batch, jax.random.key(1), taught.weights, searcher=searcher)
        np.testing.assert_array_equal(state.arch, alpha)
        assert int(state.step) == 1 and np.isfinite(figures["loss"])
        assert np.ptp(state.weights[DISTILLATION]["teacher"]) > 1e-5
        return alpha - before[0]

    moved = alpha_of(1000.0)
    assert moved[:, COSTS == 0].mean() > 0 > moved[:, COSTS == 1].mean()
    assert np.abs(alpha_of(0.0)).max() > 1e-4


def test_a_search_finds_a_cell_and_stops_and_resumes_bit_for_bit(tmp_path):
    task, settings = task_of(setting(**PLAN)), settings_of(budget=0.5)
    records = []
    found = search_cells(SUPERNET, task, taught_by(), settings=settings, run=Run(on_epoch=records.append))
    assert found.finished and found.architecture.cost <= 0.5 and found.epochs == 2
    assert np.shape(records[-1]["shares"]["operations"]) == (len(EDGES), len(NAMES))
    assert records[-1]["pick"]["operations"] == list(found.architecture.operations)
    assert DISTILLATION not in found.weights and "best_epoch" not in records[-1]

    class Stop(Exception):
        pass

    def stop(record):
        raise Stop

    with pytest.raises(Stop):
        kept = Run(Checkpoints(tmp_path), on_epoch=lambda record: None)
        cut = settings_of(budget=0.5)
        original = adarec.alpha_step
        calls = []

        def counted(*args, **fields):
            calls.append(1)
            if len(calls) > 4:
                raise Stop
            return original(*args, **fields)

        adarec.alpha_step = counted
        try:
            search_cells(SUPERNET, task, taught_by(), settings=cut, run=kept)
        finally:
            adarec.alpha_step = original
    resumed = search_cells(SUPERNET, task, taught_by(), settings=settings, run=Run(Checkpoints(tmp_path), resume=True))
    for mine, theirs in zip(
        jax.tree.leaves((found.weights, found.arch)), jax.tree.leaves((resumed.weights, resumed.arch)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(ValueError, match="teacher: 'abc' there, 'other' here"):
        search_cells(
            SUPERNET,
            task,
            taught_by()._replace(digest="other"),
            settings=settings,
            run=Run(Checkpoints(tmp_path), resume=True),
        )


@pytest.mark.parametrize("taught", [None, taught_by()], ids=["labels", "teacher"])
def test_a_search_learns_the_chain(taught):
    """One convolution is enough for it; chance is .07, the most popular items reach less than .2."""
    settings = settings_of(epochs=8, learning_rate=0.02, arch_learning_rate=0.01)
    records = []
    search_cells(SUPERNET, task_of(setting(**PLAN)), taught, settings=settings, run=Run(on_epoch=records.append))
    assert records[-1]["ndcg@10"] > 0.3
