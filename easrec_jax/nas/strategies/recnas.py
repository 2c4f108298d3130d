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

import jax
import jax.numpy as jnp
from jax import Array

from easrec_jax.nas.distribution import Logits, Shares, init_logits, normalised, preferences, softmax_over
from easrec_jax.nas.strategies.strategy import Moment, Strategy, relaxed
from easrec_jax.space import Space


def init(space: Space) -> Logits:
    """Uniform; `alive` is 1 for each network that is left, 0 for those pruned, and gets no gradient."""
    return init_logits(space) | {"alive": jnp.ones(space.shape)}


def temperature(moment: Moment) -> Array | float:
    """From tau_start to tau_min, by the same factor in equal times."""
    settings = moment.settings.recnas
    return settings.tau_start * (settings.tau_min / settings.tau_start) ** moment.progress


def _preferences(logits: Logits, moment: Moment) -> Array:
    """alpha_i beta_j, budget or not."""
    return preferences(logits, moment.table._replace(allowed=None))


def shares(logits: Logits, key: Array, moment: Moment) -> Shares:
    """A softmax over the pairs that are left; the key is not used."""
    left = jax.lax.stop_gradient(logits["alive"]) > 0
    return softmax_over(_preferences(logits, moment) / temperature(moment), left)


def prune(logits: Logits, moment: Moment) -> Logits:
    """Drop what the target no longer admits, then the least preferred; the best pair within the final target stays."""
    budget = moment.settings.budget if moment.settings.budget is not None else 1.0
    costs, alive, preferred = moment.table.costs, logits["alive"] > 0, _preferences(logits, moment)
    allowed = jnp.ones_like(costs, bool) if moment.table.allowed is None else moment.table.allowed
    progress = jnp.clip(moment.progress, 0.0, 1.0)
    admitted = alive & (allowed | (costs <= 1.0 - progress * (1.0 - budget)) & (progress < 1.0))
    keep = jnp.maximum(jnp.ceil(costs.size * (1.0 - progress) - 1e-3), 1.0)
    preference = jnp.where(admitted, preferred, -jnp.inf).ravel()
    rank = jnp.argsort(jnp.argsort(-preference)).reshape(costs.shape)
    within = jnp.where(alive & allowed, preferred, -jnp.inf)
    best = jnp.arange(costs.size).reshape(costs.shape) == jnp.argmax(within)
    return logits | {"alive": (best | (admitted & (rank < keep))).astype(jnp.float32)}


def log_probability(logits: Logits, moment: Moment) -> Array:
    """Of the pairs that are left; the pruning has minded the budget."""
    return normalised(_preferences(logits, moment), logits["alive"] > 0)


STRATEGY = Strategy(draw=shares, learn=relaxed(shares), init=init, revise=prune, log_probability=log_probability)
