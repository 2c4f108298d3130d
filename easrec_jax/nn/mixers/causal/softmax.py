"""Causal scaled dot-product attention, as in SASRec. It answers in the dtype it is given; its summary grows with the history."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easrec_jax.nn.mixer import Decay, Heads, Mask, Mixer, Query, Weights


class SoftmaxSummary(NamedTuple):
    """Keys and values so far; `count` says how many positions are real."""

    keys: Heads
    values: Heads
    # int32 [batch]
    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]


def sequence(q: Heads, k: Heads, v: Heads, mask: Mask, decay: Decay | None = None) -> Heads:
    """Padded keys are masked, later ones too."""
    length = q.shape[1]
    scores = jnp.einsum("bthc,bshc->bhts", q, k) * q.shape[-1] ** -0.5
    visible = jnp.tril(jnp.ones((length, length), bool))[None, None] & mask[:, None, None, :]
    shares = jax.nn.softmax(jnp.where(visible, scores, _hidden(scores)), axis=-1)
    return jnp.einsum("bhts,bshc->bthc", shares, v)


def weights(q: Query, k: Heads, mask: Mask, decay: Decay | None = None) -> Weights:
    """Each event's share of one query."""
    scores = jnp.einsum("bhc,blhc->bhl", q, k) * q.shape[-1] ** -0.5
    return jax.nn.softmax(jnp.where(mask[:, None], scores, _hidden(scores)), axis=-1)


def summarize(k: Heads, v: Heads, mask: Mask, decay: Decay | None = None) -> SoftmaxSummary:
    """All keys and values, nothing less will do."""
    return SoftmaxSummary(k, v, jnp.sum(mask, -1, dtype=jnp.int32))


def read(q: Query, summary: SoftmaxSummary) -> Query:
    """The output of one query against the keys so far."""
    scores = jnp.einsum("bhc,bshc->bhs", q, summary.keys) * q.shape[-1] ** -0.5
    visible = jnp.arange(summary.keys.shape[1])[None, :] < summary.count[:, None]
    shares = jax.nn.softmax(jnp.where(visible[:, None], scores, _hidden(scores)), axis=-1)
    return jnp.einsum("bhs,bshc->bhc", shares, summary.values)


def push(summary: SoftmaxSummary, k: Query, v: Query, decay: Decay | None = None) -> SoftmaxSummary:
    """One more key and value; where there is no room left they are dropped."""
    rows = jnp.arange(k.shape[0])
    keys = summary.keys.at[rows, summary.count].set(k, mode="drop")
    values = summary.values.at[rows, summary.count].set(v, mode="drop")
    return SoftmaxSummary(keys, values, summary.count + 1)


def _hidden(scores: Array) -> float:
    """The score of what is masked: finite, so that a row without events is no NaN."""
    return float(jnp.finfo(scores.dtype).min)


def token_flops(width: int, heads: int, length: int) -> int:
    """A score with each of the `length` keys, and their values' sum."""
    return 4 * length * width


def weight_flops(width: int, heads: int) -> int:
    """A score."""
    return 2 * width


MIXER = Mixer(sequence, weights, summarize, read, push, token_flops, weight_flops, scales="scores")
