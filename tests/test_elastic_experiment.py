"""reproduce.py elastic at a tiny size: every way of training, the networks alone, and what the tables say of them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from tiny import SPLIT, TINY, poisoned

from experiments.cells import Cells
from experiments.elastic import ROWS, elastic_config, kendall, run_elastic


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(results, Markdown, the cell of the recipe) of two rows and the networks alone."""
    folder = tmp_path_factory.mktemp("elastic")
    text = run_elastic(Cells(folder, TINY, SPLIT), seeds=1, rows=("elastic", "easrec", "alone"))
    cell = json.loads((folder / "cells" / "elastic-seed0.json").read_text())
    return json.loads((folder / "elastic.json").read_text()), text, cell


def test_slices_stand_beside_the_same_networks_alone(made):
    results, text, cell = made
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
