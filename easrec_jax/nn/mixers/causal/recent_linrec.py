"""Causal LinRec that forgets: each head's sums fade by its decay an event, so heads have time scales of their own."""

from __future__ import annotations

from easrec_jax.nn import linear_attention as linear
from easrec_jax.nn.mixer import Mixer

MIXER = Mixer(
    sequence=linear.causal_sequence,
    weights=linear.weights,
    summarize=linear.summarize,
    read=linear.read,
    push=linear.push,
    token_flops=linear.causal_token_flops,
    weight_flops=linear.weight_flops,
    scales="output",
)
