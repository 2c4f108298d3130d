"""SASRecF (RecBole 1.2; the EASRec paper's Table III): SASRec whose events are items joined with their features.

Kept: each event's item embedding and the mean embedding of each feature column, concatenated and projected to the hidden size,
then positions, layer norm, dropout, causal self-attention; the scores are inner products with the plain item embeddings. Changed:
the mean, where RecBole's default (`pooling_mode`) is the sum, and what `rival` says of all networks.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from easrec_jax.architecture import Architecture
from easrec_jax.data.features import ItemFeatures
from easrec_jax.models.cost import request_flops
from easrec_jax.models.encoder import ModuleEncoder
from easrec_jax.models.rival import Rival
from easrec_jax.nn.dense import Dense
from easrec_jax.nn.dropout import split_key
from easrec_jax.nn.embedding import EmbeddingNorm, FeatureTables, Items, Tables
from easrec_jax.nn.stack import Stack


class SASRecF(nn.Module):
    """SASRec whose events are items joined with their features; scores against the item embeddings."""

    architecture: Architecture
    features: ItemFeatures
    num_items: int
    dropout: float = 0.0

    def setup(self):
        arch = self.architecture
        self.tables = Tables(self.num_items, arch.max_length, arch.width)
        self.feature_tables = FeatureTables(self.features, arch.width)
        self.join = Dense((1 + len(self.features.names)) * arch.width, arch.width)
        self.embedding_norm = EmbeddingNorm(self.dropout)
        self.stack = Stack(arch, self.dropout)

    def _embed(self, items: Items, key: Array | None) -> Array:
        means = [jnp.sum(rows, -2) / jnp.maximum(jnp.sum(real, -2), 1.0) for rows, real in self.feature_tables(items)]
        joined = self.join(jnp.concatenate([self.tables.items[items], *means], -1))
        positions = self.tables.positions[None, : items.shape[1]]
        return self.embedding_norm(jnp.where((items > 0)[..., None], joined + positions, 0.0), key=key)

    def encode(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        return self._run(self.stack, items, key)

    def encode_last(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event."""
        return self._run(self.stack.last, items, key)

    def _run(self, layers: Callable, items: Items, key: Array | None) -> Array:
        key_embed, key_stack = split_key(key, 2)
        return layers(self._embed(items, key_embed), items > 0, key=key_stack)

    def request_flops(self) -> int:
        """As `cost.request_flops`: the network of the architecture, and the projection of every joined event."""
        arch, columns = self.architecture, len(self.features.names)
        return request_flops(arch, self.num_items) + arch.max_length * 2 * (1 + columns) * arch.width**2


RIVAL = Rival(network=lambda *fields: ModuleEncoder(SASRecF(*fields)), needs_features=True)
