"""The elastic network: exits after every layer, the sandwich's step, networks measured as they stand, and their front."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chain import chain, search_chain, setting, task_of

from easrec_jax.architecture import Architecture
from easrec_jax.data.batches import Batch
from easrec_jax.files import read_json
from easrec_jax.models.cost import cost_table
from easrec_jax.models.masked import Masked
from easrec_jax.models.network import Network
from easrec_jax.models.supernet import Candidates
from easrec_jax.nas.distribution import Table
from easrec_jax.nas.finalists import Finalist
from easrec_jax.nas.front import front, measure, neighbours
from easrec_jax.nas.sandwich import sandwich_loss, sliced
from easrec_jax.runs.figures import draw_front
from easrec_jax.runs.search_folder import load_cut, write_search
from easrec_jax.space import FIRST_INNER, space_of

ITEMS, LENGTH = 60, 12
SMALL = {"model": {"layers": 3}}
PAPER = space_of(setting(**SMALL))
WIDE = space_of(setting(wide=True, heads=(2, 4), gate_layers=(0, 1), inner_prune=(0.0, 0.5)))
KINDS = {
    "own": (Candidates, PAPER), "corners": (partial(Candidates, sharing="corners"), PAPER), "masked": (Masked, WIDE)
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def supernet(request):
    kind, space = KINDS[request.param]
    return kind(space, ITEMS)


@pytest.fixture(scope="module")
def batch() -> Batch:
    rng = np.random.default_rng(1)
    items = rng.integers(1, ITEMS + 1, (4, LENGTH)).astype(np.int32)
    items[1, 5:] = 0
    return Batch(items, np.where(items > 0, np.roll(items, -1, 1), 0).astype(np.int32))


def test_an_exit_is_the_network_that_ends_there(supernet, batch, draw_weights):
    space, weights = supernet.space, draw_weights(supernet.init)
    exits = jax.jit(supernet.exits)
    for row in np.random.default_rng(0).permutation(list(space.exits))[:4].tolist():
        hidden = np.asarray(exits(weights, jnp.asarray(batch.items), jnp.int32(row)))
        for layer, number in enumerate(space.exits[row]):
            architecture = space.architecture(number)
            assert architecture.depth == layer + 1
            alone = Network(architecture, ITEMS).encode(supernet.cut(weights, architecture), jnp.asarray(batch.items))
            real = (batch.items > 0)[..., None]
            np.testing.assert_allclose(hidden[layer, ..., : architecture.width] * real, alone * real, atol=3e-5)
            assert not hidden[layer, ..., architecture.width :].any()
    assert exits._cache_size() == 1


def test_a_step_draws_every_width_alike_and_never_the_largest(supernet):
    rows, space = sliced(supernet), supernet.space
    assert space.architecture(rows.largest).depth == space.num_layers
    assert rows.largest not in rows.others and len(rows.others) == len(space.exits) - 1
    share = np.exp(rows.logits) / np.exp(rows.logits).sum()
    by_width = np.bincount(space.networks[rows.others, 0], share)
    np.testing.assert_allclose(by_width[by_width > 0], 1 / (by_width > 0).sum(), rtol=1e-5)


def test_only_the_largest_learns_before_the_others_enter(supernet, batch, draw_weights):
    """Before, the loss is the largest network's alone; after, more is added."""
    weights, table = draw_weights(supernet.init), Table.of(supernet.space, cost_table(supernet.space, ITEMS), None)
    run = jax.jit(jax.value_and_grad(partial(sandwich_loss, supernet=supernet, share=1.0)))
    (before, alone), (after, both) = (
        run(weights, batch, jax.random.key(3), table, opened=jnp.bool_(on)) for on in (False, True)
    )
    assert after > before > 0
    largest = supernet.space.architecture(sliced(supernet).largest)
    touched = jax.tree.map(lambda x: np.asarray(x).any(), supernet.cut(alone, largest))
    assert all(jax.tree.leaves(touched))
    assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(both), strict=True))


def test_budget_bars_exits_that_cost_too_much(batch):
    """With only the narrowest network of one layer allowed, other candidates' layers beyond the first learn nothing from it."""
    supernet = Candidates(PAPER, ITEMS)
    costs = cost_table(PAPER, ITEMS)
    table = Table.of(PAPER, costs, float(costs.min()))
    run = jax.jit(jax.grad(partial(sandwich_loss, supernet=supernet, share=0.5, opened=True)))
    weights = supernet.init(jax.random.key(0))
    narrowest, seen = int(np.argmin(PAPER.widths)), 0
    for seed in range(8):
        grads = run(weights, batch, jax.random.key(seed), table)
        if np.asarray(grads[f"blocks_0_{narrowest}"]["query"]["kernel"]).any():  # it was drawn
            seen += 1
            assert not np.asarray(grads[f"blocks_1_{narrowest}"]["query"]["kernel"]).any()
    assert seen


