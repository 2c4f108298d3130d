"""A small model of random weights, saved: forty items, histories of eight events."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.config_files import to_json
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model, save_model

IDS = tuple(["a b", 'q"uote', "<b>", "ü", *(f"i{k}" for k in range(36))])
ARCHITECTURE = Architecture(
    width=8, inner=16, depth=2, heads=2, max_length=8, attention="recent_linrec", gate_layers=2, conv_width=4
)


def save(path: Path) -> Path:
    """The model as a folder."""
    weights = Network(ARCHITECTURE, len(IDS)).init(jax.random.key(0))
    popularity = np.concatenate([[0], np.arange(len(IDS), 0, -1)])
    model = Model(ARCHITECTURE, weights, IdMap(IDS), popularity, {"test": {}})
    save_model(path, model, architecture=ARCHITECTURE.to_json(), config=to_json(Config()), metrics="")
    return path
