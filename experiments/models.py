"""What a cell of the tables does: train one rival, or search, cut the pick out and retrain it."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from easrec_jax.search.strategies import STRATEGIES
from easrec_jax.search.wide import search_any

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Split
from easrec_jax.models.elastic import cut_out
from easrec_jax.runs.described import describe_architecture
from easrec_jax.runs.retrain import Retrained, baseline, retrain
from easrec_jax.space import space_of
from easrec_jax.train.task import make_evaluator, samples_of
from experiments.cells import Job, JobOf

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
        def make(config: Config, callbacks: dict) -> dict | None:
            return baseline(name, config, split, features, keep_ranks=True, **callbacks)

        return lambda config: Job(make, config)

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
    budget = config.search.budget if STRATEGIES[name].keeps_budget else None
    return dataclasses.replace(config, search=dataclasses.replace(config.search, strategy=name, budget=budget))


def table3_config(config: Config, name: str) -> Config:
    """A row of `SEARCHED`: the rivals' searches over SASRec's blocks, their picks retrained at the baselines' rate."""
    mine = for_strategy(config, name)
    if name == "easrec":
        return mine
    backbone = dataclasses.replace(mine.model, attention="softmax", gate_layers=0)
    return dataclasses.replace(mine, model=backbone, retrain=mine.retrain.of_baselines())


def searched_cell(split: Split, config: Config, callbacks: dict) -> dict | None:
    """Search, cut the pick out, retrain it; figures of its best epoch, the test items looked at once."""
    space, evaluator = space_of(config), make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    samples, dropout = samples_of(config, split), config.model.dropout
    found = search_any(
        space, samples, evaluator, settings=config.search, dropout=dropout, seed=config.seed, **callbacks
    )
    if not found.finished:
        return None
    copied = cut_out(found.weights, space, found.architecture) if found.weights is not None else None
    done = retrain(found.architecture, copied, config, split, **callbacks)
    chosen = {"method": config.search.strategy, "finalists": found.finalists}
    return done and _cell(done, config, split, chosen)


def alone_cell(architecture: Architecture, split: Split, config: Config, callbacks: dict) -> dict | None:
    """One network from scratch."""
    done = retrain(architecture, None, config, split, **callbacks)
    return done and _cell(done, config, split, {"method": "fixed"})


def _cell(done: Retrained, config: Config, split: Split, chosen: dict[str, Any]) -> dict:
    return {
        "architecture": describe_architecture(done.architecture, config, split.data.num_items, chosen),
        "validation": done.validation,
        "test": done.test,
        "best_epoch": done.fitted.epoch,
        "ranks": done.ranks,
    }
