"""Tables and Figure 4 at a tiny size: cells are shared and run once, rows can be chosen, test items choose nothing."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import partial

import jax
import numpy as np
import pytest
from tiny import poisoned

from easrec_jax.architecture import Architecture
from easrec_jax.config import (
    Config,
    DataConfig,
    EasrecConfig,
    EvaluateConfig,
    ModelConfig,
    PlantedConfig,
    RetrainConfig,
    SearchConfig,
)
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted, planted_features
from easrec_jax.evaluate.metrics import metrics
from easrec_jax.train.loop import QUIET
from experiments.cells import Cells
from experiments.figure4 import run_figure4
from experiments.headline import run_headline
from experiments.models import FLOOR_ROWS, SEARCHED, cell_name, models, table3_config
from experiments.table3 import run_table3
from experiments.table4 import run_table4
from experiments.table5 import ablations, priced_cell, run_table5
from experiments.training import alone_cell, searched_cell
from experiments.wide_space import SEARCHES, run_wide

TINY = Config(
    data=DataConfig(planted=PlantedConfig(users=60, items=100)),
    model=ModelConfig(width=8, inner=8, layers=1, heads=2, max_length=12, gate_layers=0, conv_width=2, dropout=0.0),
    search=SearchConfig(
        prune=(0.0, 0.5), epochs=2, warmup_epochs=0, every=1, batch_size=16, buckets=1, learning_rate=0.01, budget=1.0,
        finalists=2, finalist_epochs=2, easrec=EasrecConfig(cost_weight=0.1),
    ),
    retrain=RetrainConfig(epochs=2, batch_size=16, buckets=1, learning_rate=0.01, baseline_learning_rate=0.02),
    evaluate=EvaluateConfig(protocols=("full", "pop100"), select_by="full", buckets=1),
)  # fmt: skip
ROWS = ("EASRec", "SASRec", "SASRecF + causal LinRec", "Popularity")
NETWORKS = ROWS[:3]


@pytest.fixture(scope="module")
def made():
    return planted(users=60, items=100, seed=0)


@pytest.fixture(scope="module")
def tables(made, tmp_path_factory):
    """Tables III, IV and V and Figure 4, some rows of each: the folder, and what was trained for each in turn.

    Half a minute: five searches and ten trainings of networks of other shapes, and nearly all of it compiles them.
    """
    folder, split, features = tmp_path_factory.mktemp("tables"), Split(made.data), planted_features(made.truth)
    cells = partial(Cells, config=TINY, split=split, features=features)
    trained: dict[str, list[str]] = {}
    patch = pytest.MonkeyPatch()
    original = Cells._make

    def counted(self, name, job):
        trained[experiment].append(name.removesuffix("-seed0"))
        original(self, name, job)

    patch.setattr(Cells, "_make", counted)
    patch.setattr(jax, "clear_caches", lambda: None)  # cells of one shape share their programs: half of the time
    common = {"seeds": 1, "dataset": "ml-1m"}
    texts = {}
    runs = {
        "table3": lambda: run_table3(cells(folder), rows=ROWS, **common),
        "table4": lambda: run_table4(cells(folder), rows=NETWORKS, **common),
        "figure4": lambda: run_figure4(cells(folder), rows=("lambda 0.1",), budgets=(0.001, 1.0), **common),
        "table5": lambda: run_table5(cells(folder), rows=(*SHARED, *OWN), **common),
        "wide": lambda: run_wide(cells(folder), seeds=1, rows=(SEARCHES[0].label, SEARCHES[-1].label)),
        "headline": lambda: run_headline(cells(folder), epochs=2, rates=(0.001, 0.02), **common),
        "again": lambda: run_table3(cells(folder), rows=ROWS, **common),
        "elsewhere": lambda: run_table3(cells(folder / "x"), rows=ROWS[-1:], seeds=2, dataset="ml-100k"),
    }
    for experiment, run in runs.items():
        trained[experiment] = []
        texts[experiment] = run()
    patch.undo()
    return folder, trained, texts


SHARED = ("no gates", "dynamic, lambda 0.1", "a budget of 1", "copied from the supernet")
OWN = ("fresh", "DARTS, copied from the supernet", "DARTS, fresh", "convolution without decay")


def test_the_headline_chooses_a_rate_by_the_first_seeds_validation_items_and_tests_the_pick_against_both(tables):
    folder, trained, texts = tables
    assert trained["headline"] == [
        "headline-sasrec-1-rate0.001", "headline-sasrec-1-rate0.02", "headline-easrec", "headline-sasrec",
    ]  # fmt: skip
    found = results(folder, "headline")
    rows = {row["model"]: row for row in found["rows"]}
    assert list(rows) == ["EASRec's pick", "SASRec, 1 layer", "SASRec, 2 layers"]
    cells = [json.loads((folder / "cells" / f"{name}-seed0.json").read_text()) for name in trained["headline"]]
    by_rate = {rate: c["validation"]["full"]["ndcg@10"] for rate, c in zip((0.001, 0.02), cells[:2], strict=True)}
    assert rows["SASRec, 1 layer"]["rate"] == max(by_rate, key=lambda rate: by_rate[rate])
    assert cells[2]["changes"] == {} and set(cells[3]["changes"]) == {"retrain.learning_rate"}
    pick, two = rows["EASRec's pick"], rows["SASRec, 2 layers"]
    assert pick["rate"] == 0.01 and two["rate"] == 0.02 and pick["flops"] < pick["flops_all"] and two["parameters"] > 0
    assert [(test["rival"], test["protocol"]) for test in found["against"]] == [
        (rival, protocol) for rival in list(rows)[1:] for protocol in TINY.evaluate.protocols
    ]
    for test in found["against"]:
        ours, theirs = (rows[name][f"{test['protocol']} ndcg@10"] for name in ("EASRec's pick", test["rival"]))
        assert test["difference"] == pytest.approx(ours - theirs) and 0 < test["p"] <= 1
    assert f"{pick['flops_all'] / 1e6:.2f}" in texts["headline"]


def results(folder, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def test_a_cell_that_several_tables_need_is_run_once(tables):
    _, trained, texts = tables
    assert trained["table3"] == [
        "table3-easrec", "table3-sasrec", "table3-sasrecf-linrec", "table3-popularity",
    ]  # fmt: skip
    assert trained["table4"] == [] and trained["again"] == []
    before, since = (
        [x for x in texts[name].split("EASRec against")[0].splitlines() if x[:2] == "| "]
        for name in ("table3", "again")
    )
    new = [line for line in since if line not in before]  # the tests below are corrected for one row more
    assert new and all("DARTS + SASRec" in line for line in new)  # made for table 5, shown since
    assert trained["figure4"] == ["figure4-lambda0.1"]
    assert trained["table5"] == [
        "table3-darts-sasrec", "table5-fresh", "table5-darts-fresh", "table5-convolution",
    ]  # fmt: skip


def test_figures_are_means_of_the_ranks_beside_the_cell_and_stand_beside_the_papers(tables):
    folder, _, texts = tables
    for row in results(folder, "table3")["rows"]:
        name = f"{cell_name(row['model'])}-seed0"
        with np.load(folder / "cells" / f"{name}.npz") as ranks:
            for part in ("validation", "test"):
                expected = metrics(ranks[f"{part}/pop100"])
                assert {m: row[f"{part} {m}"] for m in expected} == pytest.approx(expected)
    rows = {row["model"]: row for row in results(folder, "table3")["rows"]}
    rival = json.loads((folder / "cells" / "table3-sasrecf-linrec-seed0.json").read_text())["architecture"]
    assert (rival["attention"], rival["depth"], rival["width"]) == ("causal_linrec", 2, 8)
    assert rival["flops_over_sasrec"] != 1.0 and rival["flops"] == rows["SASRecF + causal LinRec"]["flops"]
    ours, theirs = rows["EASRec"]["test ndcg@10"], 0.4661
    assert rows["EASRec"]["test ndcg@10 paper"] == theirs
    assert rows["Popularity"]["flops"] is None and texts["table3"].count("| Popularity | ") == 4
    assert f"| EASRec | {rows['EASRec']['test recall@10']:.4f} | 0.6796" in texts["table3"]
    assert f"{ours:.4f} | {theirs} ({ours / theirs - 1:+.1%})" in texts["table3"]
    assert "paper (ours" not in texts["elsewhere"] and "| Popularity | " in texts["elsewhere"]  # which has no such data
    assert "ml-100k, 2 seeds, mean ± standard deviation." in texts["elsewhere"].splitlines()[-1]


def test_easrec_is_tested_against_the_best_rival_of_each_figure(tables):
    folder, _, _ = tables
    table = results(folder, "table3")
    rows = {row["model"]: row for row in table["rows"]}
    assert len(table["best rival"]) == 6
    for entry in table["best rival"]:
        figure = f"{entry['part']} {entry['metric']}"
        assert entry["rival"] == max(rows[name][figure] for name in rows if name != "EASRec")
        assert entry["rival"] == rows[entry["best rival"]][figure]
        assert entry["difference"] == pytest.approx(rows["EASRec"][figure] - entry["rival"])
        assert entry["over_seeds"] is None and 0 < entry["over_users"] <= 1
    assert all(rows[n][f"easrec {k}"] >= 0 for n in ROWS[1:] for k in ("win", "tie", "loss"))
    assert sum(rows["SASRec"][f"easrec {k}"] for k in ("win", "tie", "loss")) == 3


def test_table4_gives_ratios_to_sasrec(tables):
    folder, _, texts = tables
    rows = {row["model"]: row for row in results(folder, "table4")["rows"]}
    assert all(rows["SASRec"][f"{what}_over_sasrec"] == 1.0 for what in ("time", "memory", "flops", "flops_all"))
    assert rows["EASRec"]["time_over_sasrec paper"] == pytest.approx(14.8 / 54.2)
    ratio = rows["EASRec"]["ms_per_user"] / rows["SASRec"]["ms_per_user"]
    assert rows["EASRec"]["time_over_sasrec"] == pytest.approx(ratio) and "0.27 (" in texts["table4"]


def test_figure4_has_the_rows_asked_for_those_finished_and_says_what_it_left_out(tables):
    folder, _, texts = tables  # lambda 0.1 was asked for, and the budget of 1 is Table III's
    assert [(r["mode"], r["value"]) for r in results(folder, "figure4")["rows"]] == [("lambda", 0.1), ("budget", 1.0)]
    assert re.search(r"Below the smallest network's cost of 0\.\d+: 0\.001\.", texts["figure4"])
    assert (folder / "figure4.png").read_bytes().startswith(b"\x89PNG")


def test_table5_tests_each_row_against_the_first_of_its_group(tables):
    folder, _, _ = tables
    rows = {row["model"]: row for row in results(folder, "table5")["rows"]}
    assert list(rows) == ["no gates", *SHARED[1:], *OWN]
    for prefix in ("", "DARTS, "):
        fresh, copied = rows[f"{prefix}fresh"], rows[f"{prefix}copied from the supernet"]
        assert fresh["against"] == f"{prefix}copied from the supernet" and 0 < fresh["over_users"] <= 1
        assert fresh["p"] >= fresh["over_users"]  # one seed: the same test, corrected
        assert fresh["flops"] == copied["flops"] and fresh["flops_all"] == copied["flops_all"]  # the same pick
    assert "against" not in rows["copied from the supernet"]
    cell = json.loads((folder / "cells" / "table5-convolution-seed0.json").read_text())["architecture"]
    assert (cell["attention"], cell["conv_width"], cell["depth"]) == ("causal_linrec", 2, 2)


def test_the_wide_space_is_compared_within_the_pick_of_the_papers(tables):
    folder, trained, texts = tables
    assert trained["wide"] == ["wide-1", "wide-random"]  # the pick of the paper's space is Table III's
    paper, mine, random = results(folder, "wide")["rows"]
    assert mine["flops"] <= paper["flops"] and mine["flops_saved"] == pytest.approx(1 - mine["flops"] / paper["flops"])
    assert mine["validation_change"] == pytest.approx(mine["validation"] / paper["validation"] - 1)
    assert 0 <= mine["validation_p"] <= 1 and "validation_p" not in paper
    shares = [f"{mine[f'{part}_p']:.3f}" for part in ("validation", "test")]
    assert [line for line in texts["wide"].splitlines() if all(f" {p} |" in line for p in shares)]
    assert random["flops"] <= paper["flops"]
    chosen = json.loads((folder / "cells" / "wide-random-seed0.json").read_text())["architecture"]["chosen_by"]
    assert chosen["method"] == "random" and len(chosen["finalists"]) == TINY.search.finalists
    assert not any("probability" in finalist for finalist in chosen["finalists"])  # drawn, not learned


def test_all_ablations_are_there_and_differ(made, tmp_path):
    split = Split(made.data)
    for targets in ("all", "last"):
        config = dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, targets=targets))
        groups = ablations(Cells(tmp_path / targets, config, split))
        labels = [v.label for variants in groups.values() for v in variants]
        assert len(labels) == len(set(labels))
        bidirectional = [label for label in labels if label.startswith("bidirectional")]
        assert len(bidirectional) == 1 and len(groups) == (7 if targets == "all" else 6)
        for variants in groups.values():
            assert len({v.cell for v in variants}) == len(variants)
    assert [priced_cell(TINY, 0.1), priced_cell(TINY, 0.0)] == ["figure4-lambda0.1", "figure4-lambda0"]
    unlimited = dataclasses.replace(TINY, search=dataclasses.replace(TINY.search, budget=None))
    assert [priced_cell(unlimited, 0.1), priced_cell(unlimited, 0.0)] == ["table3-easrec", "figure4-lambda0"]


def test_unknown_rows_and_a_table4_without_its_base_are_refused(made, tmp_path):
    cells, common = Cells(tmp_path, TINY, Split(made.data)), {"seeds": 1, "dataset": "gowalla"}
    with pytest.raises(ValueError, match=re.escape("rows: expected some of 'EASRec', 'DARTS + SASRec'")):
        run_table3(cells, rows=("FDSA",), **common)  # no features, no FDSA
    with pytest.raises(ValueError, match="rows: expected some of .* got 'Markov'"):
        run_table4(cells, rows=("SASRec", "Markov"), **common)  # no network
    with pytest.raises(ValueError, match="rows: expected SASRec among them"):
        run_table4(cells, rows=("EASRec",), **common)
    with pytest.raises(ValueError, match="rows: expected some of 'wide, at most 100% of its FLOPs'.* got 'EASRec'"):
        run_wide(cells, seeds=1, rows=("EASRec",))
    with pytest.raises(ValueError, match="rows: expected some of 'lambda 0', .* 'budget 1', got 'budget 2'"):
        run_figure4(cells, rows=("budget 2",), **common)
    assert set(models(TINY, cells.split, None)) == {*SEARCHED, "SASRec", "SASRec + causal LinRec", *FLOOR_ROWS}


def test_rival_searches_run_over_sasrecs_blocks_at_the_rivals_rate():
    ours, rival = table3_config(TINY, "easrec"), table3_config(TINY, "darts")
    assert ours == TINY
    assert (rival.model.attention, rival.model.gate_layers, rival.retrain.learning_rate) == ("softmax", 0, 0.02)
    assert (rival.search.strategy, rival.search.budget) == ("darts", None)


def test_a_pick_from_scratch_trains_at_the_rate_of_its_row(made, tables):
    folder, _, _ = tables
    for name, rate in (("table5-fresh", 0.01), ("table5-darts-fresh", 0.02)):
        cell = json.loads((folder / "cells" / f"{name}-seed0.json").read_text())
        config = dataclasses.replace(TINY, retrain=dataclasses.replace(TINY.retrain, learning_rate=rate))
        again = alone_cell(Architecture.from_json(cell["architecture"]), Split(made.data), config, QUIET)
        assert again and again["validation"] == cell["validation"]


def test_poisoned_test_items_change_no_pick_no_epoch_and_no_validation_figure_of_a_table(made, tables):
    """Of a search with its finalists and the retraining of the pick, and of a rival."""
    protocols = ("full", "pop100", "pop5_unseen")
    config = dataclasses.replace(
        TINY, evaluate=dataclasses.replace(TINY.evaluate, protocols=protocols, select_by="pop100")
    )
    split, features = Split(made.data), planted_features(made.truth)
    outcomes = []
    for data in (split, poisoned(split)):
        searched = searched_cell(data, config, QUIET)
        rival = models(config, data, features)["SASRecF + causal LinRec"](config).make(config, QUIET)
        assert searched is not None and rival is not None
        tests = [cell.pop("test") for cell in (searched, rival)]
        ranks = [{k: v.tolist() for k, v in c.pop("ranks").items() if k.startswith("val")} for c in (searched, rival)]
        outcomes.append((tests, ranks, searched, rival))
    (tests, *selected), (others, *same) = outcomes
    assert selected == same and len(selected[1]["architecture"]["chosen_by"]["finalists"]) == 2
    assert tests[0] != others[0] and tests[1] != others[1]
