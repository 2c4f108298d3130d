"""The published weight-sharing network (Eq. 10-12): a candidate computes with weights of its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from easrec_jax.architecture import Architecture
from easrec_jax.models.encoder import Items, ScoreFunction
from easrec_jax.models.network import Network, network_scores
from easrec_jax.nn.block import Block, pick_last
from easrec_jax.nn.dropout import split_key
from easrec_jax.nn.embedding import EmbeddingNorm, Tables
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


class CandidatesModule(nn.Module):
    """The layers of `OwnWeights`: all candidates at all depths, mixed by the share s_ij of each network (candidate i, depth j).

        O_i^(l) = zero_pad(P_i^(l)(T^(l-1)[..., :d_i]))        Y = sum_ij s_ij O_i^(j)
        T^(l) = sum_i c_i^(l) O_i^(l),  c_i^(l) = sum_{j>l} s_ij / sum_{k, j>l} s_kj

    What goes on to the next layer is mixed by the networks that are deeper. Where s_ij = p_i q_j this is the published
    mixture, T^(l) = sum_i p_i O_i^(l) and Y = sum_j q_j T^(j). No network without a share has a part in it: its blocks are
    computed, and get a gradient, only if another needs them. A candidate computes on its slice of channels, so a pruned one
    costs what it really costs. Each block's activations are computed again in the backward pass instead of being kept.
    """

    space: Space
    num_items: int
    dropout: float = 0.0

    def setup(self):
        largest = self.space.largest
        self.tables = Tables(self.num_items, largest.max_length, largest.width)
        self.embedding_norms = [EmbeddingNorm(self.dropout) for _ in self.space.widths]
        self.blocks = [
            [
                Block(dataclasses.replace(largest, width=width, inner=inner), inner, self.dropout)
                for width, inner in zip(self.space.widths, self.space.inners, strict=True)
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
        candidates = len(self.space.widths)
        keys = split_key(key, candidates * (self.space.num_layers + 1))
        mask = items > 0
        summed = self.tables(items)
        embedded = [
            norm(summed[..., :width], key=k)
            for norm, width, k in zip(self.embedding_norms, self.space.widths, keys[:candidates], strict=True)
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
                inputs = [stack[..., :width] for width in self.space.widths]
        return mixture

    def _mix(self, outputs: list[Array], shares: Array) -> Array:
        width = self.space.largest.width
        parts = [_pad(share * out, width) for share, out in zip(shares, outputs, strict=True)]
        return sum(parts[1:], parts[0])


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


@dataclass(frozen=True)
class OwnWeights:
    """The published supernet: each candidate's layers have weights of their own, the tables are shared (`models.encoder.Supernet`).

    The space pairs inner sizes with widths and leaves nothing else open but the depth, so a share of each network is
    [candidates depths].
    """

    space: Space
    num_items: int
    dropout: float = 0.0

    @property
    def mixes(self) -> bool:
        """True."""
        return True

    def __post_init__(self) -> None:
        if self.space.shape[1] != self.space.num_layers or self.space.inner_of != "width":
            raise ValueError(
                "a supernet of own weights: expected a space of paired sizes and depths, nothing else open"
            )

    @in_float32
    def init(self, key: Array) -> dict:
        """Fresh weights; the key is consumed."""
        items = jax.ShapeDtypeStruct((1, min(2, self.space.largest.max_length)), jnp.int32)
        shares = jax.ShapeDtypeStruct(self.space.shape, jnp.float32)
        variables: Any = self._module.lazy_init(
            key, items, shares, method=CandidatesModule.encode
        )  # no forward pass: it compiles long
        return variables["params"]

    def encode(
        self, weights: dict, items: Items, drawn: Shares, *, key: Array | None = None
    ) -> Float[Array, "batch length width"]:
        """The mixture at every position; a key switches dropout on and is consumed."""
        if jnp.shape(drawn) != self.space.shape:
            raise ValueError(
                f"search.strategy: expected shares of shape [candidates depths] = {self.space.shape}, got {drawn}"
            )
        hidden: Any = self._module.apply({"params": weights}, items, drawn, key=key, method="encode")
        return hidden

    def encode_last(
        self, weights: dict, items: Items, drawn: Shares, *, key: Array | None = None
    ) -> Float[Array, "batch width"]:
        """The mixture at each user's last event."""
        return pick_last(self.encode(weights, items, drawn, key=key), items > 0)

    def cut(self, weights: dict, architecture: Architecture) -> dict:
        """The weights of one architecture of the space, as `Network` wants them; the tables sliced to its width.

        Law: with a one-hot share the supernet and the network with these weights score alike. Raises `ValueError` if the
        architecture is not of this space.
        """
        candidate = int(self.space.networks[self.space.network(architecture), 0])
        compact = {
            "tables": {name: table[:, : architecture.width] for name, table in weights["tables"].items()},
            "embedding_norm": weights[f"embedding_norms_{candidate}"],
        }
        for layer in range(architecture.depth):
            compact[f"blocks_{layer}"] = weights[f"blocks_{layer}_{candidate}"]
        return compact

    def alone(self, weights: dict, network: int) -> tuple[ScoreFunction, dict]:
        """A network of the space cut out: its scoring function and weights."""
        architecture = self.space.architecture(network)
        return network_scores(Network(architecture, self.num_items)), self.cut(weights, architecture)

    @property
    def _module(self) -> CandidatesModule:
        return CandidatesModule(self.space, self.num_items, self.dropout)
