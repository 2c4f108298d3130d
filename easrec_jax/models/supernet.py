"""The weight-sharing network of a `SearchSpace` (Eq. 10-12), and `extract`, which cuts one network out of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from easrec_jax.architecture import Architecture
from easrec_jax.nn.block import Block, pick_last
from easrec_jax.nn.dropout import split_key
from easrec_jax.nn.embedding import EmbeddingNorm, Tables
from easrec_jax.precision import in_float32
from easrec_jax.space import SearchSpace

NEGLIGIBLE = 1e-3  # what a block counts in the mixture, up to this, is taken for zero and the block is not computed

Shares = Float[Array, "candidates depths"]  # s_ij of each network of the space, summing to one


def tails(shares: Shares) -> Float[Array, "candidates depths"]:
    """Sum of s_ij over j >= l: what the block of candidate i in layer l counts in the output, by itself and in deeper layers."""
    return jnp.cumsum(shares[:, ::-1], 1)[:, ::-1]


def computed(shares: Shares) -> Bool[Array, "candidates depths"]:
    """Which blocks a mixture computes: those that a network with a share needs."""
    return tails(shares) > NEGLIGIBLE


class Supernet(nn.Module):
    """All candidates at all depths, mixed by the share s_ij of each network (candidate i, depth j).

        O_i^(l) = zero_pad(P_i^(l)(T^(l-1)[..., :d_i]))        Y = sum_ij s_ij O_i^(j)
        T^(l) = sum_i c_i^(l) O_i^(l),  c_i^(l) = sum_{j>l} s_ij / sum_{k, j>l} s_kj

    What goes on to the next layer is mixed by the networks that are deeper. Where s_ij = p_i q_j this is the published
    mixture, T^(l) = sum_i p_i O_i^(l) and Y = sum_j q_j T^(j). No network without a share has a part in it: its blocks are
    computed, and get a gradient, only if another needs them. A candidate computes on its slice of channels, so a pruned one
    costs what it really costs. Each block's activations are computed again in the backward pass instead of being kept.
    """

    space: SearchSpace
    num_items: int
    dropout: float = 0.0

    def setup(self):
        largest = self.space.largest
        self.tables = Tables(self.num_items, largest.max_length, largest.width)
        self.embedding_norms = [EmbeddingNorm(self.dropout) for _ in self.space.sizes]
        self.blocks = [
            [
                Block(dataclasses.replace(largest, width=width, inner=inner), inner, self.dropout)
                for width, inner in self.space.sizes
            ]
            for _ in range(largest.depth)
        ]

    def encode(
        self,
        items: Int[Array, "batch length"],
        shares: Shares,
        *,
        key: Array | None = None,
    ) -> Float[Array, "batch length width"]:
        """The mixture Y at every position; a key switches dropout on and is consumed."""
        candidates = self.space.num_candidates
        keys = split_key(key, candidates * (self.space.num_layers + 1))
        mask = items > 0
        summed = self.tables(items)
        embedded = [
            norm(summed[..., :width], key=k)
            for norm, (width, _), k in zip(self.embedding_norms, self.space.sizes, keys[:candidates], strict=True)
        ]
        inputs, mixture, runs, onward = embedded, jnp.zeros_like(summed), computed(shares), tails(shares)
        for depth, blocks in enumerate(self.blocks):
            layer_keys = keys[candidates * (depth + 1) :]
            outputs = [
                _output(block, runs[i, depth], inputs[i], embedded[i], mask, layer_keys[i])
                for i, block in enumerate(blocks)
            ]
            mixture = mixture + self._mix(outputs, shares[:, depth])
            if depth + 1 < len(self.blocks):
                deeper = onward[:, depth + 1]
                total = jnp.sum(deeper)
                # below that nothing deeper is computed
                stack = self._mix(outputs, deeper / jnp.where(total > NEGLIGIBLE, total, 1.0))
                inputs = [stack[..., :width] for width, _ in self.space.sizes]
        return mixture

    def _mix(self, outputs: list[Array], shares: Array) -> Array:
        width = self.space.largest.width
        parts = [_pad(share * out, width) for share, out in zip(shares, outputs, strict=True)]
        return sum(parts[1:], parts[0])

    def encode_last(self, items: Array, shares: Array, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """The mixture at each user's last event."""
        return pick_last(self.encode(items, shares, key=key), items > 0)


def _output(block: Block, runs: Array, x: Array, embedded: Array, mask: Array, key: Array | None) -> Array:
    """The output of one candidate's block, or zeros without computing it where it does not run."""
    if block.is_initializing():
        return block(x, embedded, mask, key=key)
    module, weights = block.unbind()

    @jax.checkpoint
    def compute(weights: dict, x: Array, embedded: Array) -> Array:
        out: Any = module.apply(weights, x, embedded, mask, key=key)
        return out

    def skip(weights: dict, x: Array, embedded: Array) -> Array:
        return jnp.zeros_like(x)

    return jax.lax.cond(runs, compute, skip, weights, x, embedded)


def _pad(x: Array, width: int) -> Array:
    return jnp.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1])))


@in_float32
def init_supernet(supernet: Supernet, key: Array) -> dict:
    """Fresh weights; the key is consumed."""
    largest = supernet.space.largest
    items = jax.ShapeDtypeStruct((1, min(2, largest.max_length)), jnp.int32)
    shares = jax.ShapeDtypeStruct((supernet.space.num_candidates, supernet.space.num_layers), jnp.float32)
    variables: Any = supernet.lazy_init(key, items, shares, method=Supernet.encode)  # no forward pass: it compiles long
    return variables["params"]


def extract(weights: dict, space: SearchSpace, architecture: Architecture) -> dict:
    """The weights of one architecture of the space, as `Network` wants them; the tables sliced to its width.

    Law: with a one-hot share the supernet and the network with these weights score alike. Raises `ValueError` if the
    architecture is not of this space.
    """
    candidate, depth = space.locate(architecture)
    compact = {
        "tables": {name: table[:, : architecture.width] for name, table in weights["tables"].items()},
        "embedding_norm": weights[f"embedding_norms_{candidate}"],
    }
    for layer in range(depth):
        compact[f"blocks_{layer}"] = weights[f"blocks_{layer}_{candidate}"]
    return compact
