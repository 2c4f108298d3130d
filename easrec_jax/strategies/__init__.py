"""Search strategies, one a file: see `strategy.Strategy` for what they are made of."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from easrec_jax.strategies import darts, easrec, exhaustive, proxyless, random_search, recnas
from easrec_jax.strategies.strategy import Moment, Strategy

__all__ = ["STRATEGIES", "Moment", "Strategy", "find_strategy"]

STRATEGIES: dict[str, Strategy] = {
    "easrec": easrec.STRATEGY,
    "darts": darts.STRATEGY,
    "proxyless": proxyless.STRATEGY,
    "recnas": recnas.STRATEGY,
    "random": random_search.STRATEGY,
    "exhaustive": exhaustive.STRATEGY,
}


def find_strategy(name: str) -> Strategy:
    """One of `STRATEGIES`, or what a Python file of your own defines; like a config file it is code and is trusted as such.

    Raises `ValueError` for an unknown name and for a file without `STRATEGY`, `FileNotFoundError` for a missing one.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    path = Path(name)
    if path.suffix != ".py":
        raise ValueError(f"search.strategy: expected one of {', '.join(STRATEGIES)}, or a file NAME.py, got {name!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file (search.strategy: expected one that defines `STRATEGY`)")
    spec = importlib.util.spec_from_file_location(f"strategy_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: expected a Python file (.py) that defines `STRATEGY`")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, "STRATEGY", None)
    if not isinstance(found, Strategy):
        raise ValueError(f"{path}: expected a variable `STRATEGY` of type Strategy, got {type(found).__name__}")
    return found
