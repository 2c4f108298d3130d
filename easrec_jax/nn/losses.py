"""Cross entropy over all items (Eq. 13-14), with a teacher's word in it or without, that never holds `[targets, items]`."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

from easrec_jax.nn.teacher import Teacher
from easrec_jax.nn.vocabulary import vocabulary_cross_entropy
from easrec_jax.parallel.tables import RowTable

# targets whose scores exist at a time: a smaller last chunk wastes less, a larger one multiplies faster
CHUNK = 640


def cross_entropy(
    hidden: Float[Array, "targets width"],
    table: Float[Array, "rows width"] | RowTable,
    targets: Int[Array, " targets"] | Int[np.ndarray, " targets"],
    chunk: int = CHUNK,
    teacher: Teacher | None = None,
) -> Float[Array, ""]:
    """Mean of -log softmax(hidden . table^T)[target] over the real targets; target 0 means none.

    With a teacher, the mean of -sum_v q_v log softmax(hidden . table^T)_v, where q is `teacher.share` of the teacher's softmax
    (at temperature 1) and the rest of it the target (Hinton et al., 2015). Row 0 of `table`, the padding, is no class. Works in
    chunks of `chunk` targets, real ones only. Where gradients are asked for, each chunk's share is computed with its loss
    (three products of `2 targets items width` FLOPs in all, a fourth for the teacher). A table on several devices is
    `vocabulary.vocabulary_cross_entropy`'s, which has chunks of its own.
    """
    if isinstance(table, RowTable):
        return vocabulary_cross_entropy(hidden, table, jnp.asarray(targets), teacher)
    return _cross_entropy(hidden, table, jnp.asarray(targets), chunk, teacher)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _cross_entropy(hidden: Array, table: Array, targets: Array, chunk: int, teacher: Teacher | None) -> Array:
    work = _in_chunks(hidden, targets, chunk, teacher)
    return lax.fori_loop(0, work.steps, lambda i, loss: loss + _scores(work, table, i).loss, jnp.zeros(()))


class _Chunks(NamedTuple):
    """The targets in the order they are worked on: the real ones first, filled up to whole chunks of `size`."""

    hidden: Float[Array, "filled width"]
    targets: Int[Array, " filled"]
    order: Int[Array, " targets"]
    size: int
    steps: Array
    scale: Array
    """One over the number of real targets."""
    teacher: Teacher | None


def _in_chunks(hidden: Array, targets: Array, chunk: int, teacher: Teacher | None) -> _Chunks:
    size = min(chunk, targets.shape[0])
    pad = -targets.shape[0] % size
    order = jnp.argsort(targets == 0, stable=True)
    count = jnp.sum(targets > 0)

    def ordered(rows: Array) -> Array:
        return jnp.pad(rows[order], ((0, pad), (0, 0)))

    return _Chunks(
        hidden=ordered(hidden),
        targets=jnp.pad(targets[order], (0, pad)),
        order=order,
        size=size,
        steps=(count + size - 1) // size,
        scale=1.0 / jnp.maximum(count, 1),
        teacher=teacher and teacher._replace(hidden=ordered(teacher.hidden)),
    )


class _Scored(NamedTuple):
    """One chunk: its rows, what they score, and its share of the loss."""

    hidden: Float[Array, "chunk width"]
    targets: Int[Array, " chunk"]
    target_rows: Float[Array, "chunk width"]
    weight: Float[Array, " chunk"]
    """Of each target in the loss."""
    kept: Float[Array, " chunk"]
    """The same less what the teacher has of it."""
    exps: Float[Array, "chunk classes"]
    """Proportional to probabilities; with a teacher, to probabilities less the share of the teacher's that is learned."""
    total: Float[Array, "chunk 1"]
    loss: Float[Array, ""]


