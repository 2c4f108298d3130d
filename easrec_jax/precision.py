"""float32, whatever a host application has set: `jax_enable_x64` would make every new array float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import isfunction
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

LARGEST_WEIGHT = 1e15  # products of larger ones leave float32
P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """The function with `jax_enable_x64` off while it runs, in its own thread alone."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return run


def methods_in_float32(kind: type[C]) -> type[C]:
    """The class with its constructor and its public methods `in_float32`."""
    for name, method in list(vars(kind).items()):
        if isfunction(method) and (name == "__init__" or not name.startswith("_")):
            setattr(kind, name, in_float32(method))
    return kind


def check_float32(weights: Any, name: str = "weights") -> None:
    """Raise `ValueError` naming the first of the arrays that is of another type: there is no other precision."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        if (kind := getattr(leaf, "dtype", type(leaf).__name__)) != np.float32:
            where = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(f"{name}: {where}: expected float32, got {kind} (cast them with .astype('float32'))")


def check_values(weights: dict) -> None:
    """Raise `ValueError` naming a weight whose products would overflow: every score would be infinity or NaN."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        largest = float(np.abs(np.asarray(leaf)).max(initial=0.0))
        if not largest < LARGEST_WEIGHT:
            name = "/".join(str(getattr(part, "key", part)) for part in path)
            raise ValueError(
                f"weights: {name}: expected values below {LARGEST_WEIGHT:g}, got {largest:g}: scores would overflow"
            )
