"""One network against one network: the pick of EASRec and SASRec of one and of two layers, all from scratch, equally long.

A search, copied weights and a second layer could each explain a lead; here none of them is in it. SASRec's rate is chosen
by its first seed's validation items.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from easrec_jax.architecture import Architecture, full_architecture, sasrec_architecture, space_of
from easrec_jax.config import Config
from easrec_jax.reproduce.cells import Cells, Job
from easrec_jax.reproduce.models import alone_cell

EPOCHS = 26
RATES = (0.001, 0.002, 0.003)  # of SASRec with one layer


def network_job(cells: Cells, architecture: Architecture, rate: float, seed: int) -> Job:
    """A network of any architecture from scratch, `EPOCHS` long."""
    retrain = dataclasses.replace(cells.config.retrain, epochs=EPOCHS, learning_rate=rate)
    config: Config = dataclasses.replace(cells.config, retrain=retrain, seed=seed)
    return Job(partial(alone_cell, architecture, cells.split), config, architecture)


def one_layer_sasrec(config: Config) -> Architecture:
    """SASRec of the config's width with one softmax layer, no gates."""
    return full_architecture(dataclasses.replace(config.model, layers=1, attention="softmax", gate_layers=0))


def pick(config: Config) -> Architecture:
    """The widest candidate with one layer, which EASRec's search ends with on MovieLens."""
    return space_of(config).architecture(0, 1)


def jobs(cells: Cells) -> dict:
    c = cells.config
    out = {}
    for rate in RATES:
        for seed in range(3):
            out[f"headline-sasrec-1-rate{rate:g}-seed{seed}"] = network_job(cells, one_layer_sasrec(c), rate, seed)
    for seed in range(3):
        out[f"headline-easrec-seed{seed}"] = network_job(cells, pick(c), 0.003, seed)
        out[f"headline-sasrec-seed{seed}"] = network_job(cells, sasrec_architecture(c.model), 0.001, seed)
    return out
