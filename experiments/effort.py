"""What training and searching cost in FLOPs, in closed form: seconds on a machine that others use too are noisy.

Counted are the products of `cost.token_flops` at every position of every batch, padding included, and the scores of all
items where there is a target. A backward pass is two forward ones, so training is 3 x forward; in the supernet each
block is computed once more in the backward pass (`jax.checkpoint`), which makes 4. An architecture step needs no
gradients of weights, so 3 (to a tenth), and none of what enters the first layer, so 1 there; scores are 3 and 2. Its batches are
taken to be shaped as the training ones. Which blocks of the supernet were computed the steps themselves count (`SearchState.computed`).
Evaluation is left out, on both sides: it is the same work an epoch.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import RetrainConfig, SearchConfig
from easrec_jax.data.batches import Samples, bucketed
from easrec_jax.models.cost import request_flops, token_flops
from easrec_jax.nas.sandwich import TAUGHT
from easrec_jax.space import Space
from experiments.spaces import Grid

Shapes = Counter[tuple[int, int]]  # batches of an epoch by (length, rows)
# forward passes that a step of the supernet is worth: of a block of the first layer, of another, of the scores
PASSES = {"weight": (4, 4, 3), "architecture": (1, 3, 2)}


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


def steps_made(settings: SearchConfig, steps: int, epochs: int, *, learns: bool = True) -> dict[str, int]:
    """Weight and architecture steps of a search of so many epochs of `steps` weight steps (Algorithm 1).

    A strategy that learns nothing makes none of the latter.
    """
    warmup, total = settings.warmup_epochs * steps, epochs * steps
    learned = max(0, total // settings.every - warmup // settings.every) if learns else 0
    return {"weight": total, "architecture": learned}


def elastic_flops(space: Space, num_items: int, shapes: Shapes, settings: SearchConfig, epochs: int) -> float:
    """FLOPs of training an elastic network of the paper's space by the sandwich, with a loss at every position.

    The largest network in every epoch; after the warm-up beside it one of another width, each as often as the next, which is
    scored at some of the positions, as its teacher is once more.
    """
    deepest = [space.architecture(number) for number in space.exits]
    largest = max(deepest, key=lambda one: one.width)
    others = [one for one in deepest if one != largest]
    alone = alone_flops(largest, num_items, shapes, every_position=True)
    beside = 0.0
    for (length, rows), count in shapes.items():
        scores = 2 * largest.width * num_items * TAUGHT  # what is narrower is scored as zero-padded
        each = [sum(token_flops(one, length, layer) for layer in range(one.depth)) for one in others]
        beside += count * rows * length * (3 * float(np.mean(each)) + 4 * scores)
    return epochs * alone + max(0, epochs - settings.warmup_epochs) * beside


def search_flops(
    grid: Grid, num_items: int, shapes: Shapes, drawn: dict, finalists: list[dict], settings: SearchConfig,
    *, every_position: bool,
) -> float:  # fmt: skip
    """FLOPs of a whole search with a supernet: steps of both kinds, and the finalists trained alone at the end.

    `drawn` has of "weight" and of "architecture" how many `steps` there were and how often they computed each of the `blocks`
    [candidates depths].
    """
    networks = [row[0] for row in grid.networks]
    total = 0.0
    for step, (first, other, of_scores) in PASSES.items():
        blocks = np.asarray(drawn[step]["blocks"])
        blocks = first * blocks[:, 0] + other * blocks[:, 1:].sum(1)  # of each candidate, as forward passes
        for (length, rows), count in shapes.items():
            share = count / shapes.total()
            layers = blocks @ np.array([token_flops(network, length) for network in networks], np.float64)
            targets = length if every_position and step == "weight" else 1
            scores = drawn[step]["steps"] * targets * 2 * grid.largest.width * num_items
            total += share * rows * (length * layers + of_scores * scores)
    if len(finalists) > 1:
        for entry in finalists:
            architecture = Architecture.from_json(entry["architecture"])
            one = alone_flops(architecture, num_items, shapes, every_position=every_position)
            total += settings.finalist_epochs * one
    return total
