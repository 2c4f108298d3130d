"""How sure a network is of each user's next item."""

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
def confidence(scores: ScoreFunction, weights: Any, evaluator: Evaluator) -> np.ndarray:
    """float32 [users]: the highest probability of any item after the histories of the evaluator's part."""
    samples = scoring_samples(evaluator.split, evaluator.part, max_length=evaluator.max_length)
    found, pending = np.zeros(len(samples), np.float32), []
    for index, length, rows in bucketed(
        samples, max_length=evaluator.max_length, batch_size=evaluator.batch_size, buckets=evaluator.buckets
    ):
        pending.append((index, _highest(weights, samples.batch(index, length, rows).items, scores=scores)))
    for index, values in pending:
        found[index] = np.asarray(values)[: len(index)]
    return found


@partial(jax.jit, static_argnames="scores")
def _highest(weights: Any, items: Array, *, scores: ScoreFunction) -> Array:
    return jnp.max(jax.nn.softmax(scores(weights, items)[:, 1:], -1), -1)
