"""`easrec fit`: settings that follow from the data's counts, and from nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from easrec_jax.config import Config, DataConfig, SearchConfig
from easrec_jax.config_files import load_config
from easrec_jax.runs.recipe import LENGTHS, MOST_SCORED, choose_settings, describe_settings

RNG = np.random.default_rng(0)
# users' lengths and items, as the data sets have them
SHAPES = {
    "beauty": (np.maximum(5, RNG.lognormal(1.95, 0.7, 22_363)).astype(int), 12_101),
    "ml-1m": (np.maximum(20, RNG.lognormal(4.5, 1.0, 6_040)).astype(int), 3_416),
    "ml-100k": (np.maximum(20, RNG.lognormal(4.2, 0.9, 943)).astype(int), 1_349),
    "shop": (np.maximum(3, RNG.exponential(6, 400_000)).astype(int), 300_000),
    "small": (np.full(200, 12), 60),
}


@pytest.fixture(params=SHAPES)
def shape(request) -> tuple[np.ndarray, int]:
    return SHAPES[request.param]


def chosen(lengths: np.ndarray, items: int) -> Config:
    return choose_settings(Config(search=SearchConfig(prune=(0.0,))), lengths, items)


def test_histories_are_read_as_far_as_most_go_and_no_further(shape):
    length = chosen(*shape).model.max_length
    covered = [n for n in LENGTHS if np.mean(shape[0] <= n) >= 0.95]
    assert length == (covered[0] if covered else LENGTHS[-1])


def test_the_training_is_about_as_long_on_all_data(shape):
    """In steps; where an epoch has very few or very many of them, in epochs."""
    lengths, _ = shape
    config = chosen(*shape)
    samples = np.ceil((lengths - 2) / config.model.max_length).sum()
    steps = config.retrain.epochs * samples / config.retrain.batch_size
    assert 5_000 < steps < 9_000 or config.retrain.epochs in (4, 40)


def test_large_catalogues_are_sampled_and_sparse_data_dropped_out(shape):
    lengths, items = shape
    config = chosen(*shape)
    assert (config.retrain.loss == "sampled") == (items > MOST_SCORED)
    assert (config.model.dropout == 0.5) == (lengths.mean() < 20)
    assert (config.evaluate.users > 0) == (len(lengths) > 40_000)


def test_the_same_events_in_twice_the_users_are_no_denser():
    lengths, items = SHAPES["ml-100k"]
    halves = np.concatenate([lengths // 8] * 8)
    assert chosen(halves, items).model.dropout > chosen(lengths, items).model.dropout


def test_on_beautys_counts_it_is_the_recipe_for_sparse_data():
    """What was measured there (configs/sparse.py), but for the number of epochs, which follows from the steps."""
    mine, sparse = chosen(*SHAPES["beauty"]), load_config("sparse")
    assert abs(mine.retrain.epochs - sparse.retrain.epochs) <= 2
    same = dataclasses.replace(mine.retrain, epochs=sparse.retrain.epochs)
    assert (mine.model, same) == (sparse.model, sparse.retrain)
    assert mine.evaluate == sparse.evaluate


def test_data_and_seed_are_the_users():
    config = Config(data=DataConfig(path="x.csv", min_history=5), seed=3)
    found = choose_settings(config, *SHAPES["small"])
    assert (found.data, found.seed) == (config.data, 3)


def test_what_is_said_are_flags_that_choose_the_same(shape):
    config = chosen(*shape)
    said = describe_settings(config, shape[0])
    for part, name in (("model", "max_length"), ("model", "dropout"), ("retrain", "epochs"), ("retrain", "batch_size")):
        assert f"--{part}.{name} {getattr(getattr(config, part), name)}" in said


def test_fit_is_one_command_and_flags_go_before_the_choice(tmp_path, monkeypatch, call_here):
    rng = np.random.default_rng(1)
    rows = [f"u{u},i{i},{t}" for u in range(40) for t, i in enumerate(rng.integers(1, 30, 8))]
    (tmp_path / "clicks.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    monkeypatch.chdir(tmp_path)
    small = ["--retrain.epochs", "1", "--model.width", "8", "--model.inner", "8", "--evaluate.buckets", "1"]
    out = call_here("fit", "clicks.csv", *small, "--retrain.buckets", "1")
    assert "--model.width 8 --model.max_length 20 --model.dropout 0.5" in out and "--retrain.epochs 1 " in out
    assert (tmp_path / "runs/clicks/model/manifest.json").is_file() and "full_unseen" in out


@pytest.mark.parametrize(
    "path, name",
    [
        ("data/clicks.csv", "clicks"), ("log/*.parquet", "log"), ("s3://bucket/day=1/", "day=1"), ("catalog:ml-1m", "ml-1m"),
        ("*.csv", "fit"), ("clicks.csv.gz", "clicks.csv"),
    ],
)  # fmt: skip
def test_a_run_is_called_by_what_it_reads(path, name):
    from easrec_jax.commands.fit import name_of

    assert name_of(path) == name
