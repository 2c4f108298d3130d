"""The strategies by name."""

from __future__ import annotations

from easrec_jax.config_files import load_variable
from easrec_jax.nas.strategies import darts, easrec, proxyless, recnas, untrained
from easrec_jax.nas.strategies.alone import EXHAUSTIVE, RANDOM, Alone
from easrec_jax.nas.strategies.strategy import Strategy

STRATEGIES: dict[str, Strategy | Alone] = {
    "easrec": easrec.STRATEGY,
    "darts": darts.STRATEGY,
    "proxyless": proxyless.STRATEGY,
    "recnas": recnas.STRATEGY,
    "untrained": untrained.STRATEGY,
    "random": RANDOM,
    "exhaustive": EXHAUSTIVE,
}


def find_strategy(name: str) -> Strategy | Alone:
    """One of `STRATEGIES`, or what a Python file of your own defines; like a config file it is code and is trusted as such.

    Raises `ValueError` for an unknown name and for a file without `STRATEGY`, `FileNotFoundError` for a missing one.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    if not name.endswith(".py"):
        raise ValueError(f"search.strategy: expected one of {', '.join(STRATEGIES)}, or a file NAME.py, got {name!r}")
    return load_variable(name, "STRATEGY", Strategy, Alone)
