"""What mixes the events of a history: one file each in `mixers/`, found by its name (`--model.attention NAME`).

A file of `mixers/causal/` lets position t read positions up to t; one of `mixers/bidirectional/` lets it read all of them. The
folder says so, as settings are checked before JAX is imported (`config.CAUSAL_ATTENTIONS`). Each file defines `MIXER`.

Axes: `batch length heads channel`, channels being those of one head (d_h). `mask` is true at real positions, which are
left-aligned. `decay` is one factor in (0, 1] a head, which a mixer may leave unread.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from easrec_jax.config import CAUSAL_ATTENTIONS

Heads = Float[Array, "batch length heads channel"]
Query = Float[Array, "batch heads channel"]
Weights = Float[Array, "batch heads length"]
Mask = Bool[Array, "batch length"]
Decay = Float[Array, " heads"]


class Mixer(NamedTuple):
    """Five pure functions over the arrays of all heads, and what they cost.

    Laws: `read(q_last, summarize(...))` and the sum of values under `weights` are `sequence(...)` at the last real position, so
    inference pays for one query only; `push` event by event is `summarize` at once.
    """

    sequence: Callable[[Heads, Heads, Heads, Mask, Decay], Heads]
    """(q, k, v, mask, decay) -> the outputs at all positions."""
    weights: Callable[[Query, Heads, Mask, Decay], Weights]
    """(q, k, mask, decay), q being one query after the last real position -> what each value counts in its output."""
    summarize: Callable[[Heads, Heads, Mask, Decay], Any]
    """(k, v, mask, decay) -> what a query after the last real position needs to know, a pytree."""
    read: Callable[[Query, Any], Query]
    """(q, summary) -> the output of one query."""
    push: Callable[[Any, Query, Query, Decay], Any] | None
    """(summary, k, v, decay) -> the summary after one more event; None where an event changes earlier outputs."""
    token_flops: Callable[[int, int, int], int]
    """(width, heads, length) -> FLOPs of one position's mixing in `sequence` over `length` positions, products only."""
    weight_flops: Callable[[int, int], int]
    """(width, heads) -> FLOPs of one event's part in `weights`."""
    scales: Literal["scores", "output", "nowhere"] = "nowhere"
    """Where `1 / sqrt(d_h)` stands. A supernet that masks channels of a head makes up for them there."""


def find_mixer(name: str) -> Mixer:
    """The mixer of the file of that name in `mixers/`; one of `config.ATTENTIONS`."""
    folder = "causal" if name in CAUSAL_ATTENTIONS else "bidirectional"
    return importlib.import_module(f"easrec_jax.nn.mixers.{folder}.{name}").MIXER


def default_decay(heads: int) -> jax.Array:
    """Time scales of mixers that forget: r_h = 1 - 0.5 * 0.4^h, and 1 for the last head, which forgets nothing."""
    steps = jnp.arange(heads)
    return jnp.where(steps == heads - 1, 1.0, 1.0 - 0.5 * 0.4**steps)