def _scores(work: _Chunks, table: Array, i: Array) -> _Scored:
    x = lax.dynamic_slice_in_dim(work.hidden, i * work.size, work.size)
    y = lax.dynamic_slice_in_dim(work.targets, i * work.size, work.size)
    weight = jnp.where(y > 0, work.scale, 0.0)
    target_rows = table[y]
    scores = x @ table[1:].T
    highest = jnp.max(scores, -1, keepdims=True)
    exps = jnp.exp(scores - highest)
    total = jnp.sum(exps, -1, keepdims=True)
    log_norm = (jnp.log(total) + highest)[:, 0]
    if work.teacher is None:
        loss = jnp.sum(weight * (log_norm - jnp.sum(x * target_rows, -1)))
        return _Scored(x, y, target_rows, weight, weight, exps, total, loss)
    taught = lax.dynamic_slice_in_dim(work.teacher.hidden, i * work.size, work.size) @ work.teacher.table[1:].T
    share = work.teacher.share * jax.nn.softmax(taught, -1)
    kept = weight * (1.0 - work.teacher.share)
    loss = jnp.sum(weight * (log_norm - jnp.sum(share * scores, -1))) - jnp.sum(kept * jnp.sum(x * target_rows, -1))
    return _Scored(x, y, target_rows, weight, kept, exps - share * total, total, loss)


def _forward(hidden: Array, table: Array, targets: Array, chunk: int, teacher: Teacher | None = None):
    """The loss, and its gradients by `hidden` and `table`, each chunk's with its scores."""
    work, classes = _in_chunks(hidden, targets, chunk, teacher), table[1:]

    def body(i: Array, carry):
        loss, d_hidden, d_classes, d_target = carry
        of = _scores(work, table, i)
        share = of.weight[:, None] / of.total
        d_x = (of.exps @ classes) * share - of.kept[:, None] * of.target_rows
        d_hidden = lax.dynamic_update_slice_in_dim(d_hidden, d_x, i * work.size, 0)
        d_classes = d_classes + of.exps.T @ (of.hidden * share)
        d_target = d_target.at[of.targets].add(-of.kept[:, None] * of.hidden)
        return loss + of.loss, d_hidden, d_classes, d_target

    start = (jnp.zeros(()), jnp.zeros_like(work.hidden), jnp.zeros_like(classes), jnp.zeros_like(table))
    loss, d_sorted, d_classes, d_target = lax.fori_loop(0, work.steps, body, start)
    d_hidden = jnp.zeros_like(hidden).at[work.order].set(d_sorted[: targets.shape[0]])
    return loss, (d_hidden, d_target.at[1:].add(d_classes), teacher)


def _backward(chunk: int, gradients, upstream: Array):
    d_hidden, d_table, teacher = gradients
    return upstream * d_hidden, upstream * d_table, None, jax.tree.map(jnp.zeros_like, teacher)


_cross_entropy.defvjp(_forward, _backward)


def sampled_cross_entropy(
    hidden: Float[Array, "targets width"],
    table: Float[Array, "rows width"],
    targets: Int[Array, " targets"],
    negatives: Int[Array, " negatives"],
    log_expected: Float[Array, " rows"],
) -> Float[Array, ""]:
    """Mean of -log softmax over each target and the shared `negatives`; target 0 means none.

    Scores are lessened by `log_expected`, the log of how often a row is expected among the negatives, so that the loss
    estimates the full one (Bengio and Senecal 2008; "logQ"). A negative that is the target itself does not count.
    """
    target_rows = table[targets]
    positive = jnp.sum(hidden * target_rows, -1) - log_expected[targets]
    scores = hidden @ table[negatives].T - log_expected[None, negatives]
    scores = jnp.where(negatives[None, :] == targets[:, None], -jnp.inf, scores)
    losses = jnp.logaddexp(jax.nn.logsumexp(scores, -1), positive) - positive
    real = targets > 0
    return jnp.sum(jnp.where(real, losses, 0.0)) / jnp.maximum(jnp.sum(real), 1)
