"""NextItNet (Yuan et al., "A Simple Convolutional Generative Network for Next Item Recommendation", WSDM 2019).

Kept: residual blocks of two causal convolutions of three events, the second twice as far apart, layer norm and relu after each; a
layer is two such blocks, of dilations 1, 2 and 4, 8. As AdaRec's teacher has it, a block is x + eps f(x) with a learned eps that
begins at 0. Changed: a layer norm after the last block, positions are embedded too, and what `rival` says of all networks. It has no
attention; inner size and heads of the architecture are not read.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from easrec_jax.architecture import Architecture
from easrec_jax.models.encoder import ModuleEncoder
from easrec_jax.models.rival import Rival
from easrec_jax.nn.block import pick_last
from easrec_jax.nn.causal_conv import CausalConv, read_back
from easrec_jax.nn.dense import LayerNorm
from easrec_jax.nn.dropout import dropout, split_key
from easrec_jax.nn.embedding import EmbeddingNorm, Items, Tables

TAPS = 3
DILATIONS = (1, 4)  # of a layer's blocks


class ResidualBlock(nn.Module):
    """x + eps f(x), f being two convolutions of `dilation` and twice that."""

    width: int
    dilation: int
    dropout: float

    def setup(self):
        self.convs = [CausalConv(self.width, TAPS) for _ in range(2)]
        self.norms = [LayerNorm() for _ in range(2)]
        self.share = self.param("share", nn.initializers.zeros_init(), ())

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        """Outputs at all positions; a key switches dropout on and is consumed."""
        f = x
        for conv, norm, dilation in zip(self.convs, self.norms, (self.dilation, 2 * self.dilation), strict=True):
            f = nn.relu(norm(conv(read_back(f, TAPS, dilation))))
        return x + self.share * dropout(f, self.dropout, key)


class NextItNet(nn.Module):
    """Causal dilated residual convolutions over embedded events; padding comes after the last event, so nothing reads it."""

    architecture: Architecture
    num_items: int
    dropout: float = 0.0

    def setup(self):
        arch = self.architecture
        self.tables = Tables(self.num_items, arch.max_length, arch.width)
        self.embedding_norm = EmbeddingNorm(self.dropout)
        blocks = [
            ResidualBlock(arch.width, dilation, self.dropout) for _ in range(arch.depth) for dilation in DILATIONS
        ]
        self.blocks = blocks
        self.output_norm = LayerNorm()

    def exits(self, items: Items, *, key: Array | None = None) -> list[Array]:
        """Hidden states after each layer, [batch length width] each."""
        keys = split_key(key, len(self.blocks) + 1)
        x, after = self.embedding_norm(self.tables(items), key=keys[0]), []
        for block, block_key in zip(self.blocks, keys[1:], strict=True):
            x = block(x, key=block_key)
            after.append(x)
        layers = after[len(DILATIONS) - 1 :: len(DILATIONS)]
        return [*layers[:-1], self.output_norm(layers[-1])]

    def encode(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        return self.exits(items, key=key)[-1]

    def encode_last(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event."""
        return pick_last(self.encode(items, key=key), jnp.asarray(items) > 0)

    def request_flops(self) -> int:
        """As `cost.request_flops`, with all layers at all positions."""
        arch = self.architecture
        convolutions = 2 * len(DILATIONS) * arch.depth
        return arch.max_length * convolutions * 2 * TAPS * arch.width**2 + 2 * arch.width * self.num_items


def _network(architecture: Architecture, features: None, num_items: int, dropout: float) -> ModuleEncoder:
    return ModuleEncoder(NextItNet(architecture, num_items, dropout))


RIVAL = Rival(network=_network, stacks=0, has_attention=False)
