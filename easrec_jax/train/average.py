"""A moving average of the weights that an optimiser makes: what is evaluated and kept in place of the last ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array


class Averaged(NamedTuple):
    """The state of an optimiser, and the average of the weights that it made."""

    opt: Any
    average: Any
    steps: Array  # int32 []


def averaged(tx: optax.GradientTransformation, decay: float) -> optax.GradientTransformation:
    """The optimiser with an exponential moving average of the weights beside it; a young one forgets faster, so that it never
    holds much of the fresh weights."""

    def start(params: Any) -> Any:
        return Averaged(tx.init(params), jax.tree.map(jnp.array, params), jnp.int32(0))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, opt = tx.update(updates, state.opt, params)
        share = 1.0 - jnp.minimum(decay, (1.0 + state.steps) / (10.0 + state.steps))
        average = jax.tree.map(lambda mean, p, u: mean + share * (p + u - mean), state.average, params, updates)
        return updates, Averaged(opt, average, state.steps + 1)

    return optax.GradientTransformation(start, update)


def trained(weights: Any, opt: Any) -> Any:
    """What is evaluated and kept: the average where the optimiser keeps one, else the weights."""
    return opt.average if isinstance(opt, Averaged) else weights
