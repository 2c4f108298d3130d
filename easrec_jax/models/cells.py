"""The network of a `CellArchitecture`: AdaRec's student (arXiv 2107.07173), which sees no later event and streams.

Kept: the cell, out = h + relu(LN(sum_i softmax(a)_i F_i)), one learned a per cell. Changed: operations are causal, so that none reads
the label of the position before; a layer norm of the channels follows each convolution, where batch norm would mix users and
padding; layer norms after the embedding and after the last cell; scores are inner products with the item table. Padding comes after
the last event, so no operation reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from easrec_jax.cells import EDGES, NODES, OPERATIONS, CellArchitecture
from easrec_jax.models.encoder import Items
from easrec_jax.models.network import UserState
from easrec_jax.nn.block import Mask, pick_last
from easrec_jax.nn.causal_conv import CausalConv, latest, read_back, read_window
from easrec_jax.nn.dense import LayerNorm
from easrec_jax.nn.dropout import dropout, split_key
from easrec_jax.nn.embedding import EmbeddingNorm, Tables

CellState = tuple[Array, ...]  # of each node that is read: its latest inputs, [batch lag width], oldest first


class Edge(nn.Module):
    """An operation, on the events that it reads, as `read_back` or `read_window` has them."""

    operation: str
    width: int

    def setup(self):
        operation = OPERATIONS[self.operation]
        if operation.kind == "conv":
            self.conv, self.norm = CausalConv(self.width, operation.taps), LayerNorm()

    def __call__(self, taps: list[Array]) -> Array:
        """Its output at the last of them."""
        kind = OPERATIONS[self.operation].kind
        if kind == "conv":
            return self.norm(self.conv(taps))
        if kind == "max":
            return reduce(jnp.maximum, taps)
        if kind == "mean":
            return jnp.mean(jnp.stack(taps), 0)
        return taps[-1] if kind == "identity" else jnp.zeros_like(taps[-1])


def through_cell(
    x: Array, shares: Array, norm: Callable[[Array], Array], edge: Callable[[int, Any], Array],
    prepare: Callable[[int, Array], Any] = lambda node, inputs: inputs,
) -> tuple[Array, list[Any]]:  # fmt: skip
    """(the cell's output, what edges read of each node): `edge(number, prepared)`, of `prepare(node, relu(F))`."""
    nodes, prepared = [x], []
    for node in range(1, NODES + 1):
        prepared.append(prepare(node - 1, nn.relu(nodes[-1])))
        sources = [edge(number, prepared[source]) for number, (source, to) in enumerate(EDGES) if to == node]
        nodes.append(reduce(jnp.add, sources))
    return merged(x, shares, norm, nodes[1:]), prepared


def merged(x: Array, shares: Array, norm: Callable[[Array], Array], nodes: list[Array]) -> Array:
    """The output of a cell, of its input and nodes."""
    mixed = [share * node for share, node in zip(nn.softmax(shares), nodes, strict=True)]
    return x + nn.relu(norm(reduce(jnp.add, mixed)))


class Cell(nn.Module):
    """One cell: at all positions, or for one more event."""

    operations: tuple[str, ...]
    width: int

    def setup(self):
        self.edges = [Edge(name, self.width) for name in self.operations]
        self.norm = LayerNorm()
        self.shares = self.param("shares", nn.initializers.normal(0.01), (NODES,))

    def _edge(self, read: Callable[[Array, int, int], list[Array]]) -> Callable[[int, Array], Array]:
        def edge(number: int, inputs: Array) -> Array:
            operation = OPERATIONS[self.operations[number]]
            return self.edges[number](read(inputs, operation.taps, operation.dilation))

        return edge

    def __call__(self, x: Float[Array, "batch length width"]) -> tuple[Array, list[Array]]:
        """(outputs, inputs of the nodes) at all positions."""
        return through_cell(x, self.shares, self.norm, self._edge(read_back))

    def state(self, inputs: list[Array], mask: Mask) -> CellState:
        """The state after the last real event, of the nodes' inputs at all positions."""
        return tuple(latest(x, mask, lag) for x, lag in zip(inputs, self._lags(), strict=True))

    def step(self, x: Float[Array, "batch width"], state: CellState) -> tuple[Array, CellState]:
        """The output for one more event, and the state after it."""

        def window(node: int, inputs: Array) -> Array:
            return jnp.concatenate([state[node], inputs[:, None]], 1)

        out, windows = through_cell(x, self.shares, self.norm, self._edge(read_window), window)
        return out, tuple(window[:, 1:] for window in windows)

    def _lags(self) -> list[int]:
        """How far each node is looked back into."""
        lags = [OPERATIONS[name].lag for name in self.operations]
        return [max(lag for lag, (of, _) in zip(lags, EDGES, strict=True) if of == node) for node in range(NODES)]


class Cells(nn.Module):
    """The layers of a network of cells: item and position embedding, `depth` cells with the same operations."""

    architecture: CellArchitecture
    num_items: int
    dropout: float = 0.0

    def setup(self):
        arch = self.architecture
        self.tables = Tables(self.num_items, arch.max_length, arch.width)
        self.embedding_norm = EmbeddingNorm(self.dropout)
        self.cells = [Cell(arch.operations, arch.width) for _ in range(arch.depth)]
        self.output_norm = LayerNorm()

    def exits(self, items: Items, *, key: Array | None = None) -> list[Array]:
        """Hidden states after each cell, [batch length width] each."""
        embedding_key, output_key = split_key(key, 2)
        x, after = self.embedding_norm(self.tables(items), key=embedding_key), []
        for cell in self.cells:
            x, _ = cell(x)
            after.append(x)
        return [*after[:-1], dropout(self.output_norm(x), self.dropout, output_key)]

    def encode(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        return self.exits(items, key=key)[-1]

    def encode_last(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event."""
        return pick_last(self.encode(items, key=key), jnp.asarray(items) > 0)

    def start(self, items: Items) -> tuple[Float[Array, "batch width"], UserState]:
        """Hidden state at the last event, and the state from which `step` continues."""
        mask, states = jnp.asarray(items) > 0, []
        x = self.embedding_norm(self.tables(items))
        for cell in self.cells:
            x, inputs = cell(x)
            states.append(cell.state(inputs, mask))
        last = self.output_norm(pick_last(x, mask))
        return last, UserState(tuple(states), jnp.sum(mask, -1, dtype=jnp.int32))

    def step(self, state: UserState, items: Int[Array, " batch"]) -> tuple[Float[Array, "batch width"], UserState]:
        """Hidden state after one more event a user, at constant cost."""
        x, states = self.embedding_norm(self.tables.at(items, state.count)), []
        for cell, of_cell in zip(self.cells, state.blocks, strict=True):
            x, of_cell = cell.step(x, of_cell)
            states.append(of_cell)
        return self.output_norm(x), UserState(tuple(states), state.count + 1)
