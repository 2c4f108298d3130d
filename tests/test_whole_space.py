"""Every network of a space trained alone: what is computed from finished cells, and that test items choose nothing."""

from __future__ import annotations

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from tiny import SPLIT, TINY, poisoned

from easrec_jax.space import space_of
from easrec_jax.train.loop import QUIET
from easrec_jax.train.task import samples_of
from experiments import training, whole_space
from experiments.cells import Cells
from experiments.compare import pareto
from experiments.effort import batch_shapes, search_flops
from experiments.space_analysis import analyse, random_expected
from experiments.spaces import paper_grid
from experiments.training import alone_cell, scored_search_cell
from experiments.whole_space import run_space


def test_poisoned_test_items_change_no_pick_no_epoch_and_no_validation_figure():
    space = space_of(TINY)
    cells = []
    for data in (SPLIT, poisoned(SPLIT)):
        network = alone_cell(space.architecture(2), data, TINY, QUIET)
        found = scored_search_cell(paper_grid(TINY), data, TINY, QUIET)
        assert network is not None and found is not None
        assert found.pop("seconds") > 0 and found.pop("cpu_seconds") > 0
        ranks = {key: rank for key, rank in network.pop("ranks").items() if key.startswith("validation/")}
        cells.append((network.pop("test"), ranks, network, found))
    (test, ranks, *selected), (other, others, *chosen) = cells
    assert ranks.keys() == others.keys() and all(np.array_equal(ranks[key], others[key]) for key in ranks)
    assert selected == chosen and len(chosen[1]["finalists"]) == 2
    assert test != other


STRATEGIES = ("easrec", "random", "exhaustive")


