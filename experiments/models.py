"""The rows of the paper's Table III: which search or rival each is, and under which config."""

from __future__ import annotations

import dataclasses
from functools import partial

from easrec_jax.config import Config
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Split
from experiments.cells import Job, JobOf
from experiments.training import FREE, rival_cell, searched_cell

SEARCHED = {
    "EASRec": "easrec",
    "DARTS + SASRec": "darts",
    "ProxylessNAS + SASRec": "proxyless",
    "RecNAS-like + SASRec": "recnas",  # no code of it is published
}
FLOOR_ROWS = {"Popularity": "popularity", "Markov": "markov"}
TRAINED = {"SASRec": "sasrec", "FDSA": "fdsa", "SASRecF": "sasrecf"}
EASREC_CELL = "table3-easrec"  # EASRec as the recipe says: one cell a seed for all tables


def models(config: Config, split: Split, features: ItemFeatures | None) -> dict[str, JobOf]:
    """The rows of Table III by name, and two floors below them.

    Rival searches run over SASRec's blocks; without features there is no SASRecF and no FDSA.
    """
    linear, shown = ("linrec", "LinRec") if config.data.targets == "last" else ("causal_linrec", "causal LinRec")
    trained = {k: v for k, v in TRAINED.items() if features is not None or k == "SASRec"}

    def searched(name: str) -> JobOf:
        return lambda config: Job(partial(searched_cell, split), table3_config(config, name))

    def alone(name: str) -> JobOf:
        return lambda config: Job(partial(rival_cell, name, split, features), config)

    rows = {label: searched(name) for label, name in SEARCHED.items()}
    rows |= {label: alone(name) for label, name in trained.items()}
    rows |= {f"{label} + {shown}": alone(f"{name}+{linear}") for label, name in trained.items()}
    return rows | {label: alone(name) for label, name in FLOOR_ROWS.items()}


def cell_name(label: str) -> str:
    """Of a row of Table III, without the seed."""
    return f"table3-{paper_label(label).replace(' + ', '-').lower()}"


def paper_label(label: str) -> str:
    """What the paper calls a row: ours say where they are not the same."""
    return label.replace("causal ", "").replace("-like", "")


def for_strategy(config: Config, name: str) -> Config:
    """The config with another strategy; those that keep no budget get none."""
    budget = None if name in FREE else config.search.budget
    return dataclasses.replace(config, search=dataclasses.replace(config.search, strategy=name, budget=budget))


def table3_config(config: Config, name: str) -> Config:
    """A row of `SEARCHED`: the rivals' searches over SASRec's blocks, their picks retrained at the baselines' rate."""
    mine = for_strategy(config, name)
    if name == "easrec":
        return mine
    backbone = dataclasses.replace(mine.model, attention="softmax", gate_layers=0)
    return dataclasses.replace(mine, model=backbone, retrain=mine.retrain.of_baselines())
