"""reproduce.py elastic at a tiny size: every way of training, the networks alone, and what the tables say of them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from tiny import SPLIT, TINY, poisoned

from easrec_jax.evaluate.metrics import gains
from easrec_jax.space import space_of
from experiments.cells import Cells
from experiments.elastic import ROWS, elastic_config, kendall, run_elastic
from experiments.slices_alone import beside_alone


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(results, Markdown, the cell of the recipe, the folder) of two rows and the networks alone."""
    folder = tmp_path_factory.mktemp("elastic")
    text = run_elastic(Cells(folder, TINY, SPLIT), seeds=1, rows=("elastic", "easrec", "alone"))
    cell = json.loads((folder / "cells" / "elastic-seed0.json").read_text())
    return json.loads((folder / "elastic.json").read_text()), text, cell, folder


def test_slices_stand_beside_the_same_networks_alone(made):
    results, text, cell, _ = made
    assert [row["row"] for row in results["rows"]] == ["elastic", "easrec"]
    for number, row in enumerate(results["networks"]):
        assert row["slices"] == pytest.approx(cell["slices"][number])
        assert row["gap"] == pytest.approx(row["slices"] / row["alone"] - 1)
    gaps = [row["gap"] for row in results["networks"]]
    assert results["rows"][0]["mean_gap"] == pytest.approx(np.mean(gaps))
    assert results["rows"][0]["worst_gap"] == pytest.approx(min(gaps))
    best = int(np.argmax(cell["slices"]))
    alone = [row["alone"] for row in results["networks"]]
    assert results["rows"][0]["regret"] == pytest.approx(max(alone) - alone[best])
    assert "| elastic |" in text and "of the FLOPs of all networks alone" in text


def test_slices_of_canet_stand_beside_the_networks_alone_whatever_their_order(made, tmp_path):
    results, folder = made[0], made[3]
    space, rng = space_of(TINY), np.random.default_rng(0)
    order, users = rng.permutation(len(space.networks)), 5
    networks = [space.architecture(int(n)).to_json() for n in order]
    ranks = {
        f"{part}/ranks": np.stack([rng.integers(0, 12, (len(order), users)), np.zeros((len(order), users), int)], 2)
        for part in ("validation", "test")
    }
    config = elastic_config(TINY, "planted")
    more, text = beside_alone(Cells(folder, TINY, SPLIT), config, [({"networks": networks}, ranks)])
    found = more["alone"]["test"]
    for place, number in enumerate(order):
        assert found["slices"][number] == pytest.approx(gains(ranks["test/ranks"][place])["ndcg@10"].mean())
    assert more["alone"]["validation"]["alone"] == pytest.approx([row["alone"] for row in results["networks"]])
    assert found["worst gap"] == pytest.approx(
        min(a / b - 1 for a, b in zip(found["slices"], found["alone"], strict=True))
    )
    assert more["alone"]["over all"] == pytest.approx(results["over_alone"]) and "on the front (FLOPs)" in text
    assert beside_alone(Cells(tmp_path, TINY, SPLIT), config, [({"networks": networks}, ranks)]) == ({}, "")


def test_test_items_choose_nothing(made, tmp_path):
    run_elastic(Cells(tmp_path, TINY, poisoned(SPLIT)), seeds=1, rows=("elastic",))
    again = json.loads((tmp_path / "cells" / "elastic-seed0.json").read_text())
    assert {name: again[name] for name in ("slices", "trained_on")} == {n: made[2][n] for n in ("slices", "trained_on")}


def test_each_row_leaves_one_thing_out():
    recipe = dataclasses.asdict(elastic_config(TINY, "planted").search)
    for row, changes in ROWS.items():
        assert all(recipe[name] != value for name, value in changes.items()), row


def test_tau_counts_pairs_in_the_same_order():
    assert kendall(np.array([1, 2, 3]), np.array([10, 20, 30])) == 1.0
    assert kendall(np.array([1, 2, 3]), np.array([3, 2, 1])) == -1.0
    assert kendall(np.array([1, 2, 3]), np.array([1, 3, 2])) == pytest.approx(1 / 3)