def test_a_front_is_what_nothing_beats_in_cost_and_accuracy():
    figures = [(0.1, 0.2), (0.2, 0.2), (0.3, 0.5), (0.3, 0.4), (0.5, 0.45), (1.0, 0.6)]
    networks = [Finalist(n, PAPER.largest, cost, ndcg=ndcg) for n, (cost, ndcg) in enumerate(figures)]
    assert [one.network for one in front(networks[::-1])] == [0, 2, 5]


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_as_many_networks_are_measured_as_may_be_the_ends_among_the_first(draw_weights, most):
    supernet, costs = Masked(WIDE, ITEMS), cost_table(WIDE, ITEMS)
    weights, told = draw_weights(supernet.init), []
    found = measure(supernet, weights, task_of(setting(wide=True)), costs, most=most, tell=told.append)
    assert len(found) == most == len(told) and found[0].cost == costs.min()
    assert most < 2 or found[-1].cost == costs.max()


def test_neighbours_differ_in_one_choice():
    for number in (0, len(WIDE.networks) // 2, len(WIDE.networks) - 1):
        mine, near = WIDE.networks[number], neighbours(WIDE, number)
        assert len(near) and number not in near
        for row in WIDE.networks[near]:
            layers = (row[FIRST_INNER:] >= 0) & (mine[FIRST_INNER:] >= 0)
            changed = (row[:FIRST_INNER] != mine[:FIRST_INNER]).sum()
            assert changed + (row[FIRST_INNER:] != mine[FIRST_INNER:])[layers].sum() == 1


# -------------------------------------------------------------------------------------------------------- whole searches

ELASTIC = {
    "strategy": "untrained", "sharing": "corners", "training": "sandwich", "ranking": "measured", "finalists": 1,
    "schedule": "cosine", "epochs": 10, "warmup_epochs": 4, "patience": 20,
}  # fmt: skip


def test_one_elastic_run_trains_every_network_and_picks_the_best_within_the_budget():
    space, found = search_chain(setting(**ELASTIC))
    assert len(found.measured) == len(space.networks) and found.finished
    by_width = {w: max(f.ndcg for f in found.measured if f.architecture.width == w) for w in space.widths}
    assert min(by_width.values()) > 0.2 and found.architecture.width == max(space.widths)
    best = max(found.measured, key=lambda f: f.ndcg or 0.0)
    assert found.architecture == best.architecture
    costs = np.array([f.cost for f in found.measured])
    assert (np.diff(costs) >= 0).all()


@pytest.mark.parametrize("settings", [{"training": "sandwich"}, {"ranking": "measured"}, {"sharing": "corners"}])
def test_settings_of_a_supernet_are_refused_where_none_is_trained(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"search.{name}: expected '.*', as random trains no supernet, got"):
        search_chain(setting(strategy="random", **settings))
    with pytest.raises(ValueError, match="search.warmup_epochs: expected fewer than search.epochs = 2"):
        setting(training="sandwich", epochs=2, warmup_epochs=2)


def test_a_large_space_is_measured_by_evolution_in_part():
    config = setting(wide=True, heads=(2, 4), gate_layers=(0, 1), inner_prune=(0.0, 0.5), **(ELASTIC | {
        "sharing": "", "epochs": 1, "warmup_epochs": 0, "measured": 12, "budget": 0.8
    }))  # fmt: skip
    space, found = search_chain(config)
    assert len(found.measured) == 12 == len({f.network for f in found.measured}) < len(space.networks)
    assert all(f.cost <= 0.8 for f in found.measured)


def test_what_is_measured_is_the_network_cut_out():
    config = setting(**(ELASTIC | {"epochs": 1, "warmup_epochs": 0}))
    space, found = search_chain(config)
    task = task_of(config)
    again = measure(found.supernet, found.weights, task, cost_table(space, ITEMS), most=99)
    assert [f.ndcg for f in again] == [f.ndcg for f in found.measured]
    assert chain() is task.split


def test_the_folder_holds_every_measured_network_and_its_front(tmp_path):
    config = setting(**(ELASTIC | {"epochs": 1, "warmup_epochs": 0}))
    space, found = search_chain(config)
    write_search(tmp_path, found, config, chain().data)
    networks = read_json(tmp_path / "front.json")["networks"]
    assert [space.network(Architecture.from_json(one)) for one in networks] == [f.network for f in found.measured]
    best = [one for one in networks if one["front"]]
    assert best[0] == networks[0] and max(n["ndcg@10"] for n in networks) == best[-1]["ndcg@10"]
    draw_front(networks, config, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 5000
    architecture = Architecture.from_json(best[-1])
    cut, _, _ = load_cut(tmp_path, config, architecture, "corners")
    assert jax.tree.all(jax.tree.map(np.array_equal, cut, found.supernet.cut(found.weights, architecture)))
