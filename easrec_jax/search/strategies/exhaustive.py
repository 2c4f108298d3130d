"""The exhaustive oracle: every network within the budget is trained from scratch; the best on validation items is it.

What every other strategy is measured against: nothing is shared and nothing is guessed, at the price of `search.epochs`
epochs for each of the m x L networks.
"""

from __future__ import annotations

import numpy as np

from easrec_jax.config import SearchConfig
from easrec_jax.search.strategies.strategy import Strategy, pairs_within


def choose(costs: np.ndarray, settings: SearchConfig, seed: int) -> list[tuple[int, int]]:
    """All that the budget admits."""
    return pairs_within(costs, settings.budget)


STRATEGY = Strategy(choose=choose)
