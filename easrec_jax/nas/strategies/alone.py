"""Strategies without a supernet: each network named is trained from scratch, and the best on the validation items is the pick.

`exhaustive` is the oracle that every other strategy is measured against: nothing is shared and nothing is guessed, at the price of
`search.epochs` epochs for each network within the budget. `random` is Li and Talwalkar, Random Search and Reproducibility
for Neural Architecture Search, UAI 2019. Kept: uniform draws without replacement, full training, no shared weights; as many
networks as `search.finalists`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from easrec_jax.config import SearchConfig


class Alone(NamedTuple):
    """Which networks are trained."""

    # (the networks within the budget, int [networks]; settings; seed) -> those to train, rows of the space's table
    choose: Callable[[np.ndarray, SearchConfig, int], np.ndarray]
    keeps_budget: bool = True


def drawn(admitted: np.ndarray, settings: SearchConfig, seed: int) -> np.ndarray:
    """As many as there are finalists, or all that the budget admits."""
    order = np.random.default_rng((seed, len(admitted))).permutation(len(admitted))
    return admitted[order[: settings.finalists]]


def everything(admitted: np.ndarray, settings: SearchConfig, seed: int) -> np.ndarray:
    """All that the budget admits."""
    return admitted


RANDOM, EXHAUSTIVE = Alone(drawn), Alone(everything)
