"""The search (Algorithm 1): weights on training batches, architecture parameters on validation batches, in turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from easrec_jax.architecture import Architecture, SearchSpace
from easrec_jax.config import SearchConfig
from easrec_jax.controllers import (
    ArchitectureParameters,
    check_budget,
    constraint,
    init_architecture_parameters,
    pick,
    probabilities,
    relax,
    temperature,
)
from easrec_jax.cost import cost_table
from easrec_jax.data.batches import Batch, Samples, batches_per_epoch, epoch_batches, random_batch, scoring_samples
from easrec_jax.evaluate import Evaluator
from easrec_jax.layers import apply
from easrec_jax.loop import Checkpoints, LoopState, run_epochs
from easrec_jax.network import Network
from easrec_jax.supernet import Supernet, extract, init_supernet
from easrec_jax.train import network_scores, next_item_loss


class SearchState(NamedTuple):
    """Everything the two steps read and write: two pytrees of parameters, two optimisers."""

    step: Array  # int32 []
    weights: Any
    weights_opt: optax.OptState
    arch: Any  # ArchitectureParameters
    arch_opt: optax.OptState
    cost_weight: Array  # float32 [], lambda; adapted where there is a budget


class Searcher(NamedTuple):
    """What stays fixed during a search; hashable, a static argument of the steps."""

    supernet: Supernet
    weights_tx: optax.GradientTransformation
    arch_tx: optax.GradientTransformation
    settings: SearchConfig


@lru_cache(maxsize=16)
def make_searcher(supernet: Any, settings: SearchConfig) -> Searcher:
    """Adam for both parameter sets, each with its own rate; one object a setting, so that nothing recompiles."""
    return Searcher(supernet, optax.adam(settings.learning_rate), optax.adam(settings.arch_learning_rate), settings)


def init_search(searcher: Searcher, key: Array) -> SearchState:
    """Fresh weights, uniform architecture parameters; the key is consumed."""
    weights = init_supernet(searcher.supernet, key)
    arch = init_architecture_parameters(searcher.supernet.space)
    settings = searcher.settings
    cost_weight = settings.cost_weight if settings.budget is None else 0.0
    return SearchState(
        jnp.int32(0),
        weights,
        searcher.weights_tx.init(weights),
        arch,
        searcher.arch_tx.init(arch),
        jnp.float32(cost_weight),
    )


def _supernet_loss(weights: dict, p: Array, q: Array, batch: Batch, key: Array, supernet: Supernet) -> Array:
    def encoder(method: Callable) -> Callable[[Array], Array]:
        return lambda items: apply(supernet, weights, items, p, q, key=key, method=method)

    return next_item_loss(weights, encoder(Supernet.encode), encoder(Supernet.encode_last), batch)


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def weight_step(
    state: SearchState, batch: Batch, key: Array, *, searcher: Searcher
) -> tuple[SearchState, dict[str, Array]]:
    """One update of the supernet's weights on a training batch, under one Gumbel sample. Keys: `fold_in(key, step)`."""
    gumbel_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    p, q = relax(state.arch, gumbel_key, temperature(state.step, searcher.settings))
    loss, grads = jax.value_and_grad(_supernet_loss)(state.weights, p, q, batch, dropout_key, searcher.supernet)
    updates, opt = searcher.weights_tx.update(grads, state.weights_opt, state.weights)
    weights = optax.apply_updates(state.weights, updates)
    return state._replace(step=state.step + 1, weights=weights, weights_opt=opt), {"loss": loss}


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def architecture_step(
    state: SearchState, batch: Batch, key: Array, costs: Array, *, searcher: Searcher
) -> tuple[SearchState, dict[str, Array]]:
    """One first-order update of alpha and beta on a validation batch: cross entropy + lambda R (Eq. 15-17).

    With a budget, lambda is a multiplier: it climbs by the noise-free expected cost's relative excess over the budget
    (dual ascent), never below zero, and a term in the excess itself damps it.
    """
    settings = searcher.settings
    gumbel_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))

    def excess(arch: ArchitectureParameters) -> Array | float:
        if settings.budget is None:
            return 0.0
        alpha, beta = probabilities(arch)
        return (alpha @ costs @ beta - settings.budget) / settings.budget

    cost_weight = jnp.maximum(0.0, state.cost_weight + settings.budget_damping * excess(state.arch))

    def loss_of(arch: ArchitectureParameters) -> tuple[Array, Array]:
        p, q = relax(arch, gumbel_key, temperature(state.step, settings))
        entropy = _supernet_loss(state.weights, p, q, batch, dropout_key, searcher.supernet)
        return entropy + cost_weight * constraint(p, q, arch, costs, dynamic=settings.dynamic), entropy

    grads, entropy = jax.grad(loss_of, has_aux=True)(state.arch)
    updates, opt = searcher.arch_tx.update(grads, state.arch_opt, state.arch)
    arch: Any = optax.apply_updates(state.arch, updates)
    climbed = jnp.maximum(0.0, state.cost_weight + settings.budget_rate * excess(arch))
    return state._replace(arch=arch, arch_opt=opt, cost_weight=climbed), {"architecture_loss": entropy}


