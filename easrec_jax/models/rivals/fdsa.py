"""FDSA (Zhang et al., Feature-level Deeper Self-Attention Network, IJCAI 2019; RecBole 1.2): items and features apart, then joined.

Kept: vanilla attention weighs the features of an item into one vector; the sequence of items and the sequence of features pass
through self-attention stacks of their own; their outputs are concatenated, projected and normed, and score against the item
embeddings. Changed: the vanilla attention runs over all values of an item (each genre), where RecBole averages a multi-valued
column first and, with one column, leaves the attention nothing to weigh; three layer norms where RecBole uses one for three
places; and what `rival` says of all networks.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from easrec_jax.architecture import Architecture
from easrec_jax.data.features import ItemFeatures
from easrec_jax.models.cost import request_flops
from easrec_jax.models.encoder import ModuleEncoder
from easrec_jax.models.rival import Rival
from easrec_jax.nn.dense import Dense, LayerNorm
from easrec_jax.nn.dropout import dropout, split_key
from easrec_jax.nn.embedding import EmbeddingNorm, FeatureTables, Items, Tables
from easrec_jax.nn.stack import Stack


class FDSA(nn.Module):
    """A stream of items and a stream of their features, joined before scoring against the item embeddings."""

    architecture: Architecture
    features: ItemFeatures
    num_items: int
    dropout: float = 0.0

    def setup(self):
        arch = self.architecture
        self.tables = Tables(self.num_items, arch.max_length, arch.width)
        self.feature_tables = FeatureTables(self.features, arch.width)
        self.attention_hidden, self.attention_out = Dense(arch.width, arch.width), Dense(arch.width, 1)
        self.item_norm, self.feature_norm = EmbeddingNorm(self.dropout), EmbeddingNorm(self.dropout)
        self.item_stack, self.feature_stack = Stack(arch, self.dropout), Stack(arch, self.dropout)
        self.merge, self.merge_norm = Dense(2 * arch.width, arch.width), LayerNorm()

    def _embed(self, items: Items, keys: list) -> tuple[Array, Array]:
        columns = self.feature_tables(items)
        rows = jnp.concatenate([r for r, _ in columns], -2)
        real = jnp.concatenate([m for _, m in columns], -2)
        logits = self.attention_out(nn.relu(self.attention_hidden(rows)))
        weights = jax.nn.softmax(jnp.where(real, logits, -1e30), -2) * real  # an item without features: zero
        positions = self.tables.positions[None, : items.shape[1]]
        summed = jnp.where((items > 0)[..., None], jnp.sum(weights * rows, -2) + positions, 0.0)
        return self.item_norm(self.tables(items), key=keys[0]), self.feature_norm(summed, key=keys[1])

    def _merge(self, item: Array, feature: Array, key: Array | None) -> Array:
        joined = self.merge_norm(self.merge(jnp.concatenate([item, feature], -1)))
        return dropout(joined, self.dropout, key)

    def encode(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        return self._run(self.item_stack, self.feature_stack, items, key)

    def encode_last(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event."""
        return self._run(self.item_stack.last, self.feature_stack.last, items, key)

    def _run(self, item_layers: Callable, feature_layers: Callable, items: Items, key: Array | None) -> Array:
        keys, mask = split_key(key, 5), items > 0
        item, feature = self._embed(items, keys)
        item, feature = item_layers(item, mask, key=keys[2]), feature_layers(feature, mask, key=keys[3])
        return self._merge(item, feature, keys[4])

    def request_flops(self) -> int:
        """As `cost.request_flops`: two stacks, the attention over all values of every event, one projection, scores once."""
        arch = self.architecture
        scores = 2 * arch.width * self.num_items
        values = sum(table.shape[1] for table in self.features.values)
        attention = arch.max_length * values * (2 * arch.width**2 + 2 * arch.width)
        return 2 * request_flops(arch, self.num_items) - scores + attention + 4 * arch.width**2


RIVAL = Rival(network=lambda *fields: ModuleEncoder(FDSA(*fields)), stacks=2, needs_features=True)
