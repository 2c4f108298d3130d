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
from easrec_jax.config import RetrainConfig, SearchConfig
from easrec_jax.controllers import (
    Allowed,
    ArchitectureParameters,
    check_budget,
    constraint,
    init_architecture_parameters,
    joint,
    most_probable,
    probabilities,
    relax,
    temperature,
)
from easrec_jax.cost import cost_table
from easrec_jax.data.batches import Batch, Samples, batches_per_epoch, endless_batch, epoch_batches, scoring_samples
from easrec_jax.evaluate import Evaluator
from easrec_jax.layers import apply
from easrec_jax.loop import Checkpoints, LoopState, run_epochs
from easrec_jax.network import Network
from easrec_jax.supernet import Supernet, extract, init_supernet
from easrec_jax.train import fit, network_scores, next_item_loss


class SearchState(NamedTuple):
    """Everything the two steps read and write: two pytrees of parameters, two optimisers."""

    step: Array  # int32 []
    weights: Any
    weights_opt: optax.OptState
    arch: Any  # ArchitectureParameters
    arch_opt: optax.OptState


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
    return SearchState(jnp.int32(0), weights, searcher.weights_tx.init(weights), arch, searcher.arch_tx.init(arch))


def within_budget(costs: np.ndarray, budget: float | None) -> np.ndarray | None:
    """bool [candidates depths], the pairs that may be drawn; None without a budget."""
    return None if budget is None else costs <= budget


def _supernet_loss(weights: dict, p: Array, q: Array, batch: Batch, key: Array, supernet: Supernet) -> Array:
    def encoder(method: Callable) -> Callable[[Array], Array]:
        return lambda items: apply(supernet, weights, items, p, q, key=key, method=method)

    return next_item_loss(weights, encoder(Supernet.encode), encoder(Supernet.encode_last), batch)


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def weight_step(
    state: SearchState, batch: Batch, key: Array, allowed: Allowed | None, *, searcher: Searcher
) -> tuple[SearchState, dict[str, Array]]:
    """One update of the supernet's weights on a training batch, under one Gumbel sample. Keys: `fold_in(key, step)`.

    `allowed` is `within_budget` of the cost table.
    """
    gumbel_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    p, q = relax(state.arch, gumbel_key, temperature(state.step, searcher.settings), allowed)
    loss, grads = jax.value_and_grad(_supernet_loss)(state.weights, p, q, batch, dropout_key, searcher.supernet)
    updates, opt = searcher.weights_tx.update(grads, state.weights_opt, state.weights)
    weights = optax.apply_updates(state.weights, updates)
    return state._replace(step=state.step + 1, weights=weights, weights_opt=opt), {"loss": loss}


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def architecture_step(
    state: SearchState, batch: Batch, key: Array, costs: Array, allowed: Allowed | None, *, searcher: Searcher
) -> tuple[SearchState, dict[str, Array]]:
    """One first-order update of alpha and beta on a validation batch: cross entropy + lambda R (Eq. 15-17).

    With a budget (`allowed`), the cross entropy alone: Eq. 2 as it is posed asks for the best network within the budget,
    not for the cheapest, and `relax` draws no other.
    """
    settings = searcher.settings
    gumbel_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))

    def loss_of(arch: ArchitectureParameters) -> tuple[Array, Array]:
        p, q = relax(arch, gumbel_key, temperature(state.step, settings), allowed)
        entropy = _supernet_loss(state.weights, p, q, batch, dropout_key, searcher.supernet)
        if allowed is not None:
            return entropy, entropy
        return entropy + settings.cost_weight * constraint(p, q, arch, costs, dynamic=settings.dynamic), entropy

    grads, entropy = jax.grad(loss_of, has_aux=True)(state.arch)
    updates, opt = searcher.arch_tx.update(grads, state.arch_opt, state.arch)
    arch: Any = optax.apply_updates(state.arch, updates)
    return state._replace(arch=arch, arch_opt=opt), {"architecture_loss": entropy}


class Found(NamedTuple):
    """What a search leaves: the pick, the supernet's weights after the last step, the architecture parameters."""

    architecture: Architecture
    finalists: list[
        dict
    ]  # candidate, depth, cost, probability and ndcg@10 of the networks that were compared at the end
    weights: dict
    arch: ArchitectureParameters
    epochs: int
    finished: bool  # False: interrupted


def describe_state(state: SearchState, costs: np.ndarray, settings: SearchConfig) -> dict:
    """p, q, expected and picked cost and temperature of a state, as plain numbers for a log."""
    allowed = within_budget(costs, settings.budget)
    alpha, beta = (np.asarray(x, np.float64) for x in probabilities(state.arch, allowed))
    shares = np.asarray(joint(state.arch, np.ones(costs.shape, bool) if allowed is None else allowed))
    candidate, depth = most_probable(state.arch, costs, settings.budget)[0]
    return {
        "p": alpha.round(6).tolist(),
        "q": beta.round(6).tolist(),
        "temperature": float(temperature(int(state.step), settings)),
        "expected_cost": float(np.sum(shares * costs)),
        "pick": {"candidate": candidate, "depth": depth, "cost": float(costs[candidate, depth - 1])},
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
    """Search `space`. Each epoch the most probable network is cut out of the supernet and evaluated on the validation items.

    At the end the `settings.finalists` most probable ones within the budget are each trained alone for
    `settings.finalist_epochs`, and the best on the validation items is the pick: shared weights favour the small and the
    often drawn, so alpha and beta of a short search order close candidates less surely. One finalist is Eq. 18 as it stands.

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
    allowed = within_budget(costs, settings.budget)

    def step(state: SearchState, batch: Batch, number: int) -> tuple[SearchState, dict]:
        state, scalars = weight_step(state, batch, weight_key, allowed, searcher=searcher)
        if (number + 1) % settings.every == 0 and number >= settings.warmup_epochs * steps:
            held_out = endless_batch(validation, number // settings.every, **plan, seed=seed)
            state, more = architecture_step(state, held_out, arch_key, device_costs, allowed, searcher=searcher)
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
    shares = np.asarray(joint(state.arch, np.ones(costs.shape, bool) if allowed is None else allowed), np.float64)
    finalists: list[dict] = [
        {"candidate": i, "depth": j, "cost": float(costs[i, j - 1]), "probability": float(shares[i, j - 1])}
        for i, j in most_probable(state.arch, costs, settings.budget, settings.finalists)
    ]
    finished = bool(loop.finished)
    best = finalists[0]
    if finished and len(finalists) > 1:
        for entry in finalists:
            architecture = space.architecture(entry["candidate"], entry["depth"])
            network: Any = Network(architecture, num_items, dropout)
            alone = fit(
                network, extract(state.weights, space, architecture), samples, evaluator,
                settings=_finalist_training(settings), seed=seed, on_step=on_step,
            )  # fmt: skip
            finished = finished and alone.finished
            if not finished:
                break
            entry["ndcg@10"] = alone.ndcg
        else:
            best = max(finalists, key=lambda f: f["ndcg@10"])
    architecture = space.architecture(best["candidate"], best["depth"])
    return Found(architecture, finalists, state.weights, state.arch, int(loop.epochs_done), finished)


def _finalist_training(settings: SearchConfig) -> RetrainConfig:
    return RetrainConfig(
        epochs=settings.finalist_epochs,
        batch_size=settings.batch_size,
        buckets=settings.buckets,
        learning_rate=settings.learning_rate,
    )
