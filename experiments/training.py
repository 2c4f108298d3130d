"""What a cell does, and what experiments know of the strategies: the one door to the library's searches and trainings."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, RetrainConfig, SearchConfig
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Split
from easrec_jax.models.network import Network, network_scores
from easrec_jax.nas.search import search
from easrec_jax.nas.strategies.alone import Alone
from easrec_jax.nas.strategies.known import STRATEGIES
from easrec_jax.runs.described import describe_architecture
from easrec_jax.runs.retrain import Retrained, baseline, retrain
from easrec_jax.space import space_of
from easrec_jax.train.loop import Run
from easrec_jax.train.task import samples_of, task_of
from experiments.effort import Shapes, batch_shapes, steps_made
from experiments.spaces import Grid

SUPERNETS = tuple(name for name, strategy in STRATEGIES.items() if not isinstance(strategy, Alone))
CHOSEN_ALONE = tuple(name for name in STRATEGIES if name not in SUPERNETS)  # they train networks alone
FREE = tuple(name for name, strategy in STRATEGIES.items() if not strategy.keeps_budget)


def searched_cell(split: Split, config: Config, run: Run) -> dict | None:
    """Search, cut the pick out, retrain it; figures of its best epoch, the test items looked at once."""
    found = search(space_of(config), task_of(config, split), settings=config.search, run=run)
    if not found.finished:
        return None
    done = retrain(found.architecture, found.cut(), config, split, run=run)
    chosen = {"method": config.search.strategy, "finalists": [one.to_json() for one in found.finalists]}
    return done and _trained(done, config, split, chosen)


def alone_cell(architecture: Architecture, split: Split, config: Config, run: Run) -> dict | None:
    """One network from scratch."""
    done = retrain(architecture, None, config, split, run=run)
    return done and _trained(done, config, split, {"method": "fixed"})


def rival_cell(name: str, split: Split, features: ItemFeatures | None, config: Config, run: Run) -> dict | None:
    """One baseline by its name, `sasrec` or `fdsa+causal_linrec`, from scratch."""
    return baseline(name, config, split, features, keep_ranks=True, run=run)


def scored_search_cell(grid: Grid, split: Split, config: Config, run: Run) -> dict | None:
    """One search, and the score of every network as it stands in the supernet; no test item is touched.

    The seconds are those of the search: its price has no part in the scores.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    space, task = space_of(config), task_of(config, split)
    found = search(space, task, settings=config.search, run=run)
    if not found.finished:
        return None
    spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    strategy, supernet = STRATEGIES[config.search.strategy], found.supernet
    assert not isinstance(strategy, Alone) and supernet is not None
    learns = strategy.learn is not None
    steps = steps_made(config.search, epoch_shapes(config, split, config.search).total(), found.epochs, learns=learns)

    def score(architecture: Architecture) -> float:
        network = Network(architecture, split.data.num_items)
        figures = task.evaluator(network_scores(network), supernet.cut(found.weights, architecture))
        return figures[task.evaluator.protocols[0]]["ndcg@10"]

    return {
        "pick": list(grid.place(found.architecture)),
        "likeliest": list(grid.place(found.finalists[0].architecture)),
        "finalists": [one.to_json() for one in found.finalists],
        "drawn": {kind: {"steps": steps[kind], "blocks": np.asarray(found.computed[kind]).tolist()} for kind in steps},
        "supernet_scores": [[score(network) for network in row] for row in grid.networks],
    } | spent


def chosen_alone(costs: np.ndarray, config: Config, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Candidate and depth of what random search and the exhaustive oracle would train, by their own functions.

    `costs` are [candidates depths], over the largest network's.
    """
    within = costs.ravel() <= (np.inf if config.search.budget is None else config.search.budget)
    found = {}
    for name in CHOSEN_ALONE:
        strategy = STRATEGIES[name]
        assert isinstance(strategy, Alone)
        networks = strategy.choose(np.flatnonzero(within), config.search, seed)
        found[name] = [(int(number) // costs.shape[1], int(number) % costs.shape[1] + 1) for number in networks]
    return found


def epoch_shapes(config: Config, split: Split, settings: RetrainConfig | SearchConfig) -> Shapes:
    """The static shapes of the batches of a training epoch under `settings`."""
    return batch_shapes(samples_of(config, split), config.model.max_length, settings)


def _trained(done: Retrained, config: Config, split: Split, chosen: dict[str, Any]) -> dict:
    return {
        "architecture": describe_architecture(done.architecture, config, split.data.num_items, chosen),
        "validation": done.validation,
        "test": done.test,
        "best_epoch": done.fitted.epoch,
        "ranks": done.ranks,
    }
