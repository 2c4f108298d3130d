"""A planted chain, small enough to be searched in seconds, and the one way in which tests search it."""

from __future__ import annotations

from functools import cache

import numpy as np

from easrec_jax.config import (
    Config,
    DataConfig,
    EasrecConfig,
    ModelConfig,
    RecnasConfig,
    SearchConfig,
)
from easrec_jax.data.batches import training_samples
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.nas.search import Found, search
from easrec_jax.nas.strategies.strategy import Strategy
from easrec_jax.space import Space, space_of
from easrec_jax.train.loop import QUIET, Run
from easrec_jax.train.task import Task

ITEMS, LENGTH = 60, 12
MODEL = {
    "width": 16, "inner": 16, "layers": 2, "heads": 2, "max_length": LENGTH, "attention": "softmax", "gate_layers": 0,
    "dropout": 0.3,
}  # fmt: skip
SEARCH = {
    "prune": (0.75, 0.0), "epochs": 8, "batch_size": 16, "buckets": 1, "learning_rate": 0.02, "finalists": 1,
    "arch_learning_rate": 0.1, "every": 2, "warmup_epochs": 3, 
    "easrec": EasrecConfig(tau_start=0.5, tau_decay=0.005, tau_min=0.1), "recnas": RecnasConfig(tau_start=0.5, tau_min=0.1),
}  # fmt: skip
WIDE_MODEL = {
    "width": 16, "inner": 24, "layers": 2, "heads": 2, "max_length": LENGTH, "conv_width": 3, "dropout": 0.1,
}  # fmt: skip
WIDE_SEARCH = SEARCH | {
    "inner_prune": (0.0, 0.75), "heads": (1, 2), "gate_layers": (0, 1), "attentions": ("causal_linrec",), "finalists": 2,
}  # fmt: skip


@cache
def chain() -> Split:
    """160 users: each of 60 items has one successor, which follows nine times in ten.

    A narrow network cannot tell 60 successors apart. One layer is enough, and a second one's dropout is mere noise.
    """
    rng = np.random.default_rng(0)
    successor = rng.permutation(ITEMS)
    histories = rng.integers(0, ITEMS, (160, LENGTH + 2))
    for t in range(1, histories.shape[1]):
        follow = rng.random(len(histories)) < 0.9
        histories[:, t] = np.where(follow, successor[histories[:, t - 1]], histories[:, t])
    users, items = (tuple(f"{kind}{k}" for k in range(count)) for kind, count in (("u", 160), ("i", ITEMS)))
    offsets = np.arange(len(histories) + 1) * histories.shape[1]
    return Split(Interactions((1 + histories).ravel().astype(np.int32), offsets, IdMap(users), IdMap(items)))


def setting(*, wide: bool = False, targets: str = "all", model: dict | None = None, **settings) -> Config:
    """The config of a search of the chain, with other settings of the search."""
    sizes, fields = (WIDE_MODEL, WIDE_SEARCH) if wide else (MODEL, SEARCH)
    return Config(
        data=DataConfig(targets=targets),  # type: ignore[arg-type]
        model=ModelConfig(**(sizes | (model or {}))),
        search=SearchConfig(**(fields | settings)),
    )


def task_of(config: Config, seed: int = 0) -> Task:
    samples = training_samples(chain(), max_length=LENGTH, targets=config.data.targets, windows="all")
    return Task(samples, Evaluator(chain(), "validation", LENGTH, ("full",)), config.model.dropout, seed)


def search_chain(
    config: Config, *, strategy: Strategy | None = None, seed: int = 0, run: Run = QUIET
) -> tuple[Space, Found]:
    """The space of the config, and what its search leaves."""
    space = space_of(config)
    return space, search(space, task_of(config, seed), settings=config.search, strategy=strategy, run=run)
