"""What training and searching cost in FLOPs, in closed form: seconds on a machine that others use too are noisy.

Counted are the products of `cost.token_flops` at every position of every batch, padding included, and the scores of all
items where there is a target. A backward pass is two forward ones, so training is 3 x forward; in the supernet each
block is computed once more in the backward pass (`jax.checkpoint`), which makes 4; an architecture step needs no
gradients of weights, so 3, and its batches are taken to be shaped as the training ones. Which blocks of the supernet
were computed is counted step by step (`Drawn`). Evaluation is left out, on both sides: it is the same work an epoch.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from easrec_jax.architecture import Architecture, SearchSpace
from easrec_jax.config import RetrainConfig, SearchConfig
from easrec_jax.cost import request_flops, token_flops
from easrec_jax.data.batches import Samples, bucketed
from easrec_jax.strategies import Strategy
from easrec_jax.supernet import NEGLIGIBLE

Shapes = Counter[tuple[int, int]]  # batches of an epoch by (length, rows)
PASSES = {"weight": 4, "architecture": 3}  # forward passes that a step of the supernet is worth


def batch_shapes(samples: Samples, max_length: int, settings: RetrainConfig | SearchConfig) -> Shapes:
    """The static shapes of an epoch's batches."""
    plan = bucketed(samples, max_length=max_length, batch_size=settings.batch_size, buckets=settings.buckets)
    return Counter((length, rows) for _, length, rows in plan)


def alone_flops(architecture: Architecture, num_items: int, shapes: Shapes, *, every_position: bool) -> float:
    """FLOPs of training one network for one epoch."""

    def row(length: int) -> int:
        if not every_position:
            return request_flops(architecture, num_items, length)
        layers = sum(token_flops(architecture, length, layer) for layer in range(architecture.depth))
        return length * (layers + 2 * architecture.width * num_items)

    return 3.0 * sum(count * rows * row(length) for (length, rows), count in shapes.items())


def epochs_run(cell: dict, settings: RetrainConfig) -> int:
    """How many epochs a finished network trained: early stopping comes `patience` epochs after the best one."""
    return min(settings.epochs, cell["best_epoch"] + settings.patience)


class Drawn:
    """How many weight and architecture steps a search made, and how often each block [candidates depths] was computed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.blocks: dict[str, Any] = dict.fromkeys(PASSES, 0)
        self.steps = dict.fromkeys(PASSES, 0)

    def add(self, step: str, p: Any, q: Any) -> None:
        """As `supernet.Supernet` decides what it skips."""
        reached = np.cumsum(np.asarray(q)[::-1])[::-1] > NEGLIGIBLE
        self.blocks[step] = self.blocks[step] + ((np.asarray(p) > NEGLIGIBLE)[:, None] & reached).astype(np.int64)
        self.steps[step] += 1

    def taken(self) -> dict[str, dict]:
        """The counts so far, once all steps are done, as JSON; and `reset`."""
        jax.effects_barrier()
        found = {step: {"steps": self.steps[step], "blocks": np.asarray(self.blocks[step]).tolist()} for step in PASSES}
        self.reset()
        return found


@lru_cache(maxsize=16)
def watched(strategy: Strategy) -> tuple[Strategy, Drawn]:
    """The same strategy, its draws counted; one pair a strategy, so that nothing recompiles from search to search."""
    drawn = Drawn()

    def counting(function: Any, step: str) -> Any:
        def counted(arch: Any, key: Any, moment: Any) -> Any:
            p, q = function(arch, key, moment)
            jax.debug.callback(partial(drawn.add, step), *jax.lax.stop_gradient((p, q)))
            return p, q

        return counted

    draw, relax = counting(strategy.draw, "weight"), counting(strategy.relax, "architecture")
    return strategy._replace(draw=draw, relax=relax), drawn


def search_flops(
    space: SearchSpace, num_items: int, shapes: Shapes, drawn: dict, finalists: list[dict], settings: SearchConfig,
    *, every_position: bool,
) -> float:  # fmt: skip
    """FLOPs of a whole search with a supernet: steps of both kinds, and the finalists trained alone at the end."""
    networks = [space.architecture(i, 1) for i in range(space.num_candidates)]
    total = 0.0
    for step, passes in PASSES.items():
        blocks = np.asarray(drawn[step]["blocks"]).sum(1)  # of each candidate
        for (length, rows), count in shapes.items():
            share = count / shapes.total()
            layers = blocks @ np.array([token_flops(network, length) for network in networks], np.float64)
            targets = length if every_position and step == "weight" else 1
            scores = drawn[step]["steps"] * targets * 2 * space.largest.width * num_items
            total += share * rows * (passes * length * layers + 3 * scores)
    if len(finalists) > 1:
        for entry in finalists:
            architecture = space.architecture(entry["candidate"], entry["depth"])
            one = alone_flops(architecture, num_items, shapes, every_position=every_position)
            total += settings.finalist_epochs * one
    return total
