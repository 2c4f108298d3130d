"""bin/route.py: from an elastic search to what answers, and a word where the search is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from easrec_jax.config_files import from_json
from easrec_jax.data.load import load_data
from easrec_jax.runs.route_folder import load_elastic, load_route
from easrec_jax.serving.shapes import flat

DEMO = Path(__file__).parent.parent / "configs" / "demo.py"
TINY = (
    "--data.planted.users=150", "--data.planted.items=100", "--model.width=16", "--model.inner=16", "--model.layers=2",
    "--model.heads=2", "--search.epochs=2", "--search.warmup_epochs=1", "--search.buckets=1", "--evaluate.buckets=1",
    "--search.batch_size=32", "--evaluate.protocols", "full",
)  # fmt: skip
ELASTIC = (
    "--search.strategy=untrained", "--search.sharing=corners", "--search.training=sandwich", "--search.ranking=measured",
    "--search.finalists=1", "--search.prune", "0", "0.5", "--search.budget=None",
)  # fmt: skip
ROUTE = ("--route.width=8", "--route.epochs=2", "--route.budget=0.9", "--route.least_share=0")


def test_an_elastic_search_is_routed_and_what_is_written_answers(call_here, tmp_path):
    call_here("search", DEMO, *TINY, *ELASTIC, f"--workdir={tmp_path}")
    printed = call_here("route", DEMO, *TINY, *ELASTIC, *ROUTE, f"--workdir={tmp_path}")
    told = json.loads((tmp_path / "route" / "route.json").read_text())
    assert "of the largest network's FLOPs" in printed and "test items, looked at once" in printed
    config = from_json((tmp_path / "route" / "config.json").read_text())
    data, _ = load_data(config.data, seed=config.seed)
    elastic = load_elastic(tmp_path / "search", config, data)
    front = [one for one in json.loads((tmp_path / "search" / "front.json").read_text())["networks"] if one["front"]]
    assert len(elastic.networks) == len(front) >= len(told["networks"]) > 0
    assert sum(one["share"] for one in told["networks"]) == pytest.approx(1.0)
    assert sum(row["users"] for row in told["lengths"]) == data.num_users
    by_length = sum(np.array(row["shares"]) * row["users"] for row in told["lengths"]) / data.num_users
    np.testing.assert_allclose(by_length, [one["share"] for one in told["networks"]])
    mean = sum(one["share"] * one["cost"] for one in told["networks"])
    assert told["cost"]["test"] == pytest.approx(mean) and told["cost"]["validation"] <= 0.9
    routed = load_route(tmp_path / "route", elastic.weights, elastic.largest, data.num_items)
    histories = [data.items[a : b - 1] for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)]
    choice = routed.choose(*flat(histories))
    shares = np.bincount(choice, minlength=len(told["networks"])) / data.num_users
    np.testing.assert_allclose(shares, [one["share"] for one in told["networks"]])
    _, best = routed.top_items(*flat(histories), 10, exclude_seen=False)
    ndcg = np.where(best == data.items[data.offsets[1:] - 1][:, None], 1 / np.log2(np.arange(10) + 2)[None], 0).sum(1)
    assert ndcg.mean() == pytest.approx(told["test"]["full"]["ndcg@10"], abs=1e-6)
    with pytest.raises(ValueError, match="holds a run already"):
        call_here("route", DEMO, *TINY, *ELASTIC, *ROUTE, f"--workdir={tmp_path}")


def test_a_search_that_is_not_elastic_says_what_would_be(call_here, tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished search here"):
        call_here("route", DEMO, *TINY, f"--workdir={tmp_path}")
    folder = tmp_path / "search"
    folder.mkdir()
    architecture = {
        "width": 16, "inner": 16, "depth": 1, "heads": 2, "max_length": 40, "attention": "recent_linrec", "gate_layers": 2,
        "conv_width": 4, "learn_decay": False, "chosen_by": {"training": "single", "sharing": "own"},
    }  # fmt: skip
    (folder / "architecture.json").write_text(json.dumps(architecture))
    with pytest.raises(ValueError, match="expected a search of .* corners .*--search.training sandwich"):
        call_here("route", DEMO, *TINY, *ELASTIC, f"--workdir={tmp_path}")