@pytest.fixture(scope="module")
def one_supernet():
    """Of the four: each compiles steps of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_space, "SUPERNETS", STRATEGIES[:1])
        yield


@pytest.fixture(scope="module")
def finished(one_supernet, tmp_path_factory):
    """The space at TINY: its folder, the text, and the networks that were trained alone in turn."""
    folder, touched, original = tmp_path_factory.mktemp("space"), [], training.retrain

    def counted(architecture, *args, **options):
        touched.append(architecture)
        return original(architecture, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "retrain", counted)
        patch.setattr(jax, "clear_caches", lambda: None)  # cells of one shape share their programs
        return folder, run_space(Cells(folder, TINY, SPLIT), seeds=1), touched


def test_finished_cells_are_not_run_again_and_the_results_are_written(finished, monkeypatch):
    folder, first, touched = finished
    assert touched == [n for row in paper_grid(TINY).networks for n in row]  # each looks at the test items once
    monkeypatch.setattr(training, "retrain", lambda *a, **o: pytest.fail("a finished cell was run again"))
    monkeypatch.setattr(training, "search", lambda *a, **o: pytest.fail("a finished cell was run again"))
    assert run_space(Cells(folder, TINY, SPLIT), seeds=1) == first == (folder / "space.md").read_text().rstrip("\n")
    results = json.loads((folder / "space.json").read_text())
    assert len(results["networks"]) == 4 and {r["what"] for r in results["picks"]} == set(STRATEGIES)
    assert len((folder / "space.csv").read_text().splitlines()) == 1 + 4 + 3
    assert results["about"]["cells"] == 6 and all(r["training_flops"] > 0 for r in results["networks"])
    assert (folder / "space.png").read_bytes().startswith(b"\x89PNG")
    assert "| random |" in first and "random search over all its draws of" in first
    p = [r["p"] for r in results["networks"]]
    assert p.count(None) == 1 and all(value is None or 0 <= value <= 1 for value in p)  # None: the oracle itself
    assert (
        run_space(Cells(folder, TINY, SPLIT), seeds=1, rows=("easrec",)) == first
    )  # what is finished stays in the table
    with pytest.raises(ValueError, match="cells of another config .*model.width: 8 there, 16 here"):
        Cells(folder, dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, width=16)), SPLIT)


def test_a_search_counts_what_it_computed(finished):
    folder = finished[0]
    cell = json.loads((folder / "cells" / "search-easrec-seed0.json").read_text())
    shapes = batch_shapes(samples_of(TINY, SPLIT), TINY.model.max_length, TINY.search)
    for step in ("weight", "architecture"):
        steps, blocks = cell["drawn"][step]["steps"], np.asarray(cell["drawn"][step]["blocks"])
        assert steps == 2 * shapes.total()
        assert (blocks <= steps).all() and (blocks < steps).any() and blocks[:, 0].sum() >= steps
    (pick,) = [r for r in json.loads((folder / "space.json").read_text())["picks"] if r["what"] == "easrec"]
    everything = {
        step: of | {"blocks": np.full_like(of["blocks"], of["steps"]).tolist()} for step, of in cell["drawn"].items()
    }
    most = search_flops(
        paper_grid(TINY), SPLIT.data.num_items, shapes, everything, cell["finalists"], TINY.search, every_position=True
    )
    assert 0 < pick["training_flops"] < most


def cell(validation: float, seconds: float = 1.0) -> dict:
    part = {"full": {"ndcg@10": validation}}
    price = {"cpu_seconds": seconds, "training_flops": 10 * seconds}
    return {"validation": part, "test": {"full": {"ndcg@10": validation / 2}}} | price


def test_regret_cost_and_rank_correlation_are_those_of_the_finished_cells():
    """Two seeds of a space of two widths and two depths: the wide ones cost 3 and 4, the narrow ones 1 and 2."""
    flops, ms = np.array([[3.0, 4.0], [1.0, 2.0]]), np.ones((2, 2))
    alone = [[[cell(0.6), cell(0.5)], [cell(0.2), cell(0.4)]], [[cell(0.8), cell(0.7)], [cell(0.2), cell(0.2)]]]
    scores = [[0.5, 0.4], [0.1, 0.3]]
    searches = [
        {
            "strategy": "darts",
            "seed": 0,
            "pick": [0, 2],
            "likeliest": [0, 2],
            "finalists": [],
            "supernet_scores": scores,
        },
        {
            "strategy": "easrec",
            "seed": 1,
            "pick": [1, 1],
            "likeliest": [1, 1],
            "finalists": [],
            "supernet_scores": scores,
        },
    ]
    price = {"cpu_seconds": 2.0, "training_flops": 4.0}
    results = analyse(alone, [s | price for s in searches], flops, ms, TINY)
    darts, easrec, *others = results["picks"]
    assert darts["validation"] == pytest.approx(0.6) and darts["regret"] == pytest.approx(0.1)  # 1 x wide: 0.7 for less
    assert darts["relative_regret"] == pytest.approx(1 / 7)
    assert (
        easrec["regret"] == 0.0
        and easrec["cpu_seconds_over_exhaustive"] == 0.5
        and easrec["test"] == pytest.approx(0.1)
    )
    assert easrec["training_flops_over_exhaustive"] == 0.1
    assert darts["kendall"] == pytest.approx(1.0)
    exhaustive = [r for r in others if r["what"] == "exhaustive"]  # within a budget of 0.6 of 4: the narrow ones
    assert [(r["candidate"], r["depth"]) for r in exhaustive] == [(1, 2), (1, 1)]
    assert all(r["training_flops_over_exhaustive"] == 0.5 for r in exhaustive)
    assert (results["oracle"]["candidate"], results["oracle"]["depth"]) == (1, 2)
    assert [r["validation"] for r in results["random"]] == pytest.approx([0.25, 0.3])  # means .2 and .3
    assert [r["training_flops"] for r in results["random"]] == pytest.approx([0.25, 0.5])
    assert darts["training_flops_over_exhaustive_with_pick"] == pytest.approx(0.1 + 0.25)
    assert all(r["training_flops_over_exhaustive_with_pick"] == 0.5 for r in exhaustive)
    front = {(r["candidate"], r["depth"]): r["front"] for r in results["networks"]}
    assert front == {(0, 1): True, (0, 2): False, (1, 1): True, (1, 2): True}
    sd = {(r["candidate"], r["depth"]): r["validation_sd"] for r in results["networks"]}
    assert sd[0, 1] == pytest.approx(np.std([0.6, 0.8], ddof=1)) and sd[1, 1] == 0.0


def test_kendalls_tau_is_over_the_networks_that_a_search_may_pick():
    """Supernet and stand-alone scores disagree about the two wide networks alone, which a budget of 0.6 leaves out."""
    flops, alone = np.array([[3.0, 4.0], [1.0, 2.0]]), [[[cell(0.6), cell(0.5)], [cell(0.2), cell(0.4)]]]
    found = {"seed": 0, "pick": [1, 1], "likeliest": [1, 1], "finalists": [], "cpu_seconds": 1.0, "training_flops": 1.0}
    found |= {"supernet_scores": [[0.4, 0.5], [0.1, 0.3]]}
    searches = [found | {"strategy": name} for name in ("darts", "easrec")]
    darts, easrec = analyse(alone, searches, flops, np.ones((2, 2)), TINY)["picks"][:2]
    assert darts["kendall"] == pytest.approx(4 / 6) and easrec["kendall"] == pytest.approx(1.0)
    assert darts["kendall_p"] == pytest.approx(8 / 24) and easrec["kendall_p"] == 1.0  # of 4! and 2! orders, two-sided


def test_the_ceiling_of_tau_is_how_well_two_seeds_of_the_networks_agree():
    flops = np.array([[3.0, 4.0], [1.0, 2.0]])
    alone = [[[cell(0.6), cell(0.5)], [cell(0.2), cell(0.4)]], [[cell(0.5), cell(0.6)], [cell(0.2), cell(0.4)]]]
    found = analyse(alone, [], flops, np.ones((2, 2)), TINY)
    assert found["ceiling_all"] == pytest.approx(4 / 6) and found["ceiling"] == pytest.approx(1.0)
    assert analyse(alone[:1], [], flops, np.ones((2, 2)), TINY)["ceiling"] is None


def test_random_search_over_all_its_draws_is_the_mean_over_subsets():
    validation = np.array([[[0.3, 0.1, 0.9], [0.4, 0.15, 0.2]], [[0.1, 0.3, 0.8], [0.2, 0.6, 0.5]]])
    admitted, mean = validation.mean(0) < 0.8, validation.mean(0)
    price = np.array([np.arange(6.0).reshape(2, 3) + 1, np.full((2, 3), 2.0)])
    found = random_expected(validation, mean, admitted, price)
    places = list(np.argwhere(admitted))
    for drawn, row in enumerate(found, 1):
        judged = [
            mean[tuple(max(chosen, key=lambda at: seed[tuple(at)]))]
            for seed in validation
            for chosen in itertools.combinations(places, drawn)
        ]
        share = np.mean([drawn * np.mean(p[admitted]) / p.sum() for p in price])
        assert row == {
            "drawn": drawn, "validation": pytest.approx(np.mean(judged)), "training_flops": pytest.approx(share)
        }  # fmt: skip
    assert len(found) == 5


def test_the_front_is_what_nothing_dominates():
    rng = np.random.default_rng(0)
    for _ in range(20):
        cost, value = rng.integers(0, 5, (3, 4)).astype(float), rng.integers(0, 5, (3, 4)).astype(float)
        for (i, j), on_front in np.ndenumerate(pareto(cost, value)):
            dominated = (cost <= cost[i, j]) & (value >= value[i, j]) & ((cost < cost[i, j]) | (value > value[i, j]))
            assert on_front == (not dominated.any())
