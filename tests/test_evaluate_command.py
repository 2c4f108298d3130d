"""bin/evaluate.py on other data than a model's: what it does not know is left out and counted, the order counts for nothing."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import EvaluateConfig
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model, save_model

IDS = tuple(f"i{k}" for k in range(30))
PROTOCOLS = ("--evaluate.protocols", "full", "full_unseen", "pop10", "uni10_unseen")


def save(path: Path, ids: tuple[str, ...]) -> Path:
    architecture = Architecture(
        width=8, inner=8, depth=1, heads=2, max_length=6, attention="recent_linrec", gate_layers=0, conv_width=2
    )
    weights = Network(architecture, len(ids)).init(jax.random.key(5))
    model = Model(architecture, weights, IdMap(ids), np.arange(len(ids) + 1), {})
    save_model(path, model, architecture=architecture.to_json(), config="{}", metrics="")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("run") / "model", IDS)


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str, int]]:
    """(user, item, time), the times of a user distinct."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(3, 12, 25)
    return [(f"u{user}", IDS[rng.integers(30)], time) for user, length in enumerate(lengths) for time in range(length)]


def write(path: Path, rows: list) -> Path:
    path.write_text("user,item,timestamp\n" + "".join(f"{user},{item},{time}\n" for user, item, time in rows))
    return path


@pytest.fixture
def call(call_here):
    return partial(call_here, "evaluate")


def test_what_the_model_does_not_know_is_left_out_and_counted(call, folder, rows, tmp_path):
    known = write(tmp_path / "known.csv", rows)
    extra = [(f"u{user}", f"new{user % 3}", 5) for user in range(10)]
    extra += [("short", "i1", 0), ("short", "i2", 1), ("short", "new1", 2)]  # of whom two known events are left
    extra += [("tiny", "i1", 0), ("tiny", "i1", 1)]  # too few in the file already
    grown = write(tmp_path / "grown.csv", rows + extra)
    want, got = (json.loads(call(folder, "--data.path", path, *PROTOCOLS, "--json")) for path in (known, grown))
    assert got["figures"] == want["figures"] and got["users"] == want["users"] == 25
    assert want["left_out"] == {"items": 0, "events": 0, "users": 0} and want["dropped_users"] == 0
    assert got["left_out"] == {"items": 3, "events": 11, "users": 1} and got["dropped_users"] == 1
    printed = call(folder, "--data.path", grown, *PROTOCOLS)
    assert "1 users with fewer than 3 events dropped" in printed
    assert "left out: 3 items unknown to the model, their 11 events, and 1 users of whom fewer than 3" in printed
    assert "left out" not in call(folder, "--data.path", known, *PROTOCOLS)
    with pytest.raises(ValueError, match="no user has 3 events or more of the model's 30 items"):
        call(folder, "--data.path", write(tmp_path / "none.csv", [("u", f"x{k}", k) for k in range(5)]))


def test_neither_order_nor_files_nor_names_change_a_figure(call, folder, rows, tmp_path):
    want = json.loads(call(folder, "--data.path", write(tmp_path / "a.csv", rows), *PROTOCOLS, "--json"))
    shuffled = random.Random(0).sample(rows, len(rows))
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / "part-0.csv", shuffled[:60])
    write(tmp_path / "parts" / "part-1.csv", shuffled[60:])
    renamed = {raw: f"{7 * k % 30:02d}-x" for k, raw in enumerate(IDS)}
    other = save(tmp_path / "other", tuple(renamed[raw] for raw in IDS))
    for model, path in (
        (folder, write(tmp_path / "b.csv", shuffled)),
        (folder, tmp_path / "parts"),
        (other, write(tmp_path / "c.csv", [(user, renamed[item], time) for user, item, time in rows])),
    ):
        got = json.loads(call(model, "--data.path", path, *PROTOCOLS, "--json"))
        assert got["figures"] == want["figures"], path


def test_models_of_other_items_are_not_compared(call, folder, rows, tmp_path):
    other = save(tmp_path / "other", (*IDS, "new"))
    with pytest.raises(ValueError, match=r"other: knows other items than .*model \(31 and 30\), their ranks cannot be"):
        call(folder, "--against", other, "--data.path", write(tmp_path / "a.csv", rows))


def test_ten_joins_the_cut_offs_with_a_word(call, folder, rows, tmp_path):
    with pytest.warns(UserWarning, match="evaluate.ks: 10 added"):
        assert EvaluateConfig(ks=(20, 5)).ks == (5, 10, 20)
    assert EvaluateConfig(ks=(20, 10)).ks == (20, 10)
    with pytest.raises(ValueError, match="evaluate.ks: expected cut-offs of at least 1"):
        EvaluateConfig(ks=(0,))
    path = write(tmp_path / "a.csv", rows)
    with pytest.warns(UserWarning, match="10 added"):
        printed = call(folder, "--data.path", path, "--evaluate.protocols", "full", "--evaluate.ks", "5", "20")
    assert all(f"ndcg@{k}" in printed for k in (5, 10, 20))
