"""Numbers are float32 whatever JAX is told, weights of other types are refused by name, a device that is not there is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import RetrainConfig, SearchConfig
from easrec_jax.data.batches import training_samples
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.network import Network
from easrec_jax.nas.search import search
from easrec_jax.serving.artifact import Model, load_model, save_model
from easrec_jax.serving.recommend import Recommender
from easrec_jax.space import Space
from easrec_jax.train.fit import fit
from easrec_jax.train.task import Task

ROOT = Path(__file__).parent.parent
LENGTH = 9
ARCHITECTURE = Architecture(width=8, inner=12, depth=1, heads=2, max_length=LENGTH, attention="softmax", gate_layers=0)
ONE_EPOCH = RetrainConfig(epochs=1, buckets=1, learning_rate=0.01, warmup_steps=1)


def task(split) -> Task:
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="all")
    return Task(samples, Evaluator(split, "validation", LENGTH), dropout=0.1, seed=0)


def trained(split, **changes):
    network = Network(ARCHITECTURE, split.data.num_items, 0.1)
    weights = network.init(jax.random.key(0))
    weights = jax.tree.map(lambda x: x.astype(changes.get("dtype", x.dtype)), weights)
    return fit(network, weights, task(split), settings=ONE_EPOCH)


def save(folder, split, weights):
    model = Model(ARCHITECTURE, weights, split.data.item_ids, split.popularity(), {})
    save_model(folder, model, architecture=ARCHITECTURE.to_json(), config="{}", metrics="")


def test_the_x64_flag_of_a_host_application_changes_no_figure_and_no_weight(split, tmp_path):
    plain = trained(split)
    with jax.enable_x64(True):
        wide = trained(split)
        save(tmp_path / "model", split, wide.weights)
        answers = Recommender.load(tmp_path / "model").recommend([["i1", "i2"]], 3)
        assert jnp.zeros(1).dtype == jnp.float64  # what the host asked for is as it was
    assert wide.ndcg == plain.ndcg
    for x, y in zip(jax.tree.leaves(wide.weights), jax.tree.leaves(plain.weights), strict=True):
        assert x.dtype == jnp.float32 and np.array_equal(x, y)
    assert answers == Recommender(load_model(tmp_path / "model")).recommend([["i1", "i2"]], 3)


def test_a_search_is_float32_too(split):
    settings = SearchConfig(epochs=1, warmup_epochs=0, finalists=1, buckets=1)
    space = Space(ARCHITECTURE, (8, 4), (12, 6), heads=(2,), gate_layers=(0,), attentions=("softmax",))
    with jax.enable_x64(True):
        found = search(space, task(split), settings=settings)
    assert {x.dtype for x in jax.tree.leaves((found.weights, found.arch))} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_weights_of_another_type_are_refused_by_name(split, tmp_path, dtype):
    with pytest.raises(ValueError, match=rf"weights: .*: expected float32, got {np.dtype(dtype).name}"):
        trained(split, dtype=dtype)
    weights = {"tables": {"items": jnp.zeros((3, 8), dtype)}}
    with pytest.raises(ValueError, match=rf"tables/items: expected float32, got {np.dtype(dtype).name}"):
        save(tmp_path / "model", split, weights)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("command", "platform"),
    [
        ("search", "cuda"),
        ("retrain", "gpuu"),
        ("recommend", "cuda"),
        ("evaluate", "tpuu"),
        ("serve", "cuda"),
        ("report", "cuda"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(command, platform):
    arguments = [str(ROOT / "configs/demo.py")] if command in ("search", "retrain") else ["nowhere"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bin" / f"{command}.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": platform}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and f"error: JAX_PLATFORMS={platform}: " in done.stderr
    assert "JAX_PLATFORMS=cpu" in done.stderr
