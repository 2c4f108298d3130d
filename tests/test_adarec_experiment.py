"""reproduce.py adarec at a tiny size: the teacher, the student, its cell otherwise, and what the tables say of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny import SPLIT, TINY, poisoned

from easrec_jax.cells import CellArchitecture
from easrec_jax.evaluate.metrics import gains
from experiments.adarec import OF_CELL, ROWS, adarec_config, random_cells, run_adarec
from experiments.adarec_tables import LABELS, PAIRS
from experiments.cells import Cells

CELL = CellArchitecture(8, 2, ("conv3_1", "zero", "max3", "conv5_2", "identity", "conv3_4"), 12)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, results, Markdown) of some rows. Half a minute: a teacher, two searches and four trainings, each compiled."""
    folder = tmp_path_factory.mktemp("adarec")
    text = run_adarec(Cells(folder, TINY, SPLIT), seeds=1, dataset="planted", rows=("alone", "scores", "wide"))
    return folder, json.loads((folder / "adarec.json").read_text()), text


def cell_of(folder, row):
    return json.loads((folder / "cells" / f"adarec-{row}-seed0.json").read_text())


def test_rows_are_of_one_cell_and_stand_beside_its_teacher(made):
    folder, results, text = made
    assert [row["row"] for row in results["rows"]] == ["nextitnet", "student", "alone", "scores", "wide"]
    cells = {row: cell_of(folder, row) for row in ("student", "alone", "scores")}
    operations = [cell["architecture"]["operations"] for cell in cells.values()]
    assert operations[0] == operations[1] == operations[2]
    assert cells["alone"]["changes"]["distill.share"] == 0.0 if "distill.share" in cells["alone"]["changes"] else True
    assert cells["scores"]["changes"]["distill.terms"] == ["scores"]
    ranks = np.load(folder / "cells" / "adarec-alone-seed0.npz")["test/full"]
    mine = results["rows"][2]["test full ndcg@10"]
    assert mine == pytest.approx(gains(ranks)["ndcg@10"].mean())
    pairs = [(test["row"], test["against"]) for test in results["tests"]]
    assert pairs == [("student", "nextitnet"), ("student", "alone"), ("scores", "alone"), ("wide", "nextitnet")]
    assert results["tests"][2]["difference"] == pytest.approx(results["rows"][3]["test full ndcg@10"] - mine)
    assert text.count(LABELS["scores"]) == 2 and (folder / "teachers" / "nextitnet-seed0" / "teacher").is_dir()


def test_rows_that_are_finished_stay_in_the_table(made):
    folder, before, _ = made
    run_adarec(Cells(folder, TINY, SPLIT), seeds=1, dataset="planted", rows=("alone",))
    assert json.loads((folder / "adarec.json").read_text())["rows"] == before["rows"]


def test_test_items_choose_nothing(made, tmp_path):
    run_adarec(Cells(tmp_path, TINY, poisoned(SPLIT)), seeds=1, dataset="planted", rows=("alone",))
    for row in ("nextitnet", "student", "alone"):
        mine, other = cell_of(made[0], row), cell_of(tmp_path, row)
        assert mine["validation"] == other["validation"] and mine["test"] != other["test"]
    assert (
        cell_of(made[0], "student")["architecture"]["operations"]
        == cell_of(tmp_path, "student")["architecture"]["operations"]
    )


def test_random_cells_cost_what_the_found_one_costs():
    drawn = random_cells(CELL, 10)
    assert len({one.operations for one in drawn}) == 10 and CELL not in drawn
    assert all(one.cost == pytest.approx(CELL.cost) and one.depth == CELL.depth for one in drawn)


def test_every_row_has_a_name_and_leaves_one_thing_out():
    assert set(ROWS) == set(LABELS) and {name for pair in PAIRS for name in pair} <= set(ROWS)
    recipe = adarec_config(TINY, "planted").distill
    for row, changes in OF_CELL.items():
        assert all(getattr(recipe, name) != value for name, value in (changes or {}).items()), row
