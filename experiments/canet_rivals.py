"""Other ways to give each user a network at the router's mean FLOPs; all are set by validation items."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.data.split import Part
from easrec_jax.evaluate.evaluator import Evaluator, ScoreFunction
from easrec_jax.models.corner import corner
from easrec_jax.models.cost import request_flops
from easrec_jax.models.network import Network, network_scores
from easrec_jax.nas.routing import Elastic, choose, price_at

PARTS: tuple[Part, Part] = ("validation", "test")
BINS = 10  # of history lengths
STATIC, LENGTH, EXITS = "static", "length", "exits"


class Measured(NamedTuple):
    """Of one part."""

    gains: np.ndarray  # float64 [users networks], NDCG@10
    lengths: np.ndarray  # int64 [users], events that count
    sureness: np.ndarray  # float32 [users exits], highest probability of an item


def rival_choices(elastic: Elastic, measured: dict[Part, Measured], spend: float) -> dict[str, dict[Part, np.ndarray]]:
    """int64 [users] by name and part: the network of each user, `spend` at most on average on validation."""
    return {
        STATIC: _static(elastic, measured, spend),
        LENGTH: _by_length(elastic, measured, spend),
        EXITS: _early(elastic, measured, spend),
    }


def oracle(elastic: Elastic, part: Measured, spend: float) -> np.ndarray:
    """int64 [users]: the choices that are best in hindsight."""
    costs = elastic.flops()
    return choose(part.gains, costs, price_at(part.gains, costs, spend))


def exits_of(elastic: Elastic) -> list[int]:
    """The networks that end after each layer of the largest one."""
    widest = [n for n, network in enumerate(elastic.networks) if network.width == elastic.largest.width]
    return sorted(widest, key=lambda n: elastic.networks[n].depth)


def exit_costs(elastic: Elastic) -> np.ndarray:
    """FLOPs of an answer after each layer over the largest network's, all items scored at each exit before; float64 [exits].

    That a layer first answers at the last position and then runs at all of them is not counted twice.
    """
    networks = [elastic.networks[n] for n in exits_of(elastic)]
    scoring = 2 * elastic.largest.width * elastic.num_items
    flops = [request_flops(one, elastic.num_items) + before * scoring for before, one in enumerate(networks)]
    return np.array(flops, np.float64) / request_flops(elastic.largest, elastic.num_items)


def sureness(elastic: Elastic, evaluator: Evaluator) -> np.ndarray:
    """The highest probability of an item at each exit, float32 [users exits]."""
    found = []
    for number in exits_of(elastic):
        architecture = elastic.networks[number]
        scores = network_scores(Network(architecture, elastic.num_items))
        weights = corner(elastic.weights, architecture)
        found.append(evaluator.of_users(partial(highest_probability, weights, scores=scores)))
    return np.stack(found, 1)


@partial(jax.jit, static_argnames="scores")
def highest_probability(weights: Any, items: Array, *, scores: ScoreFunction) -> Array:
    """Of any item as the next one, [batch]."""
    return jnp.max(jax.nn.softmax(scores(weights, items)[:, 1:], -1), -1)


def _static(elastic: Elastic, measured: dict[Part, Measured], spend: float) -> dict[Part, np.ndarray]:
    worth = np.where(elastic.flops() <= spend, measured["validation"].gains.mean(0), -1.0)
    return {part: np.full(len(of.lengths), int(worth.argmax())) for part, of in measured.items()}


def _by_length(elastic: Elastic, measured: dict[Part, Measured], spend: float) -> dict[Part, np.ndarray]:
    """Each network's mean gain in a bin of lengths is its score there; a price of FLOPs keeps to `spend`."""
    known, costs = measured["validation"], elastic.flops()
    edges = np.unique(np.quantile(known.lengths, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins: dict[Part, np.ndarray] = {part: np.searchsorted(edges, of.lengths) for part, of in measured.items()}
    scores = np.zeros((len(edges) + 1, len(costs)))
    for place in np.unique(bins["validation"]):
        scores[place] = known.gains[bins["validation"] == place].mean(0)
    price = price_at(scores[bins["validation"]], costs, spend)
    return {part: choose(scores[of], costs, price) for part, of in bins.items()}


def _early(elastic: Elastic, measured: dict[Part, Measured], spend: float) -> dict[Part, np.ndarray]:
    """The first exit that is sure enough, by the highest threshold that keeps to `spend`."""
    costs, networks, sure = exit_costs(elastic), np.array(exits_of(elastic)), measured["validation"].sureness

    def ends(sure: np.ndarray, threshold: float) -> np.ndarray:
        enough = sure >= threshold
        enough[:, -1] = True
        return enough.argmax(1)

    thresholds = np.quantile(sure[:, :-1], np.linspace(0, 1, 501)) if sure.shape[1] > 1 else np.zeros(1)
    fits = [t for t in thresholds if costs[ends(sure, t)].mean() <= spend]
    threshold = max(fits, default=0.0)
    return {part: networks[ends(of.sureness, threshold)] for part, of in measured.items()}
