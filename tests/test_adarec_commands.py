"""A student from the command line: teacher, search, fine-tuning, recommendations; and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from easrec_jax.config import Config, DistillConfig, ModelConfig, RetrainConfig, SearchConfig
from easrec_jax.config_files import from_json
from easrec_jax.data.load import load_data
from easrec_jax.data.split import Split
from easrec_jax.runs.search_folder import load_pick
from easrec_jax.runs.teacher import find_teacher
from easrec_jax.serving.artifact import load_model
from easrec_jax.serving.recommend import Recommender

CONFIG = Path(__file__).parent.parent / "configs" / "adarec_demo.py"
TINY = [
    "--data.planted.users=60", "--data.planted.items=100", "--model.width=8", "--model.max_length=40",
    "--search.epochs=2", "--search.warmup_epochs=1", "--search.every=1", "--distill.width=12", "--distill.layers=2",
    "--distill.epochs=2", "--retrain.epochs=2", "--retrain.buckets=1", "--evaluate.protocols", "full",
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "as it is")


def test_a_student_is_found_taught_and_served(call_here, tmp_path):
    run = tmp_path / "run"
    said = call_here("search", CONFIG, "--workdir", run, *TINY)
    assert "found 2 x cell (width 8; 0>1 " in said
    teacher = json.loads((run / "teacher" / "teacher.json").read_text())
    assert teacher["test"]["full"]["ndcg@10"] > 0 and not (run / "teacher_checkpoints").exists()
    found = json.loads((run / "search" / "architecture.json").read_text())
    assert found["kind"] == "cells" and found["chosen_by"]["method"] == "adarec"
    before = (run / "teacher" / "weights.npz").stat().st_mtime_ns
    said = call_here("retrain", CONFIG, "--workdir", run, *TINY)
    assert "as it was trained before" in said
    assert "AdaRec" in said and (run / "teacher" / "weights.npz").stat().st_mtime_ns == before
    model = load_model(run / "model")
    assert list(model.architecture.operations) == found["operations"] and "distillation" not in model.weights
    recommender = Recommender.load(run / "model")
    history = list(model.item_ids.raw[:4])
    ((best, *_),) = recommender.recommend([history], 5)
    stream = recommender.update(recommender.start([history[:3]]), history[3:])
    assert recommender.recommend_from(stream, 5)[0][0][0] == best[0]
    config = from_json((run / "search" / "config.json").read_text())
    wider = dataclasses.replace(config, distill=dataclasses.replace(config.distill, width=16))
    with pytest.raises(ValueError, match=r"the teacher there was made otherwise \(width\): delete the folder"):
        find_teacher(wider, run, Split(load_data(config.data, seed=config.seed)[0]))

    sizes = dataclasses.replace(config, model=dataclasses.replace(config.model, layers=3))
    with pytest.raises(ValueError, match=r"model\.layers: expected 2 as in the search"):
        load_pick(run / "search", sizes)
    before = (run / "retrain" / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"the teacher there was made otherwise \(width\)"):
        call_here("retrain", CONFIG, "--workdir", run, "--overwrite", *TINY, "--distill.width=16")
    assert (run / "retrain" / "metrics.jsonl").read_bytes() == before


def test_settings_that_mean_nothing_are_refused():
    for name, value in (
        ("training", "sandwich"),
        ("ranking", "measured"),
        ("sharing", "own"),
        ("cost", "latency"),
        ("schedule", "cosine"),
    ):
        with pytest.raises(ValueError, match=rf"search\.{name}: expected .* with search\.strategy = 'adarec'"):
            SearchConfig(strategy="adarec", **{name: value})
    for architecture in ("elastic", "front:0.5"):
        with pytest.raises(ValueError, match=r"retrain\.architecture: expected searched or full"):
            Config(search=SearchConfig(strategy="adarec"), retrain=RetrainConfig(architecture=architecture))
    for terms in ((), ("scores", "scores")):
        with pytest.raises(ValueError, match=r"distill\.terms: expected different terms"):
            DistillConfig(terms=terms)
    with pytest.raises(ValueError, match=r"search\.strategy: expected no wide space"):
        SearchConfig(strategy="adarec", heads=(1, 2))
    with pytest.raises(ValueError, match=r"distill\.share: expected 0 with retrain\.loss = 'sampled'"):
        Config(distill=DistillConfig(share=0.5), retrain=RetrainConfig(loss="sampled"))
    with pytest.raises(ValueError, match=r"distill\.mapping"):
        DistillConfig(mapping="middle")  # type: ignore[arg-type]
    Config(model=ModelConfig(width=10, heads=2), search=SearchConfig(strategy="adarec", prune=(0.0, 0.25)))
