"""Training one network: the step, the loss, `fit`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easrec_jax.config import RetrainConfig
from easrec_jax.data.batches import Batch, Samples, batches_per_epoch, bucketed, epoch_batches, scoring_samples
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.network import item_table, network_scores
from easrec_jax.nn.block import apply
from easrec_jax.nn.losses import cross_entropy
from easrec_jax.precision import check_float32, in_float32
from easrec_jax.train.loop import Checkpoints, LoopState, run_epochs
from easrec_jax.train.rows import make_sampler, sampled_step
from easrec_jax.train.step import TrainState, optimizer, rate_schedule, train_step


def held_out_cross_entropy(network: Any, weights: dict, evaluator: Evaluator) -> float:
    """Mean cross entropy, over all items and without dropout, of the held-out items of the evaluator's part."""
    network, total = network.clone(dropout=0.0), 0.0
    samples = scoring_samples(evaluator.split, evaluator.part, max_length=evaluator.max_length)
    for index, length, rows in bucketed(
        samples, max_length=evaluator.max_length, batch_size=evaluator.batch_size, buckets=evaluator.buckets
    ):
        total += float(_loss_at_the_end(weights, samples.batch(index, length, rows), network=network)) * len(index)
    return total / len(samples)


@partial(jax.jit, static_argnames="network")
def _loss_at_the_end(weights: dict, batch: Batch, *, network: Any) -> Array:
    hidden = apply(network, weights, batch.items, method="encode_last")
    return cross_entropy(hidden, item_table(weights), batch.targets)


OF_THE_COMMAND = (
    "architecture",
    "weights",
    "from_model",
    "baseline_learning_rate",
    "baselines",
)  # `fit` reads none of them


class Fitted(NamedTuple):
    """The best epoch by validation NDCG@10."""

    weights: dict
    epoch: int  # from 1; 0: nothing was better than the start
    ndcg: float
    finished: bool  # False: interrupted


@in_float32
def fit(
    network: Any,  # a Network, or a baseline of the same methods
    weights: dict,
    samples: Samples,
    evaluator: Evaluator,
    *,
    settings: RetrainConfig,
    seed: int,
    evaluate_start: bool = False,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    on_step: Callable[[dict], Any] | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
) -> Fitted:
    """Train from `weights`, evaluate each epoch with the evaluator's first protocol, stop early, keep the best epoch.

    With `evaluate_start` `weights` themselves count as epoch 0. Negatives of the sampled loss come from the training part of
    the evaluator's split. Raises `ValueError` for weights of another type than float32 and for checkpoints of another run,
    `FloatingPointError` where the numbers stop being finite.
    """
    check_float32(weights)
    max_length = network.architecture.max_length
    plan = {"max_length": max_length, "batch_size": settings.batch_size, "buckets": settings.buckets}
    steps = batches_per_epoch(samples, **plan)
    rate = settings.learning_rate, settings.schedule, settings.warmup_steps, steps * settings.epochs
    tx = optimizer(*rate, settings.weight_decay, settings.clip_norm)
    key = jax.random.fold_in(jax.random.key(seed), 1)
    weights = jax.tree.map(jnp.array, weights)  # the step donates its state: never the caller's arrays
    start = TrainState(jnp.int32(0), weights, tx.init(weights))

    if settings.loss == "sampled":
        sampler, negatives = make_sampler(evaluator.split), settings.negatives

        def step(state: TrainState, batch: Batch, _: int) -> tuple[TrainState, dict]:
            return sampled_step(state, batch, key, sampler, network=network, tx=tx, negatives=negatives)
    else:

        def step(state: TrainState, batch: Batch, _: int) -> tuple[TrainState, dict]:
            return train_step(state, batch, key, network=network, tx=tx)

    def evaluate(state: TrainState) -> dict:
        results = evaluator(network_scores(network), state.weights)
        return {"validation": results, "ndcg@10": results[evaluator.protocols[0]]["ndcg@10"]}

    def advice(step: int) -> str:
        now: Any = rate_schedule(*rate)(step - 1)
        return f"lower the learning rate ({float(now):.3g} at that step), or use more warmup_steps"

    if checkpoints is not None:
        run = {name: value for name, value in dataclasses.asdict(settings).items() if name not in OF_THE_COMMAND}
        model = {"network": type(network).__name__, "dropout": network.dropout} | network.architecture.to_json()
        checkpoints = checkpoints.of_run(run | {"seed": seed} | model | evaluator.split.data.identity())
    loop = run_epochs(
        LoopState.start(start, keep=weights),
        step=step,
        batches=lambda epoch, skip: epoch_batches(samples, **plan, seed=seed, epoch=epoch, skip=skip),
        evaluate=evaluate,
        keep=lambda state: state.weights,
        steps_per_epoch=steps,
        epochs=settings.epochs,
        patience=settings.patience,
        advice=advice,
        evaluate_start=evaluate_start,
        checkpoints=checkpoints,
        resume=resume,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    return Fitted(loop.kept, int(loop.best_epoch), float(loop.best), bool(loop.finished))
