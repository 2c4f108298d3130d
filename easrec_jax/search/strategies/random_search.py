"""Random search: networks drawn at random within the budget, each trained from scratch; the best on validation items is it.

Source: Li and Talwalkar, Random Search and Reproducibility for Neural Architecture Search, UAI 2019. Kept: uniform draws
without replacement, full training, no shared weights. `search.finalists` networks are drawn, `search.epochs` each.
"""

from __future__ import annotations

import numpy as np

from easrec_jax.config import SearchConfig
from easrec_jax.search.strategies.strategy import Strategy, pairs_within


def choose(costs: np.ndarray, settings: SearchConfig, seed: int) -> list[tuple[int, int]]:
    """As many as there are finalists, or all that the budget admits."""
    admitted = pairs_within(costs, settings.budget)
    order = np.random.default_rng((seed, len(admitted))).permutation(len(admitted))
    return [admitted[k] for k in order[: settings.finalists]]


STRATEGY = Strategy(choose=choose)
