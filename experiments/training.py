"""What a cell does, and what experiments know of the strategies: the one door to the library's searches and trainings."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, RetrainConfig, SearchConfig
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Split
from easrec_jax.models.elastic import cut_out
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.supernet import extract
from easrec_jax.runs.retrain import Retrained, baseline, describe_architecture, make_evaluator, make_samples, retrain
from easrec_jax.search.search import Found, search
from easrec_jax.search.strategies import STRATEGIES
from easrec_jax.search.wide import search_any
from easrec_jax.space import search_space, space_of
from experiments.effort import Shapes, batch_shapes, steps_made
from experiments.spaces import Grid

SUPERNETS = tuple(name for name, strategy in STRATEGIES.items() if strategy.choose is None)
CHOSEN_ALONE = tuple(name for name in STRATEGIES if name not in SUPERNETS)  # they train networks alone
FREE = tuple(name for name, strategy in STRATEGIES.items() if not strategy.keeps_budget)


def searched_cell(split: Split, config: Config, callbacks: dict) -> dict | None:
    """Search, cut the pick out, retrain it; figures of its best epoch, the test items looked at once."""
    space, evaluator = space_of(config), make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    samples, dropout = make_samples(config, split), config.model.dropout
    found = search_any(
        space, samples, evaluator, settings=config.search, dropout=dropout, seed=config.seed, **callbacks
    )
    if not found.finished:
        return None
    copied = cut_out(found.weights, space, found.architecture) if found.weights is not None else None
    done = retrain(found.architecture, copied, config, split, **callbacks)
    chosen = {"method": config.search.strategy, "finalists": found.finalists}
    return done and _trained(done, config, split, chosen)


def alone_cell(architecture: Architecture, split: Split, config: Config, callbacks: dict) -> dict | None:
    """One network from scratch."""
    done = retrain(architecture, None, config, split, **callbacks)
    return done and _trained(done, config, split, {"method": "fixed"})


def rival_cell(name: str, split: Split, features: ItemFeatures | None, config: Config, callbacks: dict) -> dict | None:
    """One baseline by its name, `sasrec` or `fdsa+causal_linrec`, from scratch."""
    return baseline(name, config, split, features, keep_ranks=True, **callbacks)


def scored_search_cell(grid: Grid, split: Split, config: Config, callbacks: dict) -> dict | None:
    """One search, and the score of every network as it stands in the supernet; no test item is touched.

    The seconds are those of the search: its price has no part in the scores.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    evaluator = make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    samples, dropout = make_samples(config, split), config.model.dropout
    space = search_space(config)
    found: Found = search(
        space, samples, evaluator, settings=config.search, dropout=dropout, seed=config.seed, **callbacks
    )
    if not found.finished:
        return None
    spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    learns = STRATEGIES[config.search.strategy].learns
    steps = steps_made(config.search, epoch_shapes(config, split, config.search).total(), found.epochs, learns=learns)
    counts = found.computed or {}

    def score(architecture: Architecture) -> float:
        network: Any = Network(architecture, split.data.num_items)
        figures = evaluator(network_scores(network), extract(found.weights or {}, space, architecture))
        return figures[evaluator.protocols[0]]["ndcg@10"]

    return {
        "pick": list(grid.place(found.architecture)),
        "likeliest": list(grid.place(Architecture.from_json(found.finalists[0]["architecture"]))),
        "finalists": found.finalists,
        "drawn": {kind: {"steps": steps[kind], "blocks": np.asarray(counts[kind]).tolist()} for kind in steps},
        "supernet_scores": [[score(network) for network in row] for row in grid.networks],
    } | spent


def chosen_alone(costs: np.ndarray, config: Config, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Candidate and depth of what random search and the exhaustive oracle would train, by their own functions.

    `costs` are [candidates depths], over the largest network's.
    """
    found = {}
    for name in CHOSEN_ALONE:
        choose = STRATEGIES[name].choose
        assert choose is not None
        found[name] = choose(costs, config.search, seed)
    return found


def epoch_shapes(config: Config, split: Split, settings: RetrainConfig | SearchConfig) -> Shapes:
    """The static shapes of the batches of a training epoch under `settings`."""
    return batch_shapes(make_samples(config, split), config.model.max_length, settings)


def _trained(done: Retrained, config: Config, split: Split, chosen: dict[str, Any]) -> dict:
    return {
        "architecture": describe_architecture(done.architecture, config, split.data.num_items, chosen),
        "validation": done.validation,
        "test": done.test,
        "best_epoch": done.fitted.epoch,
        "ranks": done.ranks,
    }
