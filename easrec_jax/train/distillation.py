"""Training with a teacher: embeddings, hidden states and scores of a larger network beside the labels.

L = (1 - gamma) CE + gamma (L_emb + L_hid + L_logit) of AdaRec (arXiv 2107.07173), gamma being `distill.share`, or with some of its
terms (`distill.terms`). The teacher is frozen.
Changed: the divergences are KL(teacher || student), and all terms are means over real positions or targets.

The two projections to the teacher's width, and the weights of the layers, live under `DISTILLATION` in the weights of the network
that learns; networks do not read it, `without_distillation` takes it off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from easrec_jax.config import RetrainConfig
from easrec_jax.config.distill import DistillConfig
from easrec_jax.data.batches import Batch
from easrec_jax.models.encoder import Encoder, Layered, Weights
from easrec_jax.models.network import item_table
from easrec_jax.nn.block import pick_last
from easrec_jax.nn.dense import Dense
from easrec_jax.nn.losses import CHUNK, Teacher, cross_entropy
from easrec_jax.nn.transport import adapted, fixed_plan, layer_distances, transport_plan
from easrec_jax.train.fit import Fitted, fit
from easrec_jax.train.loop import QUIET, Run
from easrec_jax.train.objective import FULL, Objective
from easrec_jax.train.step import TrainState
from easrec_jax.train.task import Task

DISTILLATION = "distillation"


class Taught(NamedTuple):
    """By whom, and how."""

    teacher: Layered
    weights: Weights  # the teacher's
    settings: DistillConfig
    digest: str = ""  # checksum of the teacher's weights


class Lesson(NamedTuple):
    """What one batch teaches."""

    loss: Array
    student: Array  # [layers], weights of the student's layers for the next batch
    teacher: Array  # [layers], the same of the teacher's


def with_distillation(weights: dict, taught: Taught, *, layers: int, key: Array) -> dict:
    """The weights of a network of so many layers, and what it needs beside them to learn from a teacher; the key is consumed."""
    embedding_key, hidden_key = jax.random.split(key)
    architecture = taught.teacher.architecture
    dense = Dense(item_table(weights).shape[1], architecture.width)
    start = jnp.zeros((1, dense.inputs))
    return weights | {
        DISTILLATION: {
            "embedding": dense.init(embedding_key, start)["params"],
            "hidden": dense.init(hidden_key, start)["params"],
            "student": jnp.full(layers, 1.0 / layers, jnp.float32),
            "teacher": jnp.full(architecture.depth, 1.0 / architecture.depth, jnp.float32),
        }
    }


def without_distillation(weights: dict) -> dict:
    """The network's own weights."""
    return {name: part for name, part in weights.items() if name != DISTILLATION}


def embedded(weights: dict, items: Array) -> Array:
    """Sum of item and position embedding, [batch length width], as all networks of the library have it."""
    tables = weights["tables"]
    return tables["items"][items] + tables["positions"][None, : items.shape[1]]


def lesson(weights: dict, exits: Callable[[dict, Array], list[Array]], batch: Batch, taught: Taught) -> Lesson:
    """Loss of a batch for a network whose hidden states after each layer are `exits(weights, items)`."""
    settings, beside = taught.settings, weights[DISTILLATION]
    items = jnp.asarray(batch.items)
    mask, own = items > 0, exits(weights, items)
    theirs = jax.lax.stop_gradient(taught.teacher.exits(taught.weights, items))
    student, teacher = jax.lax.stop_gradient((beside["student"], beside["teacher"]))
    hidden: Any = jnp.zeros(())
    if "hidden" in settings.terms:
        hidden, student, teacher = _of_hidden(beside["hidden"], (own, theirs), mask, (student, teacher), settings)
    embedding: Any = jnp.zeros(())
    if "embedding" in settings.terms:
        embedding = _of_embedding(beside["embedding"], weights, taught, items)
    scores = None
    if "scores" in settings.terms:
        scores = Teacher(_read(theirs[-1], batch), jax.lax.stop_gradient(item_table(taught.weights)), settings.share)
    labels: Any = cross_entropy(
        _read(own[-1], batch), item_table(weights), jnp.asarray(batch.targets).ravel(), CHUNK, scores
    )
    if scores is None:
        labels = (1.0 - settings.share) * labels
    taken = settings.share * (embedding + hidden)
    return Lesson(taken + labels, student, teacher)


def _project(weights: dict, x: Array, width: int) -> Array:
    out: Any = Dense(x.shape[-1], width).apply({"params": weights}, x)
    return out


