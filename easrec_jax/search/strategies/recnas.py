"""RecNAS: an annealed softmax, and networks pruned away one after the other until one within the target is left.

Source: Peng, Li, Shang, Jiao, ReCNAS: Resource-Constrained Neural Architecture Search Based on Differentiable Annealing
and Dynamic Pruning, IEEE TNNLS 35(2), 2024 (the EASRec paper's "RecNAS"; no code is published, this follows the
article's abstract and the EASRec paper's description). Kept: a relaxation without noise whose temperature is annealed
(from `tau_start` to `tau_min`: nearly binary at .01, while the experiments give all strategies .2 to .1); inferior
choices are pruned progressively; redundant channels are pruned throughout the search, so that what is left meets the
resource target. Changed: the space is this package's, in which channels are pruned to the widths of the candidates and
what is pruned is a pair (width, depth); so the article's dynamic programming over layers falls away: the cost of each
pair is known. Steps alternate and the pick goes on from the supernet's weights, as with DARTS. Pairs are preferred by
alpha_i beta_j, where EASRec draws the width first within a budget. The target is `search.budget`; without one, pruning
goes by preference alone.

One pair is left at the end, so `search.finalists` has nothing to compare.

Schedule, over the progress s of the architecture steps from 0 to 1: temperature tau_start (tau_min / tau_start)^s; the
allowed cost falls linearly from 1 to the target; of n pairs ceil(n (1 - s)) stay, the preferred ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easrec_jax.config import SearchConfig
from easrec_jax.search.distribution import Allowed, pair_logits, softmax_over_pairs
from easrec_jax.search.strategies.strategy import Moment, Shares, Strategy
from easrec_jax.space import SearchSpace


class PrunedParameters(NamedTuple):
    """As `ArchitectureParameters`, and which pairs are left; `alive` gets no gradient."""

    width: Array  # float32 [candidates]
    depth: Array  # float32 [depths]
    alive: Array  # float32 [candidates depths], 1 or 0


def init(space: SearchSpace) -> PrunedParameters:
    """Uniform, nothing pruned."""
    size = space.num_candidates, space.num_layers
    return PrunedParameters(jnp.zeros(size[0]), jnp.zeros(size[1]), jnp.ones(size))


def annealed(step: Array | int, progress: Array | float, settings: SearchConfig) -> Array | float:
    """From tau_start to tau_min, by the same factor in equal times."""
    return settings.tau_start * (settings.tau_min / settings.tau_start) ** progress


def shares(arch: Any, key: Array, moment: Moment) -> Shares:
    """A softmax over the pairs that are left; the key is not used."""
    return softmax_over_pairs(pair_logits(arch) / moment.temperature, jax.lax.stop_gradient(arch.alive) > 0)


def prune(arch: Any, costs: Array, moment: Moment) -> PrunedParameters:
    """Drop what the target no longer admits, then the least preferred; the best pair within the final target stays."""
    budget = moment.settings.budget if moment.settings.budget is not None else 1.0
    allowed = jnp.ones_like(costs, bool) if moment.allowed is None else moment.allowed
    progress = jnp.clip(moment.progress, 0.0, 1.0)
    admitted = (arch.alive > 0) & (allowed | (costs <= 1.0 - progress * (1.0 - budget)) & (progress < 1.0))
    keep = jnp.maximum(jnp.ceil(costs.size * (1.0 - progress) - 1e-3), 1.0)
    preference = jnp.where(admitted, pair_logits(arch), -jnp.inf).ravel()
    rank = jnp.argsort(jnp.argsort(-preference)).reshape(costs.shape)
    within = jnp.where((arch.alive > 0) & allowed, pair_logits(arch), -jnp.inf)
    best = jnp.arange(costs.size).reshape(costs.shape) == jnp.argmax(within)
    return arch._replace(alive=(best | (admitted & (rank < keep))).astype(jnp.float32))


def logits(arch: Any, allowed: Allowed | None = None) -> Array:
    """Of the pairs that are left; the pruning has minded the budget."""
    return jnp.where(arch.alive > 0, pair_logits(arch), -jnp.inf)


STRATEGY = Strategy(draw=shares, relax=shares, init=init, revise=prune, logits=logits, temperature=annealed)
