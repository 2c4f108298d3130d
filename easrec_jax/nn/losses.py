"""Cross entropy over all items (Eq. 13-14) that never holds `[targets, items]`."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

CHUNK = 640  # targets whose scores exist at a time: a smaller last chunk wastes less, a larger one multiplies faster


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def cross_entropy(
    hidden: Float[Array, "targets width"],
    table: Float[Array, "rows width"],
    targets: Int[Array, " targets"],
    chunk: int = CHUNK,
) -> Float[Array, ""]:
    """Mean of -log softmax(hidden . table^T)[target] over the real targets; target 0 means none.

    Row 0 of `table`, the padding, is no class. Works in chunks of `chunk` targets, real ones only. Where gradients are
    asked for, each chunk's share is computed with its loss (three products of `2 targets items width` FLOPs in all).
    """
    return _run(hidden, table, targets, chunk, False)[0]


def _run(hidden: Array, table: Array, targets: Array, chunk: int, gradients: bool):
    rows = table.shape[0]
    chunk = min(chunk, targets.shape[0])
    pad = -targets.shape[0] % chunk
    order = jnp.argsort(targets == 0, stable=True)  # the real targets first
    classes = table[1:]
    hidden_sorted = jnp.pad(hidden[order], ((0, pad), (0, 0)))
    targets_sorted = jnp.pad(targets[order], (0, pad))
    count = jnp.sum(targets > 0)
    scale = 1.0 / jnp.maximum(count, 1)

    def body(i: Array, carry):
        loss, d_hidden, d_classes, d_target = carry
        x = lax.dynamic_slice_in_dim(hidden_sorted, i * chunk, chunk)
        y = lax.dynamic_slice_in_dim(targets_sorted, i * chunk, chunk)
        weight = jnp.where(y > 0, scale, 0.0)
        target_rows = table[y]
        scores = x @ classes.T
        highest = jnp.max(scores, -1, keepdims=True)
        exps = jnp.exp(scores - highest)
        total = jnp.sum(exps, -1, keepdims=True)
        log_norm = (jnp.log(total) + highest)[:, 0]
        loss = loss + jnp.sum(weight * (log_norm - jnp.sum(x * target_rows, -1)))
        if gradients:
            share = weight[:, None] / total
            d_x = (exps @ classes) * share - weight[:, None] * target_rows
            d_hidden = lax.dynamic_update_slice_in_dim(d_hidden, d_x, i * chunk, 0)
            d_classes = d_classes + exps.T @ (x * share)
            d_target = d_target.at[y].add(-weight[:, None] * x)
        return loss, d_hidden, d_classes, d_target

    zeros = jnp.zeros_like(hidden_sorted) if gradients else jnp.zeros(())
    start = (
        jnp.zeros(()),
        zeros,
        jnp.zeros_like(classes) if gradients else zeros,
        jnp.zeros_like(table) if gradients else zeros,
    )
    steps = (count + chunk - 1) // chunk
    loss, d_hidden, d_classes, d_target = lax.fori_loop(0, steps, body, start)
    if not gradients:
        return loss, None
    d_hidden = jnp.zeros_like(hidden).at[order].set(d_hidden[: targets.shape[0]])
    return loss, (d_hidden, d_target.at[1:rows].add(d_classes))


def _forward(hidden: Array, table: Array, targets: Array, chunk: int):
    return _run(hidden, table, targets, chunk, True)


def _backward(chunk: int, gradients, upstream: Array):
    d_hidden, d_table = gradients
    return upstream * d_hidden, upstream * d_table, None


cross_entropy.defvjp(_forward, _backward)


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
    scores = hidden @ table[negatives].T - log_expected[negatives]
    scores = jnp.where(negatives == targets[:, None], -jnp.inf, scores)
    losses = jnp.logaddexp(jax.nn.logsumexp(scores, -1), positive) - positive
    real = targets > 0
    return jnp.sum(jnp.where(real, losses, 0.0)) / jnp.maximum(jnp.sum(real), 1)
