"""The document of results: from finished files alone, with how each was made; and the command that runs and writes it all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t, ttest_ind, ttest_rel

from easrec_jax.config import Config
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted
from easrec_jax.evaluate.metrics import metrics
from experiments.cells import Cells, Job
from experiments.compare import compare_cells
from experiments.recipes import recipe
from experiments.results import write_document

ROOT = Path(__file__).parents[1]
SPLIT = Split(planted(users=50, items=100, seed=0).data)


def finished(folder: Path, name: str) -> None:
    cells = Cells(folder, recipe("planted", "cpu"), SPLIT, command=f"python bin/reproduce.py {name}")
    cells.used["a"] = {"commit": "0123abcd", "device": "abacus", "jax": "9.9"}
    text = f"| {name} of {folder.name} |"
    assert cells.write(name, {"rows": []}, [], text, seeds=3) == text


def test_the_document_has_what_is_finished_with_how_it_was_made(tmp_path):
    finished(tmp_path / "runs" / "planted-cpu", "table3")
    finished(tmp_path / "runs" / "planted-cpu", "space")
    finished(tmp_path / "runs" / "ml-1m-paper", "table4")
    finished(tmp_path / "runs" / "planted-smoke", "table5")
    (tmp_path / "runs" / "planted-cpu" / "space.png").write_bytes(b"picture")
    out = tmp_path / "docs" / "results.md"
    assert write_document(tmp_path / "runs", out) == ["ml-1m-paper table4", "planted-cpu table3", "planted-cpu space"]
    text = out.read_text()
    assert "python bin/reproduce.py table3\n" in text and "| table3 of planted-cpu |" in text
    assert "Commit 0123abcd; data planted: 50 users, " in text and "3 seeds; cells on abacus; JAX 9.9." in text
    assert "JAX 9.9.\n\n| table4 of ml-1m-paper |" in text
    assert "Not run on planted-cpu: table4, table5, figure4" in text
    assert "smoke" not in text.split("\n## ", 1)[1] and str(tmp_path) not in text
    assert "](../runs/planted-cpu/space.png)" in text and "[table3.json](../runs/planted-cpu/table3.json)" in text
    assert "space.png" not in text.split("](../runs/planted-cpu/space.png)", 1)[1]  # a picture is shown, not listed


def test_results_that_do_not_say_how_they_were_made_are_no_document(tmp_path):
    finished(tmp_path / "planted-cpu", "table3")
    (tmp_path / "planted-cpu" / "table3.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"table3.json: expected how it was made \(`about`\); run that experiment again"
    ):
        write_document(tmp_path, tmp_path / "results.md")
    assert not (tmp_path / "results.md").exists()


def giving(cell: dict | None, config: Config | None = None) -> Job:
    return Job(lambda *_: cell, config or recipe("planted", "smoke"))


def test_nothing_finished_is_no_document(tmp_path):
    with pytest.raises(ValueError, match="expected finished experiments in DATASET-SCALE/, found none"):
        write_document(tmp_path, tmp_path / "results.md")
    assert not (tmp_path / "results.md").exists()


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "bin" / "reproduce.py", *arguments], capture_output=True, text=True, timeout=500
    )


def test_the_command_runs_an_experiment_and_writes_the_document(tmp_path):
    """At smoke scale, one row; renamed, since figures of that scale are not to be shown."""
    workdir = tmp_path / "docs" / "results"
    run = command("table3", "--scale", "smoke", "--rows", "SASRec", "--workdir", str(workdir))
    assert run.returncode == 0, run.stderr
    assert "| SASRec | " in run.stdout and "EASRec" not in run.stdout
    folder = (workdir / "planted-smoke").rename(workdir / "planted-cpu")
    about = json.loads((folder / "table3.json").read_text())["about"]
    assert about["command"] == "python bin/reproduce.py table3 --dataset planted --seeds 1 --scale smoke --rows SASRec"
    assert about["data"]["users"] == 300 and about["seeds"] == 1 and len(about["commits"]) == len(about["devices"]) == 1
    out = tmp_path / "docs" / "results.md"
    done = command("results", "--workdir", str(workdir))
    assert done.returncode == 0, done.stderr
    assert about["command"] in out.read_text() and str(tmp_path) not in out.read_text()


def test_two_models_are_compared_by_their_kept_cells(tmp_path):
    """Four users and two seeds: differences of means, p over the seeds' means and over the users' means."""
    every = {"a": [[1, 1, 3, 2], [1, 2, 3, 2]], "b": [[2, 1, 3, 4], [3, 1, 4, 6]]}
    cells = Cells(tmp_path, recipe("planted", "smoke"), SPLIT)
    for name, seeds in every.items():
        for seed, ranks in enumerate(seeds):
            kept = {f"{part}/full": np.array(ranks) for part in ("validation", "test")}
            figures = {part: {"full": metrics(kept[f"{part}/full"])} for part in ("validation", "test")}
            cells.run(f"{name}-seed{seed}", giving(figures | {"ranks": kept}))
    (_, _, validation, test) = compare_cells(tmp_path, ("a", "b"), 2).splitlines()
    a, b = (1 / np.log2(2 + np.array(ranks)) for ranks in every.values())
    over_seeds = ttest_ind(a.mean(1), b.mean(1), equal_var=False)
    over_users = ttest_rel(a.mean(0), b.mean(0))
    parts = [np.var((a - b).mean(0), ddof=1) / 4, np.var(a.mean(1), ddof=1) / 2, np.var(b.mean(1), ddof=1) / 2]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 + parts[2] ** 2)
    of_both = 2 * t.sf(abs(a.mean() - b.mean()) / sum(parts) ** 0.5, freedom)
    ps = [over_seeds.pvalue, over_users.pvalue, 2 * of_both]  # Holm's of two equal ones
    assert validation == test.replace("test", "validation")
    assert test.endswith(f" {a.mean() - b.mean():+.4f} | {ps[0]:.3f} | {ps[1]:.3f} | {ps[2]:.3f} |")
    with pytest.raises(ValueError, match="rows: expected two cells"):
        compare_cells(tmp_path, ("a",), 2)
    with pytest.raises(FileNotFoundError, match="c-seed0.json: expected a finished cell"):
        compare_cells(tmp_path, ("a", "c"), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table3", "--seeds", "0"), "error: seeds: expected at least 1, got 0"),
        (
            ("results", "--rows", "SASRec"),
            "error: rows: results takes none (space, wide, table3, table4, table5, figure4, headline, elastic, canet, field, adarec, "
            "new_items, times, compare would)",
        ),
        (("table3", "--dataset", "ml-1m"), "error: features: expected a RecBole .item file"),
        (("space", "--scale", "smoke", "--rows", "SASRec"), "error: rows: expected some of 'easrec', 'darts', "),
    ],
)
def test_a_wrong_call_is_one_line(refused, tmp_path, arguments, message):
    run = refused("reproduce", *arguments, "--workdir", str(tmp_path))
    assert run.returncode == 2 and run.stderr.startswith(message) and len(run.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
