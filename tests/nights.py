"""A small model and its users, to be answered night after night."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import polars as pl

from easrec_jax.architecture import Architecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.serving import part_answers
from easrec_jax.serving.artifact import Model
from easrec_jax.serving.recommend import Recommender

IDS = ("=1+1", "@SUM(A1)", "\tx", "-5", *(f"i{k}" for k in range(26)))
TITLES = {"i1": "=cmd()", "i2": "Two, of three", "=1+1": "plain"}


def make(seed: int = 5, ids: tuple[str, ...] = IDS, titles: dict | None = None) -> Recommender:
    architecture = Architecture(
        width=8, inner=8, depth=1, heads=2, max_length=6, attention="recent_linrec", gate_layers=0, conv_width=2
    )
    weights = Network(architecture, len(ids)).init(jax.random.key(seed))
    popularity = np.concatenate([[0], np.arange(len(ids), 0, -1)])
    return Recommender(Model(architecture, weights, IdMap(ids), popularity, {}, titles or {}, fingerprint="x"))


def write_users(path: Path, seed: int, users: int = 30) -> Path:
    rng = np.random.default_rng(seed)
    rows = [(f"u{user}", IDS[item]) for user in range(users) for item in rng.integers(4, len(IDS), 8)]
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(path)
    return path


def stop_after(monkeypatch, calls: int) -> None:
    """The `calls + 1`-th part is interrupted."""
    answer, done = part_answers.answer_part, []

    def counted(*args):
        done.append(1)
        if len(done) > calls:
            raise KeyboardInterrupt
        return answer(*args)

    monkeypatch.setattr(part_answers, "answer_part", counted)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
