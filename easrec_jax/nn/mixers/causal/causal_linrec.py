"""LinRec over the prefix 0..t, column norms included: linear attention that forgets nothing and sees nothing later."""

from __future__ import annotations

from easrec_jax.nn import linear_attention as linear
from easrec_jax.nn.mixer import Mixer

MIXER = Mixer(
    sequence=lambda q, k, v, mask, decay: linear.causal_sequence(q, k, v, mask, None),
    weights=lambda q, k, mask, decay: linear.weights(q, k, mask, None),
    summarize=lambda k, v, mask, decay: linear.summarize(k, v, mask, None),
    read=linear.read,
    push=lambda summary, k, v, decay: linear.push(summary, k, v, None),
    token_flops=linear.causal_token_flops,
    weight_flops=linear.weight_flops,
    scales="output",
)
