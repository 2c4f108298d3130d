"""Training one network: epochs, evaluation, the best of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from easrec_jax.config import RetrainConfig
from easrec_jax.data.batches import Batch, batches_per_epoch, bucketed, epoch_batches, scoring_samples
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.encoder import Encoder
from easrec_jax.models.item_features import FeatureWeights, feature_weights, fold
from easrec_jax.models.network import item_table, network_scores
from easrec_jax.models.unknown_times import with_unknown_times
from easrec_jax.nn.losses import cross_entropy
from easrec_jax.parallel.layout import Layout
from easrec_jax.parallel.tables import spread
from easrec_jax.precision import check_float32, in_float32
from easrec_jax.train.loop import QUIET, LoopState, Procedure, Run, run_epochs
from easrec_jax.train.objective import Objective, objective_of
from easrec_jax.train.step import TrainState, optimizer, rate_schedule
from easrec_jax.train.task import Task

# settings that `fit` does not read: a run is the same with others
OF_THE_COMMAND = ("architecture", "weights", "from_model", "baseline_learning_rate", "baselines")


class Fitted(NamedTuple):
    """The best epoch by validation NDCG@10."""

    weights: dict  # the network's own: features folded in, unknown times means; whole, of NumPy where several devices trained them
    epoch: int  # from 1; 0: nothing was better than the start
    ndcg: float
    finished: bool  # False: interrupted
    features: FeatureWeights | None = None  # what gives new items rows, where item features were trained


@in_float32
def fit(
    encoder: Encoder,
    weights: dict,
    task: Task,
    *,
    settings: RetrainConfig,
    objective: Objective | None = None,
    evaluate_start: bool = False,
    run: Run = QUIET,
) -> Fitted:
    """Train from `weights`, evaluate each epoch with the evaluator's first protocol, stop early, keep the best epoch.

    `objective` replaces the one of the settings. With `evaluate_start` `weights` themselves count as epoch 0. Negatives of
    the sampled loss come from the training part of the task's split. On several devices, if the task has a layout, the figures
    are the same but for rounding. Weights with arrays of item features (`with_features`) are trained with the features of the
    split's data. Raises `ValueError` for weights of another type than
    float32 and for checkpoints of another run, `FloatingPointError` where the numbers stop being finite.
    """
    check_float32(weights)
    max_length = encoder.architecture.max_length
    plan = {"max_length": max_length, "batch_size": settings.batch_size, "buckets": settings.buckets}
    steps = batches_per_epoch(task.samples, **plan)
    rate = settings.learning_rate, settings.schedule, settings.warmup_steps, steps * settings.epochs
    tx = optimizer(*rate, settings.weight_decay, settings.clip_norm)
    key = jax.random.fold_in(jax.random.key(task.seed), 1)
    start, layout = _begin(weights, tx, task.layout), task.layout
    objective, inputs = objective or objective_of(settings, task, weights), task.split.data.features
    if layout is not None:
        objective, key = objective.on(layout), layout.place_key(key)

    def step(state: TrainState, batch: Batch, _: int) -> tuple[TrainState, dict]:
        return objective.step(state, task.put(batch), key, objective.data, encoder=encoder, tx=tx)

    def batches(epoch: int, skip: int) -> Iterator[Batch]:
        return epoch_batches(task.samples, **plan, seed=task.seed, epoch=epoch, skip=skip)

    def evaluate(state: TrainState) -> dict:
        results = task.evaluator(network_scores(encoder), fold(state.weights, inputs))
        return {"validation": results, "ndcg@10": results[task.evaluator.protocols[0]]["ndcg@10"]}

    def advice(step: int) -> str:
        now: Any = rate_schedule(*rate)(step - 1)
        return f"lower the learning rate ({float(now):.3g} at that step), or use more warmup_steps"

    loop = run_epochs(
        LoopState.start(start, keep=start.weights),
        Procedure(step, batches, evaluate, lambda state: state.weights, advice),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        patience=settings.patience,
        evaluate_start=evaluate_start,
        run=_named(run, encoder, task, settings, objective.about or {}),
    )
    kept = loop.kept if layout is None else layout.unplace(loop.kept)
    best = int(loop.best_epoch), float(loop.best), bool(loop.finished)
    whole = with_unknown_times(fold(kept, inputs), task.split)
    return Fitted(whole, *best, feature_weights(kept, inputs))


def _begin(weights: dict, tx: optax.GradientTransformation, layout: Layout | None) -> TrainState:
    """The state before the first step, of arrays of its own: steps donate it."""
    if layout is not None:
        weights = layout.place(weights)
        return TrainState(layout.place(np.int32(0)), weights, layout.init(tx.init, weights))
    weights = jax.tree.map(jnp.array, weights)
    return TrainState(jnp.int32(0), weights, tx.init(weights))


def _named(run: Run, encoder: Encoder, task: Task, settings: RetrainConfig, about: dict) -> Run:
    """The run whose checkpoints know what they are of."""
    if run.checkpoints is None:
        return run
    known = {name: value for name, value in dataclasses.asdict(settings).items() if name not in OF_THE_COMMAND}
    model = {"network": encoder.name, "dropout": encoder.dropout} | encoder.architecture.to_json()
    named = run.checkpoints.of_run(known | {"seed": task.seed} | model | about | task.split.data.identity())
    return run._replace(checkpoints=named)


def held_out_cross_entropy(encoder: Encoder, weights: dict, evaluator: Evaluator) -> float:
    """Mean cross entropy, over all items and without dropout, of the held-out items of the evaluator's part."""
    encoder, layout, total = encoder.clone(dropout=0.0), evaluator.layout, 0.0
    weights = weights if layout is None else layout.place(weights)
    samples = scoring_samples(evaluator.split, evaluator.part, max_length=evaluator.max_length)
    for index, length, rows in bucketed(
        samples, max_length=evaluator.max_length, batch_size=evaluator.batch_size, buckets=evaluator.buckets
    ):
        batch = samples.batch(index, length, rows)
        batch = batch if layout is None else layout.put(batch)
        total += float(_loss_at_the_end(weights, batch, encoder=encoder, layout=layout)) * len(index)
    return total / len(samples)


@partial(jax.jit, static_argnames=("encoder", "layout"))
def _loss_at_the_end(weights: dict, batch: Batch, *, encoder: Encoder, layout: Layout | None) -> Array:
    weights = spread(weights, layout)
    return cross_entropy(encoder.encode_last(weights, batch.items), item_table(weights), batch.targets)
