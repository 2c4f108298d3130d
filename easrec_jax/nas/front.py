"""What shared weights are worth: networks of a space measured as they stand in the supernet, and the front of accuracy over cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from easrec_jax.models.encoder import Supernet, Weights
from easrec_jax.nas.finalists import Finalist, finalist
from easrec_jax.space import FIRST_INNER, Space
from easrec_jax.train.task import Task

GENERATION = 20  # networks that are measured between two looks at the front


def measure(
    supernet: Supernet,
    weights: Weights,
    task: Task,
    costs: np.ndarray,
    *,
    most: int,
    budget: float | None = None,
    tell: Callable[[dict], Any] | None = None,
) -> tuple[Finalist, ...]:
    """The networks within the budget with their validation NDCG@10 in the shared weights, the cheapest first.

    All of them, if they are `most` at most. Else as many, by evolution: the cheapest, the dearest and random ones, then networks
    that differ in one choice from one on the front so far. `tell` is told how many are done, as a run's `on_step` is.
    """
    allowed = np.flatnonzero(np.ones(costs.size, bool) if budget is None else costs.ravel() <= budget)
    found: dict[int, Finalist] = {}
    protocol = task.evaluator.protocols[0]
    total = min(most, len(allowed))

    def add(networks: Sequence[int]) -> None:
        for network in networks:
            figures = task.evaluator(*supernet.alone(weights, network))[protocol]
            found[network] = finalist(supernet.space, costs, network, ndcg=figures["ndcg@10"])
            if tell is not None:
                tell({"measured": f"{len(found)}/{total}"})

    rng = np.random.default_rng(task.seed)
    if len(allowed) <= most:
        add(allowed.tolist())
    else:
        ends = [int(allowed[np.argmin(costs.ravel()[allowed])]), int(allowed[np.argmax(costs.ravel()[allowed])])]
        rest = rng.permutation(np.setdiff1d(allowed, ends))
        add([*ends, *rest.tolist()][: max(most // 2, min(most, len(ends)))])
        while len(found) < most:
            add(_next(supernet.space, found, allowed, rng, min(GENERATION, most - len(found))))
    return tuple(sorted(found.values(), key=lambda one: one.cost))


def front(networks: Sequence[Finalist]) -> tuple[Finalist, ...]:
    """Those that no other beats in both: a lower cost and at least its NDCG@10. Cheapest first."""
    kept: list[Finalist] = []
    for one in sorted(networks, key=lambda one: (one.cost, -(one.ndcg or 0.0))):
        if not kept or (one.ndcg or 0.0) > (kept[-1].ndcg or 0.0):
            kept.append(one)
    return tuple(kept)


def _next(
    space: Space, found: dict[int, Finalist], allowed: np.ndarray, rng: np.random.Generator, count: int
) -> list[int]:
    """Networks not measured yet: neighbours of the front's, filled up by any."""
    known, parents = set(found), [one.network for one in front(list(found.values()))]
    near = {n for parent in parents for n in neighbours(space, parent).tolist()}
    fresh = np.array(sorted(near & set(allowed.tolist()) - known), np.int64)
    chosen = rng.permutation(fresh)[:count].tolist()
    rest = np.setdiff1d(allowed, [*known, *chosen])
    return chosen + rng.permutation(rest)[: count - len(chosen)].tolist()


def neighbours(space: Space, network: int) -> np.ndarray:
    """The networks that differ in one choice: in one factor or one layer's inner size, or in the depth by one layer."""
    rows, mine = space.networks, space.networks[network]
    both = (rows[:, FIRST_INNER:] >= 0) & (mine[FIRST_INNER:] >= 0)  # layers that only one of the two has do not count
    layers = ((rows[:, FIRST_INNER:] != mine[FIRST_INNER:]) & both).sum(1)
    if space.inner_of != "layer":
        layers = (layers > 0) & (space.inner_of == "network")
    differences = (rows[:, :FIRST_INNER] != mine[:FIRST_INNER]).sum(1) + layers
    return np.flatnonzero((differences == 1) & (np.abs(rows[:, 1] - mine[1]) <= 1))
