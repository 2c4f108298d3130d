"""The weight-sharing network of the paper's space (Eq. 10-12): all candidates at all depths, mixed by the share of each network.

`Candidates` with weights of their own is the published form; with corners, a candidate's matrices are those of the widest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from easrec_jax.architecture import Architecture
from easrec_jax.data.clock import items_of
from easrec_jax.models.corner import corner
from easrec_jax.models.encoder import Events, Items, ScoreFunction
from easrec_jax.models.network import Network, network_scores
from easrec_jax.nn.block import Block, pick_last
from easrec_jax.nn.dropout import split_key
from easrec_jax.nn.embedding import EmbeddingNorm, Tables
from easrec_jax.nn.times import read_out, requests
from easrec_jax.precision import in_float32
from easrec_jax.space import Space

NEGLIGIBLE = 1e-3  # what a block counts in the mixture, up to this, is taken for zero and the block is not computed

Shares = Float[Array, "candidates depths"]  # s_ij of each network of the space, summing to one


def tails(shares: Shares) -> Float[Array, "candidates depths"]:
    """Sum of s_ij over j >= l: what the block of candidate i in layer l counts in the output, by itself and in deeper layers."""
    return jnp.cumsum(shares[:, ::-1], 1)[:, ::-1]


def computed(shares: Shares) -> Bool[Array, "candidates depths"]:
    """Which blocks a mixture computes: those that a network with a share needs."""
    return tails(shares) > NEGLIGIBLE


class OwnWeights(nn.Module):
    """What candidates with weights of their own have: one item table, and for each candidate a norm and all layers."""

    space: Space
    num_items: int

    def setup(self):
        largest = self.space.largest
        self.tables = Tables(self.num_items, largest.max_length, largest.width, largest.times)
        self.embedding_norms = [EmbeddingNorm() for _ in self.space.widths]
        self.blocks = [[_block_of(self.space, i) for i in range(len(self.space.widths))] for _ in range(largest.depth)]

    def __call__(self, items: Items) -> None:
        """Touch every weight, so that `lazy_init` knows it."""
        summed = self.tables(items)
        for i, (norm, width) in enumerate(zip(self.embedding_norms, self.space.widths, strict=True)):
            x = norm(summed[..., :width])
            for blocks in self.blocks:
                blocks[i](x, x, items > 0)


def _block_of(space: Space, candidate: int, dropout: float = 0.0) -> Block:
    width, inner = space.widths[candidate], space.inners[candidate]
    return Block(dataclasses.replace(space.largest, width=width, inner=inner), inner, dropout)


@dataclass(frozen=True)
class Candidates:
    """The supernet of the paper's space (`models.encoder.Supernet`), by the share s_ij of each network (candidate i, depth j).

        O_i^(l) = zero_pad(P_i^(l)(T^(l-1)[..., :d_i]))        Y = sum_ij s_ij O_i^(j)
        T^(l) = sum_i c_i^(l) O_i^(l),  c_i^(l) = sum_{j>l} s_ij / sum_{k, j>l} s_kj

    What goes on to the next layer is mixed by the networks that are deeper. Where s_ij = p_i q_j this is the published
    mixture, T^(l) = sum_i p_i O_i^(l) and Y = sum_j q_j T^(j). No network without a share has a part in it: its blocks are
    computed, and get a gradient, only if another needs them. A candidate computes on its slice of channels, so a pruned one
    costs what it really costs. Each block's activations are computed again in the backward pass instead of being kept.

    `sharing`: each candidate's layers have weights of their own, as published ("own"), or are corners of the largest
    network's, whose weights these are then ("corners"). The tables are shared in both.
    """

    space: Space
    num_items: int
    dropout: float = 0.0
    sharing: Literal["own", "corners"] = "own"

    @property
    def mixes(self) -> bool:
        """True."""
        return True

    def __post_init__(self) -> None:
        if self.space.shape[1] != self.space.num_layers or self.space.inner_of != "width":
            raise ValueError("a supernet of candidates: expected a space of paired sizes and depths, nothing else open")

    @in_float32
    def init(self, key: Array) -> dict:
        """Fresh weights; the key is consumed. Of corners: those of a `Network` of the largest sizes."""
        if self.sharing == "corners":
            return Network(self.space.largest, self.num_items).init(key)
        items = jax.ShapeDtypeStruct((1, min(2, self.space.largest.max_length)), jnp.int32)
        # lazy: a forward pass compiles long
        variables: Any = OwnWeights(self.space, self.num_items).lazy_init(key, items)
        return variables["params"]

    def encode(
        self, weights: dict, items: Events, drawn: Shares, *, key: Array | None = None
    ) -> Float[Array, "batch length width"]:
        """The mixture Y at every position; a key switches dropout on and is consumed."""
        space, candidates = self.space, range(len(self.space.widths))
        if jnp.shape(drawn) != space.shape:
            raise ValueError(
                f"search.strategy: expected shares of shape [candidates depths] = {space.shape}, got {drawn}"
            )
        keys = split_key(key, len(candidates) * (space.num_layers + 1))
        mask, summed = items_of(items) > 0, self._embed(weights, items)
        parts = [self._candidate(weights, i) for i in candidates]
        norm = EmbeddingNorm(self.dropout)
        embedded: list[Any] = [
            norm.apply({"params": parts[i]["embedding_norm"]}, summed[..., : space.widths[i]], key=keys[i])
            for i in candidates
        ]
        inputs, mixture, runs, onward = embedded, jnp.zeros_like(summed), computed(drawn), tails(drawn)
        for layer in range(space.num_layers):
            layer_keys = keys[len(candidates) * (layer + 1) :]
            outputs = [
                _output(
                    _block_of(space, i, self.dropout), parts[i][f"blocks_{layer}"], runs[i, layer],
                    inputs[i], embedded[i], mask, layer_keys[i],
                )
                for i in candidates
            ]  # fmt: skip
            mixture = mixture + self._mix(outputs, drawn[:, layer])
            if layer + 1 < space.num_layers:
                deeper = onward[:, layer + 1]
                total = jnp.sum(deeper)
                # below that nothing deeper is computed
                stack = self._mix(outputs, deeper / jnp.where(total > NEGLIGIBLE, total, 1.0))
                inputs = [stack[..., :width] for width in space.widths]
        return self._read_out(weights, mixture, items, drawn)

    def encode_last(
        self, weights: dict, items: Events, drawn: Shares, *, key: Array | None = None
    ) -> Float[Array, "batch width"]:
        """The mixture at each user's last event."""
        return pick_last(self.encode(weights, items, drawn, key=key), items_of(items) > 0)

    def exits(
        self, weights: dict, items: Events, network: Array, *, key: Array | None = None
    ) -> Float[Array, "layers batch length width"]:
        """Hidden states after each layer of a candidate, by the row of any network of its width, zero beyond the width."""

        def of(candidate: int) -> Callable[[dict], Array]:
            whole = Network(_block_of(self.space, candidate).architecture, self.num_items, self.dropout)

            def run(weights: dict) -> Array:
                part = {"tables": self._tables(weights, whole.architecture.width)} | self._candidate(weights, candidate)
                after = [_pad(x, self.space.largest.width) for x in whole.exits(part, items, key=key)]
                return jnp.stack(after)

            return run

        width = jnp.asarray(self.space.networks)[network, 0]
        return jax.lax.switch(width, [of(candidate) for candidate in range(len(self.space.widths))], weights)

    def cut(self, weights: dict, architecture: Architecture) -> dict:
        """The weights of one architecture of the space, as `Network` wants them; the tables sliced to its width.

        Law: with a one-hot share the supernet and the network with these weights score alike. Raises `ValueError` if the
        architecture is not of this space.
        """
        candidate = int(self.space.networks[self.space.network(architecture), 0])
        part = self._candidate(weights, candidate)
        layers = {f"blocks_{layer}": part[f"blocks_{layer}"] for layer in range(architecture.depth)}
        return {"tables": self._tables(weights, architecture.width), "embedding_norm": part["embedding_norm"]} | layers

    def alone(self, weights: dict, network: int) -> tuple[ScoreFunction, dict]:
        """A network of the space cut out: its scoring function and weights."""
        architecture = self.space.architecture(network)
        return network_scores(Network(architecture, self.num_items)), self.cut(weights, architecture)

    def _candidate(self, weights: dict, candidate: int) -> dict:
        """Norm and all layers of a candidate."""
        if self.sharing == "own":
            layers = {f"blocks_{n}": weights[f"blocks_{n}_{candidate}"] for n in range(self.space.num_layers)}
            return {"embedding_norm": weights[f"embedding_norms_{candidate}"]} | layers
        block = _block_of(self.space, candidate)
        return corner(weights, block.architecture)

    @staticmethod
    def _tables(weights: dict, width: int) -> dict:
        return {name: table[:, :width] for name, table in weights["tables"].items()}

    def _embed(self, weights: dict, items: Events) -> Array:
        largest = self.space.largest
        module = Tables(self.num_items, largest.max_length, largest.width, largest.times)
        summed: Any = module.apply({"params": weights["tables"]}, items)
        return summed

    def _read_out(self, weights: dict, mixture: Array, items: Events, drawn: Shares) -> Array:
        """The mixture of what the networks read out for the requests: a network shifts its own channels."""
        if not self.space.largest.reads_times:
            return mixture
        channel = jnp.arange(self.space.largest.width)[None]
        kept = jnp.sum(jnp.sum(drawn, 1)[:, None] * (channel < jnp.array(self.space.widths)[:, None]), 0)
        tables = weights["tables"]
        return read_out(mixture, tables["scale"], tables["shift"], requests(items), kept[None, None])

    def _mix(self, outputs: list[Array], shares: Array) -> Array:
        width = self.space.largest.width
        parts = [_pad(share * out, width) for share, out in zip(shares, outputs, strict=True)]
        return sum(parts[1:], parts[0])


def _output(
    block: Block, weights: dict, runs: Array, x: Array, embedded: Array, mask: Array, key: Array | None
) -> Array:
    """The output of one candidate's block, or zeros without computing it where it does not run."""

    @jax.checkpoint
    def compute(weights: dict, x: Array, embedded: Array) -> Array:
        out: Any = block.apply({"params": weights}, x, embedded, mask, key=key)
        return out

    def skip(weights: dict, x: Array, embedded: Array) -> Array:
        return jnp.zeros_like(x)

    return jax.lax.cond(runs, compute, skip, weights, x, embedded)


def _pad(x: Array, width: int) -> Array:
    return jnp.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1])))
