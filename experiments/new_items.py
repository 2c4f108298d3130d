"""Items that nobody has met yet: a tenth of the items is taken out of training with all of its events, then recommended.

A user's history is its events of the other items, the last of them for validation; its events of the new items are the test targets.
Networks are of the recipe's sizes, from scratch, chosen by validation items, which are not new. All rank the same items: the whole
catalogue (`among all`), and the new items alone (`among new`), without those of the history.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.architecture import full_architecture
from easrec_jax.config import Config
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.item_files import with_planted_features
from easrec_jax.data.split import Split
from easrec_jax.models.encoder import ScoreFunction
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.rivals.popularity import popularity_scores
from easrec_jax.runs.start import fresh_weights
from easrec_jax.train.fit import fit
from easrec_jax.train.loop import Run
from easrec_jax.train.task import make_evaluator, task_of
from experiments.cells import Cells, Job
from experiments.show import markdown, plus_minus

SHARE = 0.1  # of the items, that are new
PROTOCOL, METRIC = "full_unseen", "recall@10"
AMONG = ("all", "new")
# id_dropout of those that read features
NETWORKS = {"features": 0.1, "features, no id dropout": 0.0, "ids alone": None}
FLOORS = ("popularity", "random")
ROWS = (*NETWORKS, *FLOORS)


def without_new(data: Interactions, seed: int) -> tuple[Interactions, np.ndarray]:
    """(the interactions with a share of the items held out, bool [items + 1]: which are)."""
    drawn = np.random.default_rng((seed, 11)).permutation(data.num_items)[: round(SHARE * data.num_items)] + 1
    new = np.zeros(data.num_items + 1, bool)
    new[drawn] = True
    user, held = np.repeat(np.arange(data.num_users), data.lengths), new[data.items]
    left = np.bincount(user[~held], minlength=data.num_users)
    stay = (left >= 3)[user]
    order = np.argsort(user * 2 + held, kind="stable")
    order = order[stay[order]]
    kept = np.flatnonzero(left >= 3)
    offsets = np.concatenate([[0], np.cumsum(data.lengths[kept])]).astype(np.int64)
    ends = offsets[:-1] + left[kept]
    ids = IdMap(tuple(data.user_ids.raw[number] for number in kept.tolist()))
    parts = np.stack([ends - 1, ends], 1).astype(np.int64)
    return Interactions(data.items[order], offsets, ids, data.item_ids, part_ends=parts), new


def only(scores: ScoreFunction) -> ScoreFunction:
    """The scores of the new items alone: weights are (weights, bool [items + 1])."""

    def of(weights: tuple[Any, Array], items: Array) -> Array:
        return jnp.where(weights[1][None, :], scores(weights[0], items), -jnp.inf)

    return of


def run_new_items(cells: Cells, *, seeds: int, dataset: str, rows: tuple[str, ...] = ()) -> str:
    """All cells that are not finished, then new_items.json, .csv and .md; the Markdown is returned. `rows` are some of `ROWS`."""
    shown = cells.shown_rows(ROWS, rows, partial(_names, seeds=seeds))
    assert cells.features is not None
    data, jobs = cells.split.data, {}
    for row in shown:
        make = partial(floor_cell, row, data)
        if row in NETWORKS:
            make = partial(network_cell, row, data, cells.features)
        for seed, name in enumerate(_names(row, seeds)):
            jobs[name] = Job(make, dataclasses.replace(small(cells.config, NETWORKS.get(row)), seed=seed))
    cells.run_all(jobs)
    found = {row: [cells.run(name, jobs[name]) for name in _names(row, seeds)] for row in shown}
    fields = [_fields(row, of) for row, of in found.items()]
    lines = []
    for row, of in found.items():
        warm = plus_minus([cell["validation"] for cell in of]) if "validation" in of[0] else "-"
        lines.append([row, *(plus_minus([cell[METRIC][among] for cell in of]) for among in AMONG), warm])
    head = ["", *(f"Recall@10 among {among}" for among in AMONG), "validation NDCG@10 (not new)"]
    items = found[shown[0]][0]["new_items"]
    note = (
        f"{dataset}, `{PROTOCOL}`, {seeds} seed{'s' * (seeds > 1)}, each with {items} of {data.num_items} items held out of training, "
        f"features {', '.join(cells.features.names)}."
    )
    return cells.write("new_items", {"rows": fields}, fields, f"{markdown(head, lines)}\n\n{note}", seeds=seeds)


def _names(row: str, seeds: int) -> list[str]:
    return [f"new-items-{row.replace(',', '').replace(' ', '-')}-seed{seed}" for seed in range(seeds)]


def _fields(row: str, of: list[dict]) -> dict[str, Any]:
    """A row as plain numbers, means over seeds."""
    fields: dict[str, Any] = {"row": row, "seeds": len(of), "new items": of[0]["new_items"]}
    fields |= {f"{METRIC} among {among}": float(np.mean([cell[METRIC][among] for cell in of])) for among in AMONG}
    known = [cell["validation"] for cell in of if "validation" in cell]
    return fields | ({"validation ndcg@10": float(np.mean(known))} if known else {})


def figures(config: Config, split: Split, new: np.ndarray, scores: ScoreFunction, weights: Any) -> dict[str, float]:
    """The metric among all items, and among the new ones."""
    evaluator = make_evaluator(config, split, "test", (PROTOCOL,))
    whole = evaluator(scores, weights)[PROTOCOL][METRIC]
    return {"all": whole, "new": evaluator(only(scores), (weights, jnp.asarray(new)))[PROTOCOL][METRIC]}


def network_cell(row: str, data: Interactions, features: ItemFeatures, config: Config, run: Run) -> dict | None:
    """A network trained without the new items, and what it makes of them; None if interrupted."""
    featured = NETWORKS[row] is not None
    held, new = without_new(data, config.seed)
    held = with_planted_features(held, features) if featured else held
    split, network = Split(held), Network(full_architecture(config.model), held.num_items, config.model.dropout)
    weights = fresh_weights(network.architecture, config, held)
    fitted = fit(network, weights, task_of(config, split), settings=config.retrain, run=run)
    if not fitted.finished:
        return None
    found = figures(config, split, new, network_scores(network), fitted.weights)
    return {"best_epoch": fitted.epoch, "validation": fitted.ndcg, "new_items": int(new.sum()), METRIC: found}


def floor_cell(row: str, data: Interactions, config: Config, run: Run) -> dict:
    """What popularity makes of the new items, or a score that is the same for all."""
    held, new = without_new(data, config.seed)
    split = Split(held)
    counts = split.popularity() if row == "popularity" else np.zeros(data.num_items + 1)
    found = figures(config, split, new, popularity_scores, jnp.asarray(counts, jnp.float32))
    return {"new_items": int(new.sum()), METRIC: found}


def small(config: Config, id_dropout: float | None) -> Config:
    """Sizes and effort of a few CPU minutes, those of a smoke config as they are."""
    model, retrain = config.model, config.retrain
    if retrain.epochs >= 10:
        model = dataclasses.replace(model, width=64, inner=128, layers=2, max_length=min(model.max_length, 50))
        retrain = dataclasses.replace(retrain, epochs=12, batch_size=32, buckets=1, learning_rate=0.003)
    model = dataclasses.replace(model, id_dropout=id_dropout or 0.0)
    evaluate = dataclasses.replace(config.evaluate, protocols=(PROTOCOL,), select_by=PROTOCOL, buckets=1)
    return dataclasses.replace(config, model=model, retrain=retrain, evaluate=evaluate)
