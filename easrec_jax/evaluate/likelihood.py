"""What a network thinks of each user's held-out item: its cross entropy, and how sure the network is of any."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.data.batches import bucketed, scoring_samples
from easrec_jax.evaluate.evaluator import Evaluator, ScoreFunction
from easrec_jax.precision import in_float32


@in_float32
def likelihood(scores: ScoreFunction, weights: Any, evaluator: Evaluator) -> tuple[np.ndarray, np.ndarray]:
    """(cross entropy over all items of the held-out item, highest probability of any item), float32 [users] each."""
    split, part = evaluator.split, evaluator.part
    samples, targets = scoring_samples(split, part, max_length=evaluator.max_length), split.targets(part)
    found, pending = np.zeros((2, split.data.num_users), np.float32), []
    for index, length, rows in bucketed(
        samples, max_length=evaluator.max_length, batch_size=evaluator.batch_size, buckets=evaluator.buckets
    ):
        target = np.ones(rows, np.int32)
        target[: len(index)] = targets[index]
        pending.append((index, _likelihood(weights, samples.batch(index, length, rows).items, target, scores=scores)))
    for index, values in pending:
        found[:, index] = np.asarray(values)[:, : len(index)]
    return found[0], found[1]


@partial(jax.jit, static_argnames="scores")
def _likelihood(weights: Any, items: Array, targets: Array, *, scores: ScoreFunction) -> Array:
    log_shares = jax.nn.log_softmax(scores(weights, items)[:, 1:], -1)
    target = jnp.take_along_axis(log_shares, targets[:, None] - 1, 1)[:, 0]
    return jnp.stack([-target, jnp.exp(jnp.max(log_shares, -1))])
