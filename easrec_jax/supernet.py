"""The weight-sharing network of a `SearchSpace` (Eq. 10-12), and `extract`, which cuts one network out of it."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from easrec_jax.architecture import Architecture, SearchSpace
from easrec_jax.layers import Block, EmbeddingNorm, Tables, pick_last, split_key
from easrec_jax.precision import in_float32

NEGLIGIBLE = 1e-3  # shares p_i and sums of q_j up to this are taken for zero and their blocks are not computed


def computed(p: Float[Array, " candidates"], q: Float[Array, " depths"]) -> Bool[Array, "candidates depths"]:
    """Which blocks a mixture by p and q computes: of candidates with a share, in layers that a depth with one needs."""
    needed = jnp.stack([jnp.sum(q[layer:]) for layer in range(q.shape[0])])
    return (p > NEGLIGIBLE)[:, None] & (needed > NEGLIGIBLE)


class Supernet(nn.Module):
    """All candidates at all depths, mixed by p (candidates, shared by the layers) and q (depths).

        T^(l) = sum_i p_i zero_pad(P_i^(l)(T^(l-1)[..., :d_i]))        Y = sum_j q_j T^(j)

    A candidate computes on its slice of channels, so a pruned one costs what it really costs; one whose share is
    negligible, or a layer that no depth of a share above that needs, costs nothing. Each block's activations are computed
    again in the backward pass instead of being kept.
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
                Block(
                    width, inner, largest.heads, largest.attention, largest.gate_layers,
                    largest.conv_width, largest.learn_decay, self.dropout,
                )
                for width, inner in self.space.sizes
            ]
            for _ in range(largest.depth)
        ]  # fmt: skip

    def encode(
        self,
        items: Int[Array, "batch length"],
        p: Float[Array, " candidates"],
        q: Float[Array, " depths"],
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
        inputs, mixture, runs = embedded, jnp.zeros_like(summed), computed(p, q)
        for depth, blocks in enumerate(self.blocks):
            layer_keys = keys[candidates * (depth + 1) :]
            outputs = [
                _share(block, p[i], runs[i, depth], inputs[i], embedded[i], mask, layer_keys[i])
                for i, block in enumerate(blocks)
            ]
            total = sum((_pad(out, self.space.largest.width) for out in outputs), jnp.zeros_like(summed))
            mixture = mixture + q[depth] * total
            inputs = [total[..., :width] for width, _ in self.space.sizes]
        return mixture

    def encode_last(self, items: Array, p: Array, q: Array, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """The mixture at each user's last event."""
        return pick_last(self.encode(items, p, q, key=key), items > 0)


def _share(block: Block, share: Array, runs: Array, x: Array, embedded: Array, mask: Array, key: Array | None) -> Array:
    """p_i times the output of one candidate's block, or zeros without computing it where it does not run."""
    if block.is_initializing():
        return block(x, embedded, mask, key=key)
    module, weights = block.unbind()

    @jax.checkpoint
    def compute(weights: dict, x: Array, embedded: Array) -> Array:
        out: Any = module.apply(weights, x, embedded, mask, key=key)
        return out

    def skip(weights: dict, x: Array, embedded: Array) -> Array:
        return jnp.zeros_like(x)

    return share * jax.lax.cond(runs, compute, skip, weights, x, embedded)


def _pad(x: Array, width: int) -> Array:
    return jnp.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1])))


@in_float32
def init_supernet(supernet: Supernet, key: Array) -> dict:
    """Fresh weights; the key is consumed."""
    largest = supernet.space.largest
    items = jax.ShapeDtypeStruct((1, min(2, largest.max_length)), jnp.int32)
    p, q = (jax.ShapeDtypeStruct((n,), jnp.float32) for n in (supernet.space.num_candidates, supernet.space.num_layers))
    variables: Any = supernet.lazy_init(key, items, p, q, method=Supernet.encode)  # no forward pass: it compiles long
    return variables["params"]


def extract(weights: dict, space: SearchSpace, architecture: Architecture) -> dict:
    """The weights of one architecture of the space, as `Network` wants them; the tables sliced to its width.

    Law: with one-hot p and q the supernet and the network with these weights score alike. Raises `ValueError` if the
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
