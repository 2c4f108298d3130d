"""FLOPs and parameters of an `Architecture` in closed form, and the cost table F(i, j) of a search space.

FLOPs are counted in two ways. `request_flops`: one request as serving answers it - embed `length` events, run the layers, the
last one at the last position alone, and score all items - so that one layer costs next to nothing. `all_positions_flops`:
the same with every layer at every position, which is how Eq. 15 reads ("j layers of candidate i"), and what a program costs that
does not leave out what nobody reads. A multiply-add counts two; counted are the products (projections, feed-forward, gates,
attention, convolution, scores). Norms, activations, gathers and times are left out: of a request of 200 events and 3,416 items XLA
counts 17 per cent more for one layer of recent linrec at width 128, where elu and squares of all keys stand beside few products,
9 for one of softmax, 7 for SASRec's two, and 13 for two layers of width 64.
"""

from __future__ import annotations

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.cells import NODES, OPERATIONS, AnyArchitecture, CellArchitecture
from easrec_jax.nn.mixer import find_mixer
from easrec_jax.nn.times import table_rows
from easrec_jax.space import Space


def request_flops(arch: AnyArchitecture, num_items: int, length: int | None = None) -> int:
    """FLOPs to answer one user with `length` events (default: `max_length`), all items scored."""
    if isinstance(arch, CellArchitecture):
        return all_positions_flops(arch, num_items, length)
    length = arch.max_length if length is None else length
    d = arch.width
    # an event: its key, convolution, weight under the one query, share in each head's sum; a user: query, value, merge
    weight = find_mixer(arch.attention).weight_flops(d, arch.heads)
    last = length * (2 * d * d + 2 * arch.conv_width * d + weight + 2 * arch.heads * d) + 6 * d * d
    before = sum(token_flops(arch, length, layer) for layer in range(arch.depth - 1))
    return length * before + last + _pointwise(arch, arch.depth - 1) + 2 * d * num_items


def all_positions_flops(arch: AnyArchitecture, num_items: int, length: int | None = None) -> int:
    """The same with every layer at all `length` positions; all items are scored once. Cells are always computed so."""
    length = arch.max_length if length is None else length
    if isinstance(arch, CellArchitecture):
        layers = arch.depth * sum(2 * taps * arch.width**2 for taps in _taps(arch))
    else:
        layers = sum(token_flops(arch, length, layer) for layer in range(arch.depth))
    return length * layers + 2 * arch.width * num_items


def token_flops(arch: Architecture, length: int, layer: int = 0) -> int:
    """FLOPs of layer `layer` at one position, all `length` positions being computed (training, and all but the last)."""
    d = arch.width
    mixing = find_mixer(arch.attention).token_flops(d, arch.heads, length)
    return 8 * d * d + 2 * arch.conv_width * d + mixing + _pointwise(arch, layer)


def _taps(arch: CellArchitecture) -> list[int]:
    """Of each convolution of a cell."""
    return [OPERATIONS[name].taps for name in arch.operations if OPERATIONS[name].kind == "conv"]


def _pointwise(arch: Architecture, layer: int) -> int:
    """Feed-forward and gates of a layer at one position."""
    d, inner = arch.width, arch.inner_sizes[layer]
    gates = {0: 0, 1: 2 * d * d + 2 * d * inner, 2: 6 * d * d + 2 * d * inner}[arch.gate_layers]
    return 4 * d * inner + gates


def parameter_count(arch: AnyArchitecture, num_items: int) -> int:
    """Trainable numbers, embeddings included (the padding row too, as it is stored)."""
    layers = _cell_parameters(arch) if isinstance(arch, CellArchitecture) else _block_parameters(arch)
    return (num_items + 1 + arch.max_length) * arch.width + 2 * arch.width + layers


def _dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _block_parameters(arch: Architecture) -> int:
    d = arch.width

    def block(inner: int) -> int:
        size = 4 * _dense(d, d) + _dense(d, inner) + _dense(inner, d) + 4 * d
        size += arch.conv_width * d + (arch.heads if arch.learn_decay else 0)
        if arch.gate_layers:
            size += _dense(d, d) + _dense(d, inner) + (arch.gate_layers - 1) * 2 * _dense(d, d)
        return size

    return sum(map(block, arch.inner_sizes)) + sum(table_rows(arch.times).values()) * d


def _cell_parameters(arch: CellArchitecture) -> int:
    """Cells, and the norm after the last."""
    d = arch.width
    return arch.depth * (sum(_dense(taps * d, d) + 2 * d for taps in _taps(arch)) + 2 * d + NODES) + 2 * d


COUNTS = {"flops": request_flops, "flops_all": all_positions_flops}  # by the value of search.cost


def cost_table(space: Space, num_items: int, cost: str = "flops") -> np.ndarray:
    """FLOPs of every network over the largest one's, in the space's `shape`, [widths networks-of-a-width].

    Counted by one of `COUNTS`; any other `cost`: by the first. In the paper's space this is F(i, j), candidate i exiting after
    layer j + 1.
    """
    count = COUNTS.get(cost, request_flops)
    flops = [count(space.architecture(network), num_items) for network in range(len(space.networks))]
    return np.array(flops, np.float64).reshape(space.shape) / count(space.largest, num_items)
