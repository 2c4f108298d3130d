"""LinRec as published (Liu et al., SIGIR 2023; Eq. 5 of EASRec): every position reads all real positions, `O(length d_h^2)`."""

from __future__ import annotations

import jax.numpy as jnp

from easrec_jax.nn import linear_attention as linear
from easrec_jax.nn.mixer import Decay, Heads, Mask, Mixer


def sequence(q: Heads, k: Heads, v: Heads, mask: Mask, decay: Decay | None = None) -> Heads:
    """Each query against the one summary of all events."""
    summary = linear.summarize(k, v, mask, None)
    q = linear.unit(linear.feature(q)) * linear.inverse_norm(summary.squares)[:, None]
    return jnp.einsum("blhc,bhcd->blhd", q, summary.memory) * q.shape[-1] ** -0.5


def token_flops(width: int, heads: int, length: int) -> int:
    """A key's part in the summary, and a query's product with it."""
    return 4 * width * (width // heads)


MIXER = Mixer(
    sequence=sequence,
    weights=lambda q, k, mask, decay: linear.weights(q, k, mask, None),
    summarize=lambda k, v, mask, decay: linear.summarize(k, v, mask, None),
    read=linear.read,
    push=None,
    token_flops=token_flops,
    weight_flops=linear.weight_flops,
    scales="output",
)
