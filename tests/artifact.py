"""A small saved model, its first ids and titles of awkward text."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jax
import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model, save_model

IDS = ("a\nb", '"; drop', "<script>", "x" * 1_000_000, "i5", "i6")
ARCHITECTURE = Architecture(
    width=8, inner=8, depth=2, heads=2, max_length=4, attention="recent_linrec", gate_layers=1, conv_width=2
)


@cache
def weights_of(items: int) -> dict:
    return Network(ARCHITECTURE, items).init(jax.random.key(0))


def save(folder: Path, ids: tuple[str, ...] = IDS) -> Path:
    model = Model(
        ARCHITECTURE, weights_of(len(ids)), IdMap(ids), np.arange(len(ids) + 1), {"test": {}}, {ids[0]: "<b>title"}
    )
    save_model(folder, model, architecture=ARCHITECTURE.to_json(), config="{}", metrics="")
    return folder
