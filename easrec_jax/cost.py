"""FLOPs and parameters of an `Architecture` in closed form, and the cost table F(i, j) of a search space.

FLOPs are those of one request: embed `length` events, run the layers - the last one at the last position alone, as
serving does - and score all items. A multiply-add counts two; counted are the products (projections, feed-forward,
gates, attention, convolution, scores). Norms, activations and gathers are left out: XLA counts 4 to 9 per cent more at
width 128, 9 to 13 at width 64.
"""

from __future__ import annotations

import numpy as np

from easrec_jax.architecture import Architecture, SearchSpace, WideSpace
from easrec_jax.attention import CHUNK


def request_flops(arch: Architecture, num_items: int, length: int | None = None) -> int:
    """FLOPs to answer one user with `length` events (default: `max_length`), all items scored."""
    length = arch.max_length if length is None else length
    d = arch.width
    # an event: its key, convolution, weight under the one query, share in each head's sum; a user: query, value, merge
    weight = 2 * d if arch.attention == "softmax" else 4 * arch.heads * d
    last = length * (2 * d * d + 2 * arch.conv_width * d + weight + 2 * arch.heads * d) + 6 * d * d
    before = sum(token_flops(arch, length, layer) for layer in range(arch.depth - 1))
    return length * before + last + _pointwise(arch, arch.depth - 1) + 2 * d * num_items


def token_flops(arch: Architecture, length: int, layer: int = 0) -> int:
    """FLOPs of layer `layer` at one position, all `length` positions being computed (training, and all but the last)."""
    d = arch.width
    channels = d // arch.heads
    if arch.attention == "softmax":
        attention = 4 * length * d
    elif arch.attention == "linrec":
        attention = 4 * d * channels
    else:
        chunk = -(-length // -(-length // CHUNK))
        attention = 6 * chunk * d + 4 * d * channels
    return 8 * d * d + 2 * arch.conv_width * d + attention + _pointwise(arch, layer)


def _pointwise(arch: Architecture, layer: int) -> int:
    """Feed-forward and gates of a layer at one position."""
    d, inner = arch.width, arch.inner_sizes[layer]
    gates = {0: 0, 1: 2 * d * d + 2 * d * inner, 2: 6 * d * d + 2 * d * inner}[arch.gate_layers]
    return 4 * d * inner + gates


def parameter_count(arch: Architecture, num_items: int) -> int:
    """Trainable numbers, embeddings included (the padding row too, as it is stored)."""
    d = arch.width

    def dense(a: int, b: int) -> int:
        return a * b + b

    def block(inner: int) -> int:
        size = 4 * dense(d, d) + dense(d, inner) + dense(inner, d) + 4 * d
        size += arch.conv_width * d + (arch.heads if arch.learn_decay else 0)
        if arch.gate_layers:
            size += dense(d, d) + dense(d, inner) + (arch.gate_layers - 1) * 2 * dense(d, d)
        return size

    return (num_items + 1 + arch.max_length) * d + 2 * d + sum(map(block, arch.inner_sizes))


def cost_table(space: SearchSpace | WideSpace, num_items: int) -> np.ndarray:
    """Request FLOPs of every network over the largest one's.

    F(i, j), [candidates depths], of candidate i exiting after layer j + 1; of a wide space [networks].
    """
    if isinstance(space, WideSpace):
        networks = [request_flops(space.architecture(n), num_items) for n in range(len(space.choices))]
        return np.array(networks, np.float64) / request_flops(space.largest, num_items)
    flops = [
        [request_flops(space.architecture(i, j), num_items) for j in range(1, space.num_layers + 1)]
        for i in range(space.num_candidates)
    ]
    return np.array(flops, np.float64) / request_flops(space.largest, num_items)