class Found(NamedTuple):
    """What a search leaves: the pick, the supernet's weights after the last step, the architecture parameters."""

    architecture: Architecture
    weights: dict
    arch: ArchitectureParameters
    epochs: int
    finished: bool  # False: interrupted


def describe_state(state: SearchState, costs: np.ndarray, settings: SearchConfig) -> dict:
    """p, q, expected and picked cost, temperature and lambda of a state, as plain numbers for a log."""
    alpha, beta = (np.asarray(x, np.float64) for x in probabilities(state.arch))
    candidate, depth = pick(state.arch, costs, settings.budget)
    return {
        "p": alpha.round(6).tolist(),
        "q": beta.round(6).tolist(),
        "temperature": float(temperature(int(state.step), settings)),
        "expected_cost": float(alpha @ costs @ beta),
        "pick": {"candidate": candidate, "depth": depth, "cost": float(costs[candidate, depth - 1])},
        "cost_weight": float(state.cost_weight),
    }


def search(
    space: SearchSpace,
    samples: Samples,
    evaluator: Evaluator,
    *,
    settings: SearchConfig,
    dropout: float,
    seed: int,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    on_step: Callable[[dict], Any] | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
) -> Found:
    """Search `space`. Each epoch the current pick is cut out of the supernet and evaluated on the validation items.

    Raises `ValueError` if the budget is below the smallest network's cost.
    """
    split, max_length = evaluator.split, space.largest.max_length
    num_items = split.data.num_items
    costs = cost_table(space, num_items)
    check_budget(costs, settings.budget)
    supernet: Any = Supernet(space, num_items, dropout)
    searcher = make_searcher(supernet, settings)
    init_key, weight_key, arch_key = jax.random.split(jax.random.key(seed), 3)
    state = init_search(searcher, init_key)
    plan = {"max_length": max_length, "batch_size": settings.batch_size, "buckets": settings.buckets}
    steps = batches_per_epoch(samples, **plan)
    validation = scoring_samples(split, "validation", max_length=max_length)
    device_costs = jnp.asarray(costs, jnp.float32)

    def step(state: SearchState, batch: Batch, number: int) -> tuple[SearchState, dict]:
        state, scalars = weight_step(state, batch, weight_key, searcher=searcher)
        if (number + 1) % settings.every == 0 and number >= settings.warmup_epochs * steps:
            held_out = random_batch(validation, max_length=max_length, rows=settings.batch_size, seed=seed, step=number)
            state, more = architecture_step(state, held_out, arch_key, device_costs, searcher=searcher)
            scalars |= more
        return state, scalars

    def evaluate(state: SearchState) -> dict:
        record = describe_state(state, costs, settings)
        architecture = space.architecture(record["pick"]["candidate"], record["pick"]["depth"])
        network: Any = Network(architecture, num_items)
        results = evaluator(network_scores(network), extract(state.weights, space, architecture))
        return record | {"validation": results, "ndcg@10": results[evaluator.protocols[0]]["ndcg@10"]}

    loop = run_epochs(
        LoopState.start(state, keep=()),
        step=step,
        batches=lambda epoch, skip: epoch_batches(samples, **plan, seed=seed, epoch=epoch, skip=skip),
        evaluate=evaluate,
        keep=lambda state: (),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        patience=settings.patience,
        checkpoints=checkpoints,
        resume=resume,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    state = loop.state
    architecture = space.architecture(*pick(state.arch, costs, settings.budget))
    return Found(architecture, state.weights, state.arch, int(loop.epochs_done), bool(loop.finished))
