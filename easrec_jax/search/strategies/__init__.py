"""Search strategies, one a file: see `strategy.Strategy` for what they are made of."""

from __future__ import annotations

from easrec_jax.config_files import load_variable
from easrec_jax.search.strategies import darts, easrec, exhaustive, proxyless, random_search, recnas, untrained
from easrec_jax.search.strategies.strategy import Moment, Strategy

__all__ = ["STRATEGIES", "Moment", "Strategy", "find_strategy"]

STRATEGIES: dict[str, Strategy] = {
    "easrec": easrec.STRATEGY,
    "darts": darts.STRATEGY,
    "proxyless": proxyless.STRATEGY,
    "recnas": recnas.STRATEGY,
    "untrained": untrained.STRATEGY,
    "random": random_search.STRATEGY,
    "exhaustive": exhaustive.STRATEGY,
}


def find_strategy(name: str) -> Strategy:
    """One of `STRATEGIES`, or what a Python file of your own defines; like a config file it is code and is trusted as such.

    Raises `ValueError` for an unknown name and for a file without `STRATEGY`, `FileNotFoundError` for a missing one.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    if not name.endswith(".py"):
        raise ValueError(f"search.strategy: expected one of {', '.join(STRATEGIES)}, or a file NAME.py, got {name!r}")
    return load_variable(name, "STRATEGY", Strategy)
