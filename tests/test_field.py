"""reproduce.py field at a tiny size: rows are the recipe with other settings, test items choose nothing, figures are the cells'."""

from __future__ import annotations

import json

import pytest
from tiny import SPLIT, TINY, poisoned

from easrec_jax.architecture import full_architecture
from easrec_jax.config_files import load_config
from easrec_jax.models.cost import request_flops
from experiments.cells import Cells
from experiments.field import PROTOCOL, PUBLISHED, RECIPE, ROWS, SPARSE, changed_config, field_config, run_field
from experiments.recipes import recipe

OTHER = next(label for label in ROWS if label != RECIPE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, results, Markdown) of the recipe and one other row."""
    folder = tmp_path_factory.mktemp("field")
    text = run_field(Cells(folder, TINY, SPLIT), seeds=1, dataset="beauty", rows=(RECIPE, OTHER))
    return folder, json.loads((folder / "field.json").read_text()), text


def test_rows_hold_the_figures_of_their_cells_and_published_ones_stand_beside(made):
    folder, results, text = made
    assert [row["row"] for row in results["rows"]] == [RECIPE, OTHER]
    for row in results["rows"]:
        cell = json.loads((folder / "cells" / f"field-{row['row'].replace(' ', '-')}-seed0.json").read_text())
        for part in ("validation", "test"):
            assert row[f"{part} ndcg@10"] == cell[part][PROTOCOL]["ndcg@10"]
            assert f"{row[f'{part} ndcg@10']:.4f}" in text
    network = full_architecture(field_config(TINY).model)
    assert results["rows"][0]["flops"] == request_flops(network, SPLIT.data.num_items)
    for name, (recall, ndcg) in PUBLISHED["beauty"].items():
        assert f"published: {name} |" in text and f"{recall:.4f} / {ndcg:.4f}" in text


def test_test_items_choose_nothing(made, tmp_path):
    run_field(Cells(tmp_path, TINY, poisoned(SPLIT)), seeds=1, dataset="beauty")
    name = f"cells/field-{RECIPE}-seed0.json"
    here, there = (json.loads((folder / name).read_text()) for folder in (tmp_path, made[0]))
    assert here["validation"] == there["validation"] and here["best_epoch"] == there["best_epoch"]
    assert here["test"] != there["test"]


@pytest.mark.parametrize("dataset", sorted(PUBLISHED))
def test_every_data_set_has_the_recipe_that_a_newcomer_starts_from(dataset):
    config, sparse = field_config(recipe(dataset, "cpu")), load_config(SPARSE)
    assert config.model == sparse.model and config.retrain == sparse.retrain
    assert config.evaluate.select_by == PROTOCOL


def test_each_row_changes_something():
    config = field_config(recipe("beauty", "cpu"))
    assert all((changed_config(config, changes) != config) == (label != RECIPE) for label, changes in ROWS.items())
