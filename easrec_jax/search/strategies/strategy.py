"""The interface of a search strategy: a few pure functions over its own architecture parameters.

There are two kinds. A strategy that trains a *supernet* says what is drawn for a weight step, what relaxation the
architecture parameters get their gradient through, what is added to the loss, and how much it prefers each network. One
that trains networks *alone* says which (`choose`), and the best on the validation items is the pick. `search.search` is
the one loop that runs them all: data, steps, optimisers, evaluation, checkpoints and the final comparison are the same.

A new one is a file that defines `STRATEGY = Strategy(...)`; `--search.strategy FILE.py` runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.config import SearchConfig
from easrec_jax.search.distribution import Allowed, init_architecture_parameters, pair_logits
from easrec_jax.space import SearchSpace

Shares = Array  # float32 [candidates depths], s_ij of each network, summing to one: what `supernet.Supernet` mixes by


class Moment(NamedTuple):
    """What a strategy knows beside its parameters."""

    progress: Array | float  # 0 up to the first architecture step, 1 after the last epoch
    temperature: Array | float
    allowed: Allowed | None  # bool [candidates depths], the networks within search.budget; None without one
    settings: SearchConfig


def _unit_temperature(step: Array | int, progress: Array | float, settings: SearchConfig) -> Array | float:
    return 1.0


def _no_penalty(arch: Any, shares: Shares, costs: Array, moment: Moment) -> Array | float:
    return 0.0


def _no_price(costs: np.ndarray, settings: SearchConfig) -> np.ndarray | None:
    return None


def _unchanged(arch: Any, costs: Array, moment: Moment) -> Any:
    return arch


def softmax_shares(arch: Any, key: Array, moment: Moment) -> Shares:
    """p_i q_j of a plain softmax of alpha and of beta; the key is not used."""
    return jax.nn.softmax(arch.width)[:, None] * jax.nn.softmax(arch.depth)


class Strategy(NamedTuple):
    """The functions of a strategy; keys are consumed, `costs` is the table F(i, j), [candidates depths]."""

    draw: Callable[[Any, Array, Moment], Shares] = softmax_shares  # (arch, key, moment): the shares of a weight step
    relax: Callable[[Any, Array, Moment], Shares] = softmax_shares  # those of an architecture step, differentiable
    # the architecture parameters, a pytree of float arrays
    init: Callable[[SearchSpace], Any] = init_architecture_parameters
    penalty: Callable[..., Array | float] = _no_penalty  # (arch, shares, costs, moment): added to the cross entropy
    revise: Callable[[Any, Array, Moment], Any] = _unchanged  # (arch, costs, moment): after each architecture step
    # (arch, allowed): log-preference of each network [candidates depths], -inf: pruned
    logits: Callable[[Any, Allowed | None], Array] = pair_logits
    temperature: Callable[..., Array | float] = _unit_temperature  # (step, progress, settings)
    keeps_budget: bool = True  # whether search.budget means something to it
    learns: bool = True  # False: the architecture parameters stay as they begin, no architecture step is made
    # (costs, settings): `penalty` of each network alone, [candidates depths], which the comparison of finalists counts; None: none
    price: Callable[[np.ndarray, SearchConfig], np.ndarray | None] = _no_price
    # (costs, settings, seed) -> pairs (candidate from 0, depth from 1) to train alone from scratch; then none of the above
    choose: Callable[[np.ndarray, SearchConfig, int], list[tuple[int, int]]] | None = None


def one_hot(index: Array, like: Array) -> Array:
    """1 at `index`, 0 elsewhere, in the shape of `like`."""
    return (jnp.arange(like.shape[0]) == index).astype(like.dtype)


def pairs_within(costs: np.ndarray, budget: float | None) -> list[tuple[int, int]]:
    """All networks of the table (candidate from 0, depth from 1) whose cost is within the budget."""
    return [(int(i), int(j) + 1) for i, j in np.argwhere(np.ones_like(costs) if budget is None else costs <= budget)]
