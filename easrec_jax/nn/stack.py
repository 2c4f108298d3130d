"""Layers one after another over embedded events, for networks that have more than one such stack or more before it."""

from __future__ import annotations

import flax.linen as nn
from jax import Array
from jaxtyping import Bool, Float

from easrec_jax.architecture import Architecture
from easrec_jax.nn.block import blocks_of
from easrec_jax.nn.dropout import split_key


class Stack(nn.Module):
    """The transformer layers of an architecture over embedded events."""

    architecture: Architecture
    dropout: float

    def setup(self):
        self.blocks = blocks_of(self.architecture, self.dropout)

    def __call__(
        self, embedded: Float[Array, "batch length width"], mask: Bool[Array, "batch length"], *, key: Array | None
    ) -> Float[Array, "batch length width"]:
        """Outputs at all positions."""
        x = embedded
        for block, block_key in zip(self.blocks, split_key(key, len(self.blocks)), strict=True):
            x = block(x, embedded, mask, key=block_key)
        return x

    def last(self, embedded: Array, mask: Array, *, key: Array | None) -> Float[Array, "batch width"]:
        """The output at the last real position; the last layer is computed there alone."""
        keys = split_key(key, len(self.blocks))
        x = embedded
        for block, block_key in zip(self.blocks[:-1], keys[:-1], strict=True):
            x = block(x, embedded, mask, key=block_key)
        return self.blocks[-1].last(x, embedded, mask, key=keys[-1])
