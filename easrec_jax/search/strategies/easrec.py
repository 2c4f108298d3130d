"""EASRec: Gumbel-softmax over widths and depths, a dynamic resource constraint or a budget (Eq. 10-16).

Source: Zhang et al., EASRec, arXiv 2402.00390; DNS-Rec, RecSys 2024. Kept: one alpha for all layers, beta over depths,
both relaxed with Gumbel noise at a falling temperature, weights and architecture parameters in turn, R = (L_t / L)
times the expected cost. Changed: with `search.budget` the constraint is not a term of the loss but of what is drawn:
one pair (width, depth) within the budget, the width first (`controllers.pair_logits`): so a width that is allowed few
depths begins with as much for each as a width that is allowed many has for all (`untrained` is the control for what
that alone finds). The final comparison of `search.finalists` is this package's, for every strategy that leaves more
than one; under lambda it counts lambda R.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import Array

from easrec_jax.config import SearchConfig
from easrec_jax.search.distribution import constraint, relax, resource, temperature
from easrec_jax.search.strategies.strategy import Moment, Shares, Strategy


def draw(arch: Any, key: Array, moment: Moment) -> Shares:
    """One Gumbel-softmax sample."""
    return relax(arch, key, moment.temperature, moment.allowed)


def penalty(arch: Any, shares: Shares, costs: Array, moment: Moment) -> Array | float:
    """lambda R (Eq. 15); nothing with a budget: Eq. 2 asks for the best network within it, not for the cheapest."""
    if moment.allowed is not None:
        return 0.0
    return moment.settings.cost_weight * constraint(shares, arch, costs, dynamic=moment.settings.dynamic)


def price(costs: np.ndarray, settings: SearchConfig) -> np.ndarray | None:
    """lambda R of each network, L_t being its own depth; None with a budget."""
    if settings.budget is not None:
        return None
    depths = costs.shape[1]
    return settings.cost_weight * resource(costs, np.arange(1, depths + 1), depths, dynamic=settings.dynamic)


def falling(step: Array | int, progress: Array | float, settings: SearchConfig) -> Array:
    """tau_t = max(tau_min, tau_start - tau_decay t) (Table II)."""
    return temperature(step, settings)


STRATEGY = Strategy(draw=draw, relax=draw, penalty=penalty, temperature=falling, price=price)
