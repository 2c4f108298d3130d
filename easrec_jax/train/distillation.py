"""Training with a teacher: embeddings, hidden states and scores of a larger network beside the labels.

L = (1 - gamma) CE + gamma (L_emb + L_hid + L_logit) of AdaRec (arXiv 2107.07173), gamma being `distill.share`. The teacher is frozen.
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

from easrec_jax.config.distill import DistillConfig
from easrec_jax.data.batches import Batch
from easrec_jax.models.encoder import Layered, Weights
from easrec_jax.models.network import item_table
from easrec_jax.nn.block import pick_last
from easrec_jax.nn.dense import Dense
from easrec_jax.nn.losses import CHUNK, Teacher, cross_entropy
from easrec_jax.nn.transport import adapted, fixed_plan, layer_distances, transport_plan
from easrec_jax.train.objective import FULL, Objective
from easrec_jax.train.step import TrainState

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
    width = taught.teacher.architecture.width
    dense = Dense(own[-1].shape[-1], width)

    def project(name: str, x: Array) -> Array:
        return dense.apply({"params": beside[name]}, x)  # pyright: ignore[reportReturnType]

    distance = layer_distances(jnp.stack([project("hidden", x) for x in own]), jnp.stack(theirs), mask)
    student, teacher = jax.lax.stop_gradient((beside["student"], beside["teacher"]))
    if settings.mapping == "emd":
        plan = transport_plan(distance, student, teacher)
        student, teacher = adapted(plan, distance, student, teacher)
    else:
        plan = jnp.asarray(fixed_plan(settings.mapping, *distance.shape))
    hidden = jnp.sum(plan * distance)
    apart = project("embedding", embedded(weights, items)) - jax.lax.stop_gradient(embedded(taught.weights, items))
    embedding = jnp.sum(jnp.where(mask[..., None], apart**2, 0.0)) / jnp.maximum(jnp.sum(mask) * width, 1)
    scores = jax.lax.stop_gradient(Teacher(_read(theirs[-1], batch), item_table(taught.weights), settings.share))
    labels: Any = cross_entropy(
        _read(own[-1], batch), item_table(weights), jnp.asarray(batch.targets).ravel(), CHUNK, scores
    )
    taken = settings.share * (embedding + hidden)
    return Lesson(taken + labels, student, teacher)


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


def about(taught: Taught) -> dict:
    """What tells a run that learns from this teacher from others."""
    return {"teacher": taught.digest, "share": taught.settings.share, "mapping": taught.settings.mapping}
