"""A small elastic model with random weights, saved: three sizes of one network, and a router over them."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.config_files import to_json
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.cost import request_flops
from easrec_jax.models.network import Network
from easrec_jax.models.router import SIGNS, Router
from easrec_jax.serving.artifact import Model, save_model
from easrec_jax.serving.route import Route
from easrec_jax.serving.sizes import Size

IDS = tuple(f"i{k}" for k in range(1, 31))
LARGEST = Architecture(
    width=16, inner=24, depth=3, heads=2, max_length=8, attention="recent_linrec", gate_layers=2, conv_width=3
)
SIZES = tuple(
    dataclasses.replace(LARGEST, width=w, inner=inner, depth=d) for w, inner, d in ((8, 12, 1), (8, 12, 2), (16, 24, 2))
)
HISTORIES = [["i1"], ["i2", "i7", "i30"], [f"i{k}" for k in range(3, 20)], ["i5"] * 8]


def entry(architecture: Architecture, ndcg: float) -> dict:
    """What front.json says of a size."""
    flops = request_flops(architecture, len(IDS))
    figures = {part: {"full": {"ndcg@10": ndcg - less}} for part, less in (("validation", 0.0), ("test", 0.01))}
    return architecture.to_json() | figures | {
        "flops": flops, "flops_over_largest": flops / request_flops(LARGEST, len(IDS)), "flops_over_sasrec": flops / 100_000,
        "parameters": 1234, "cost": flops / request_flops(LARGEST, len(IDS)), "ndcg@10": ndcg, "select_by": "full",
        "ms": 0.01, "ms_over_sasrec": 0.1,
    }  # fmt: skip


FRONT = tuple(Size(one, entry(one, 0.3 + 0.1 * number)) for number, one in enumerate(SIZES))


@cache
def weights() -> dict:
    """Of the largest network, biases and scales far from their start values too."""
    rng = np.random.default_rng(0)
    found = Network(LARGEST, len(IDS)).init(jax.random.key(0))
    found = jax.tree.map(lambda x: (x + 0.3 * rng.standard_normal(x.shape)).astype(np.float32), found)
    found["tables"]["items"] = found["tables"]["items"].at[0].set(0.0)
    return found


def elastic_model(front: tuple[Size, ...] = FRONT) -> Model:
    """The model in memory."""
    results = {"data": {"source": "planted"}, "test": {"full": {"ndcg@10": 0.9}}}
    return Model(LARGEST, weights(), IdMap(IDS), np.arange(len(IDS) + 1), results, {"i1": "One"}, front=front)


def save_elastic(folder: Path, front: tuple[Size, ...] = FRONT) -> Path:
    """The model as a folder."""
    described = entry(LARGEST, 0.9) | {"chosen_by": {"method": "elastic"}}
    save_model(folder, elastic_model(front), architecture=described, config=to_json(Config()), metrics="")
    return folder


def route() -> Route:
    """A router of drawn weights, which does not give everyone the same size."""
    router, rng = Router.beside(LARGEST, len(IDS), len(SIZES), width=8), np.random.default_rng(1)
    lengths = rng.integers(1, LARGEST.max_length + 1, (256, 1))
    items = np.where(
        np.arange(LARGEST.max_length) < lengths, rng.integers(1, len(IDS) + 1, (256, LARGEST.max_length)), 0
    )
    features = np.asarray(router.features(router.reader(weights()), jnp.asarray(items)))
    kernel = rng.normal(size=(features.shape[1], len(SIZES)))
    kernel /= features.std(0)[:, None] + 1e-3
    kernel[-SIGNS:] = 0.0  # not by length alone
    head = {"kernel": kernel.astype(np.float32), "bias": -(features.mean(0) @ kernel).astype(np.float32)}
    shares = [one.to_json() | {"cost": 0.1 * number, "share": 1 / 3} for number, one in enumerate(SIZES, 1)]
    figures = {part: {"full": {"ndcg@10": 0.5}} for part in ("validation", "test")}
    cost = {"validation": 0.3, "test": 0.25}
    lengths = [{"from": 1, "to": 8, "users": 9, "shares": [1 / 3, 1 / 3, 1 / 3]}]
    return Route(SIZES, head, {"networks": shares, "router": {"width": 8}, "cost": cost, "lengths": lengths} | figures)


def save_routed(folder: Path) -> Path:
    """The elastic model with that router as a folder."""
    model = elastic_model()._replace(route=route())
    save_model(folder, model, architecture=entry(LARGEST, 0.9), config=to_json(Config()), metrics="")
    return folder
