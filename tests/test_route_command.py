"""bin/route.py: from an elastic model to what answers each user by a size, and a word where the model is none."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from elastic import save_elastic

from easrec_jax.config_files import from_json
from easrec_jax.data.load import load_data
from easrec_jax.data.split import Split
from easrec_jax.nas.routing import Routed
from easrec_jax.runs.route_folder import add_route, load_elastic
from easrec_jax.serving.artifact import save_model
from easrec_jax.serving.recommend import Recommender
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
ROUTE = ("--route.width=8", "--route.form=ridge", "--route.budget=0.9", "--route.least_share=0")


def test_an_elastic_model_is_routed_and_what_is_written_answers_each_user(call_here, tmp_path):
    call_here("search", DEMO, *TINY, *ELASTIC, f"--workdir={tmp_path}")
    call_here("retrain", DEMO, *TINY, *ELASTIC, "--retrain.architecture=elastic", f"--workdir={tmp_path}")
    model = tmp_path / "model"
    with pytest.raises(ValueError, match="per_user: this model has no router; the command route"):
        Recommender.load(model, per_user=True)
    before = Recommender.load(model)
    printed = call_here("route", DEMO, *TINY, *ELASTIC, *ROUTE, f"--workdir={tmp_path}")
    told = json.loads((model / "route.json").read_text())
    assert "of the largest network's FLOPs" in printed and "test items, looked at once" in printed
    config = from_json((tmp_path / "route" / "config.json").read_text())
    data, _ = load_data(config.data, seed=config.seed)
    front = json.loads((model / "front.json").read_text())["networks"]
    assert len(front) >= len(told["networks"]) > 0
    assert sum(one["share"] for one in told["networks"]) == pytest.approx(1.0)
    assert sum(row["users"] for row in told["lengths"]) == data.num_users
    by_length = sum(np.array(row["shares"]) * row["users"] for row in told["lengths"]) / data.num_users
    np.testing.assert_allclose(by_length, [one["share"] for one in told["networks"]])
    mean = sum(one["share"] * one["cost"] for one in told["networks"])
    assert told["cost"]["test"] == pytest.approx(mean) and told["cost"]["validation"] <= 0.9
    recommender = Recommender.load(model, per_user=True)
    assert recommender.cost == told["cost"]["test"] and recommender.results["test"] == told["test"]
    histories = [data.items[a : b - 1] for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)]
    choice = recommender.routed.choose(*flat(histories))
    shares = np.bincount(choice, minlength=len(told["networks"])) / data.num_users
    np.testing.assert_allclose(shares, [one["share"] for one in told["networks"]])
    _, best = recommender.top_items(*flat(histories), 10, exclude_seen=False)
    ndcg = np.where(best == data.items[data.offsets[1:] - 1][:, None], 1 / np.log2(np.arange(10) + 2)[None], 0).sum(1)
    assert ndcg.mean() == pytest.approx(told["test"]["full"]["ndcg@10"], abs=1e-6)
    whole = Recommender.load(model)
    assert whole.results == before.results and whole.fingerprint == before.fingerprint
    assert whole.recommend([["i3", "i4"]]) == before.recommend([["i3", "i4"]])
    elastic, stale = load_elastic(model, data)
    kept = recommender.route
    routed = Routed(recommender.routed.router, kept.head, kept.networks, 0.0, 0.0, True)
    texts = {"config": (model / "config.json").read_text(), "metrics": (model / "metrics.jsonl").read_text()}
    about = json.loads((model / "architecture.json").read_text())
    save_model(
        model,
        stale._replace(weights=jax.tree.map(lambda x: 2 * np.asarray(x), stale.weights)),
        architecture=about,
        **texts,
    )
    with pytest.raises(ValueError, match="another model than the router was trained for"):
        add_route(model, stale, elastic, routed, config, Split(data))
    with pytest.raises(ValueError, match="holds a run already"):
        call_here("route", DEMO, *TINY, *ELASTIC, *ROUTE, f"--workdir={tmp_path}")


def test_a_model_that_cannot_be_routed_says_what_can(call_here, tmp_path):
    with pytest.raises(FileNotFoundError, match="no model here"):
        call_here("route", DEMO, *TINY, f"--workdir={tmp_path}")
    save_elastic(tmp_path / "model")
    with pytest.raises(ValueError, match="expected the model of these data, its items are others"):
        call_here("route", DEMO, *TINY, f"--workdir={tmp_path}")
    save_elastic(tmp_path / "model", ())
    with pytest.raises(ValueError, match="this one has one size; .*--retrain.architecture elastic"):
        call_here("route", DEMO, *TINY, f"--workdir={tmp_path}")
