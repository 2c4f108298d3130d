"""All networks of cells of one size in one set of weights: an edge has weights for each operation, in each cell its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from easrec_jax.cells import CONVOLUTIONS, EDGES, NAMES, NODES, OPERATIONS, CellArchitecture
from easrec_jax.models.cells import Edge, merged
from easrec_jax.models.encoder import Items, ScoreFunction
from easrec_jax.models.kinds import network_of
from easrec_jax.models.network import item_table
from easrec_jax.nn.block import pick_last
from easrec_jax.nn.causal_conv import read_back
from easrec_jax.nn.dense import LayerNorm
from easrec_jax.nn.dropout import dropout, split_key
from easrec_jax.nn.embedding import EmbeddingNorm, Tables
from easrec_jax.precision import in_float32

Drawn = (
    Int[Array, " edges"] | Float[Array, "edges operations"]
)  # the operation of each edge; or a share of each operation


@dataclass(frozen=True)
class CellSupernet:
    """Networks of `depth` cells of `width` channels, whose weights are stacked. What is drawn is the same in all cells of a network.

    Where it is a number an edge, that operation alone is computed; where it is shares, all ten are, and summed.
    """

    width: int
    depth: int
    max_length: int
    num_items: int
    dropout: float = 0.0

    def architecture(self, operations: tuple[str, ...]) -> CellArchitecture:
        """The network with these operations."""
        return CellArchitecture(self.width, self.depth, operations, self.max_length)

    @in_float32
    def init(self, key: Array) -> dict:
        """Fresh weights; the key is consumed."""
        bare_key, *keys = jax.random.split(key, 1 + len(CONVOLUTIONS))
        bare = network_of(self.architecture(("zero",) * len(EDGES)), self.num_items).init(bare_key)
        cells = jax.tree.map(lambda *parts: jnp.stack(parts), *(bare.pop(f"cells_{n}") for n in range(self.depth)))
        edges = {name: self._init_edges(name, of_name) for name, of_name in zip(CONVOLUTIONS, keys, strict=True)}
        return bare | {"cells": cells | {"edges": edges}}

    def _init_edges(self, name: str, key: Array) -> dict:
        """Weights of a convolution, [depth edges ...]; the other operations have none."""
        taps = [jnp.zeros((1, self.width))] * OPERATIONS[name].taps

        def init(key: Array) -> Any:
            return Edge(name, self.width).init(key, taps)["params"]

        return jax.vmap(jax.vmap(init))(jax.random.split(key, (self.depth, len(EDGES))))

    def exits(self, weights: dict, items: Items, drawn: Drawn, *, key: Array | None = None) -> list[Array]:
        """Hidden states after each cell, [batch length width] each; a key switches dropout on and is consumed."""
        embedding_key, output_key = split_key(key, 2)
        tables = Tables(self.num_items, self.max_length, self.width)
        summed: Any = tables.apply({"params": weights["tables"]}, items)
        embedding: Any = EmbeddingNorm(self.dropout)
        x = embedding.apply({"params": weights["embedding_norm"]}, summed, key=embedding_key)

        def through(x: Array, cell: dict) -> tuple[Array, Array]:
            x = self._cell(cell, x, drawn)
            return x, x

        x, after = jax.lax.scan(through, x, weights["cells"])  # one cell is compiled, and in it one edge
        return [*after[:-1], dropout(_norm(weights["output_norm"], x), self.dropout, output_key)]

    def _cell(self, weights: dict, x: Array, drawn: Array) -> Array:
        """What `Cell` computes, edge by edge in the order of `EDGES`, in which no node is read before it is complete."""

        def through(nodes: Array, of: tuple[Array, Array, dict]) -> tuple[Array, None]:
            (source, node), drawn, edge = of
            return nodes.at[node].add(self._edge(edge, nn.relu(nodes[source]), drawn)), None

        nodes = jnp.zeros((NODES + 1, *x.shape)).at[0].set(x)
        nodes, _ = jax.lax.scan(through, nodes, (jnp.array(EDGES), drawn, weights["edges"]))
        return merged(x, weights["shares"], partial(_norm, weights["norm"]), list(nodes[1:]))

    def _edge(self, weights: dict, inputs: Array, drawn: Array) -> Array:
        """The operation of that number, or the sum of all by their shares."""
        branches = [partial(self._operation, name) for name in NAMES]
        if drawn.ndim == 0:
            return jax.lax.switch(drawn, branches, weights, inputs)
        return reduce(jnp.add, [drawn[n] * branch(weights, inputs) for n, branch in enumerate(branches)])

    def _operation(self, name: str, weights: dict, inputs: Array) -> Array:
        operation = OPERATIONS[name]
        taps = read_back(inputs, operation.taps, operation.dilation)
        out: Any = Edge(name, self.width).apply({"params": weights.get(name, {})}, taps)
        return out

    def cut(self, weights: dict, architecture: CellArchitecture) -> dict:
        """The weights of one network, as `network_of` wants them. Raises `ValueError` if it is not one of these."""
        if architecture != self.architecture(architecture.operations):
            raise ValueError(f"expected a network of {self.depth} cells of width {self.width}, got {architecture}")
        found = {name: weights[name] for name in ("tables", "embedding_norm", "output_norm")}
        for cell in range(self.depth):
            whole = jax.tree.map(lambda stacked, cell=cell: stacked[cell], weights["cells"])
            found[f"cells_{cell}"] = {name: whole[name] for name in ("norm", "shares")}
            for edge, name in enumerate(architecture.operations):
                if name in CONVOLUTIONS:
                    of_edge = jax.tree.map(lambda stacked, edge=edge: stacked[edge], whole["edges"][name])
                    found[f"cells_{cell}"][f"edges_{edge}"] = of_edge
        return found

    def alone(self, weights: dict, operations: tuple[str, ...]) -> tuple[ScoreFunction, Any]:
        """(a scoring function, its weights) of one network; all of them share one program."""
        drawn = jnp.array([NAMES.index(name) for name in operations], jnp.int32)
        return _scores_of(self), (weights, drawn)


def _norm(weights: dict, x: Array) -> Array:
    out: Any = LayerNorm().apply({"params": weights}, x)
    return out


@lru_cache(maxsize=16)
def _scores_of(supernet: CellSupernet) -> Callable[[Any, Array], Array]:
    def scores(weights: tuple[dict, Array], items: Array) -> Array:
        whole, drawn = weights
        return pick_last(supernet.exits(whole, items, drawn)[-1], items > 0) @ item_table(whole).T

    return scores