def _of_hidden(
    projection: dict, layers: tuple[list[Array], list[Array]], mask: Array, shares: tuple[Array, Array],
    settings: DistillConfig,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """(the term, the student's and the teacher's weights of layers for the next batch), of (the student's, the teacher's) layers."""
    own, theirs = layers
    student, teacher = shares
    projected = jnp.stack([_project(projection, x, theirs[0].shape[-1]) for x in own])
    distance = layer_distances(projected, jnp.stack(theirs), mask)
    if settings.mapping == "emd":
        plan = transport_plan(distance, student, teacher)
        student, teacher = adapted(plan, distance, student, teacher)
    else:
        plan = jnp.asarray(fixed_plan(settings.mapping, *distance.shape))
    return jnp.sum(plan * distance), student, teacher


def _of_embedding(projection: dict, weights: dict, taught: Taught, items: Array) -> Array:
    """Mean squared error of the projected embedding of the real events."""
    mask, theirs = items > 0, jax.lax.stop_gradient(embedded(taught.weights, items))
    apart = _project(projection, embedded(weights, items), theirs.shape[-1]) - theirs
    return jnp.sum(jnp.where(mask[..., None], apart**2, 0.0)) / jnp.maximum(jnp.sum(mask) * theirs.shape[-1], 1)


def teachers_word(teacher: Layered | None, weights: Weights, share: float, batch: Batch) -> Teacher | None:
    """What a teacher says of the targets of a batch, for `cross_entropy`; None without one."""
    if teacher is None:
        return None
    encode = teacher.encode_last if batch.targets.ndim == 1 else teacher.encode
    hidden = encode(weights, jnp.asarray(batch.items))
    word = Teacher(hidden.reshape(-1, hidden.shape[-1]), item_table(weights), share)
    return jax.lax.stop_gradient(word)


def _read(hidden: Array, batch: Batch) -> Array:
    """[targets width] of [batch length width]: at all positions, or at the last ones where there is a target each."""
    if batch.targets.ndim == 1:
        return pick_last(hidden, jnp.asarray(batch.items) > 0)
    return hidden.reshape(-1, hidden.shape[-1])


def layers_reweighted(weights: dict, of: Lesson) -> dict:
    """The weights with the lesson's weights of the layers: what no gradient moves."""
    return weights | {DISTILLATION: weights[DISTILLATION] | {"student": of.student, "teacher": of.teacher}}


@partial(jax.jit, static_argnames=("encoder", "tx", "teacher", "settings"), donate_argnames="state")
def distilled_step(
    state: TrainState,
    batch: Batch,
    key: Array,
    data: Weights,
    *,
    encoder: Layered,
    tx: optax.GradientTransformation,
    teacher: Layered,
    settings: DistillConfig,
) -> tuple[TrainState, dict[str, Array]]:
    """One optimiser step of a network that learns from a teacher, whose weights are `data`. Keys: `fold_in(key, step)`."""
    step_key, taught = jax.random.fold_in(key, state.step), Taught(teacher, data, settings)

    def loss_of(weights: dict) -> tuple[Array, Lesson]:
        found = lesson(weights, lambda weights, items: encoder.exits(weights, items, key=step_key), batch, taught)
        return found.loss, found

    (loss, found), grads = jax.value_and_grad(loss_of, has_aux=True)(state.weights)
    updates, opt = tx.update(grads, state.opt, state.weights)
    stepped: Any = optax.apply_updates(state.weights, updates)
    return TrainState(state.step + 1, layers_reweighted(stepped, found), opt), {"loss": loss}


def distilled(taught: Taught) -> Objective:
    """The objective of `distill.*`; softmax over all items where the teacher's share is 0."""
    if not taught.settings.share:
        return FULL
    step = partial(distilled_step, teacher=taught.teacher, settings=taught.settings)
    return Objective(step, taught.weights, about(taught))


def fit_taught(
    encoder: Encoder,
    weights: dict,
    task: Task,
    taught: Taught | None,
    *,
    settings: RetrainConfig,
    evaluate_start: bool = False,
    run: Run = QUIET,
) -> Fitted:
    """`fit` with a teacher, if one is given; the weights that it leaves are the network's own."""
    objective = None
    if taught is not None:
        key = jax.random.fold_in(jax.random.key(task.seed), 4)
        weights = with_distillation(weights, taught, layers=encoder.architecture.depth, key=key)
        objective = distilled(taught)
    fitted = fit(encoder, weights, task, settings=settings, objective=objective, evaluate_start=evaluate_start, run=run)
    return fitted._replace(weights=without_distillation(fitted.weights))


def about(taught: Taught) -> dict:
    """What tells a run that learns from this teacher from others."""
    settings = taught.settings
    return {
        "teacher": taught.digest, "share": settings.share, "mapping": settings.mapping, "terms": list(settings.terms)
    }  # fmt: skip
