"""The rivals that are networks or tables of their own: SASRecF, FDSA, a first-order Markov model.

All have the call signature of `Network` (`encode`, `encode_last`) or are a scoring function; `train.fit` and `Evaluator`
treat them alike. SASRec itself is a `Network` (`architecture.sasrec_architecture`), popularity `evaluate.popularity_scores`.

**SASRecF** (RecBole 1.2; the EASRec paper's Table III). Kept: each event's item embedding and the mean embedding of each
feature column, concatenated and projected to the hidden size, then positions, layer norm, dropout, causal
self-attention; the scores are inner products with the plain item embeddings. Changed: the mean, where RecBole's default
(`pooling_mode`) is the sum; and see below.

**FDSA** (Zhang et al., Feature-level Deeper Self-Attention Network, IJCAI 2019; RecBole 1.2). Kept: vanilla attention
weighs the features of an item into one vector; the sequence of items and the sequence of features pass through
self-attention stacks of their own; their outputs are concatenated, projected and normed, and score against the item
embeddings. Changed: the vanilla attention runs over all values of an item (each genre), where RecBole averages a
multi-valued column first and, with one column, leaves the attention nothing to weigh; three layer norms where RecBole
uses one for three places.

**Both.** Changed, as for every network here: blocks and attention are this package's (all four modes; softmax is the
original), gates off, exact gelu, weights by Glorot, a loss over all items at every position (RecBole: one sample a
prefix), no dropout inside the attention. Features are data, held by the module, so that no feature is ever trained away.

**Markov** (Rendle et al., WWW 2010, without its factorisation): the next item by how often it followed the last one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from easrec_jax.architecture import Architecture
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Split
from easrec_jax.models.cost import request_flops
from easrec_jax.nn.block import Dense, EmbeddingNorm, LayerNorm, Tables, blocks_of, dropout, normal_init, split_key
from easrec_jax.precision import in_float32

Items = Int[Array, "batch length"]


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


class FeatureTables(nn.Module):
    """One embedding table a feature column; row 0, no value, is zero and stays zero."""

    features: ItemFeatures
    width: int

    def setup(self):
        def table(rows: int):
            return lambda key: normal_init(key, (rows, self.width)).at[0].set(0.0)

        names = self.features.names
        self.tables = [self.param(n, table(r)) for n, r in zip(names, self.features.sizes, strict=True)]

    def __call__(self, items: Items) -> list[tuple[Array, Array]]:
        """For each column (embeddings [batch length values width], which of them are real)."""
        found = []
        for table, values in zip(self.tables, self.features.values, strict=True):
            chosen = jnp.asarray(values)[items]
            real = (chosen > 0)[..., None]
            found.append((jnp.where(real, table[chosen], 0.0), real))
        return found


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
        self.join = Dense(arch.width)
        self.embedding_norm = EmbeddingNorm(self.dropout)
        self.stack = Stack(arch, self.dropout)

    def _embed(self, items: Items, key: Array | None) -> Array:
        means = [jnp.sum(rows, -2) / jnp.maximum(jnp.sum(real, -2), 1.0) for rows, real in self.feature_tables(items)]
        joined = self.join(jnp.concatenate([self.tables.items[items], *means], -1))
        positions = self.tables.positions[: items.shape[1]]
        return self.embedding_norm(jnp.where((items > 0)[..., None], joined + positions, 0.0), key=key)

    def encode(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        key_embed, key_stack = split_key(key, 2)
        return self.stack(self._embed(items, key_embed), items > 0, key=key_stack)

    def encode_last(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event."""
        key_embed, key_stack = split_key(key, 2)
        return self.stack.last(self._embed(items, key_embed), items > 0, key=key_stack)

    def request_flops(self) -> int:
        """As `cost.request_flops`: the network of the architecture, and the projection of every joined event."""
        arch, columns = self.architecture, len(self.features.names)
        return request_flops(arch, self.num_items) + arch.max_length * 2 * (1 + columns) * arch.width**2

    stacks = 1  # of layers


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
        self.attention_hidden, self.attention_out = Dense(arch.width), Dense(1)
        self.item_norm, self.feature_norm = EmbeddingNorm(self.dropout), EmbeddingNorm(self.dropout)
        self.item_stack, self.feature_stack = Stack(arch, self.dropout), Stack(arch, self.dropout)
        self.merge, self.merge_norm = Dense(arch.width), LayerNorm()

    def _embed(self, items: Items, keys: list) -> tuple[Array, Array]:
        columns = self.feature_tables(items)
        rows = jnp.concatenate([r for r, _ in columns], -2)
        real = jnp.concatenate([m for _, m in columns], -2)
        logits = self.attention_out(nn.relu(self.attention_hidden(rows)))
        weights = jax.nn.softmax(jnp.where(real, logits, -1e30), -2) * real  # an item without features: zero
        positions = self.tables.positions[: items.shape[1]]
        summed = jnp.where((items > 0)[..., None], jnp.sum(weights * rows, -2) + positions, 0.0)
        return self.item_norm(self.tables(items), key=keys[0]), self.feature_norm(summed, key=keys[1])

    def _merge(self, item: Array, feature: Array, key: Array | None) -> Array:
        joined = self.merge_norm(self.merge(jnp.concatenate([item, feature], -1)))
        return dropout(joined, self.dropout, key)

    def encode(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        keys, mask = split_key(key, 5), items > 0
        item, feature = self._embed(items, keys)
        item, feature = self.item_stack(item, mask, key=keys[2]), self.feature_stack(feature, mask, key=keys[3])
        return self._merge(item, feature, keys[4])

    def encode_last(self, items: Items, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event."""
        keys, mask = split_key(key, 5), items > 0
        item, feature = self._embed(items, keys)
        item = self.item_stack.last(item, mask, key=keys[2])
        return self._merge(item, self.feature_stack.last(feature, mask, key=keys[3]), keys[4])

    def request_flops(self) -> int:
        """As `cost.request_flops`: two stacks, the attention over all values of every event, one projection, scores once."""
        arch = self.architecture
        scores = 2 * arch.width * self.num_items
        values = sum(table.shape[1] for table in self.features.values)
        attention = arch.max_length * values * (2 * arch.width**2 + 2 * arch.width)
        return 2 * request_flops(arch, self.num_items) - scores + attention + 4 * arch.width**2

    stacks = 2


@in_float32
def init_baseline(network: SASRecF | FDSA, key: Array) -> dict:
    """Fresh weights; the key is consumed."""
    items = jax.ShapeDtypeStruct((1, min(2, network.architecture.max_length)), jnp.int32)
    variables: Any = network.lazy_init(key, items, method=type(network).encode)  # no forward pass: it compiles long
    return variables["params"]


class Markov(NamedTuple):
    """How often each item followed each other one in the training items, as rows of pairs; `weights` of `markov_scores`."""

    start: Array  # int32 [items + 2]: row v holds the pairs start[v] to start[v + 1]
    following: Array  # int32 [pairs + 1], the last one is filling
    count: Array  # float32 [pairs + 1], 0 for the filling
    popularity: Array  # float32 [items + 1], a distribution
    longest: Array  # int32 [most pairs of a row]: 0, 1, 2, ...


def fit_markov(split: Split) -> Markov:
    """Count the training transitions; popularity, for items that nothing tells apart, is that of the training items."""
    data = split.data
    rows = data.num_items + 1
    position = np.arange(len(data.items))
    inside = position < np.repeat(split.train_end - 1, data.lengths)  # the item after it is a training item too
    before = np.flatnonzero(inside)
    pairs, count = np.unique(data.items[before].astype(np.int64) * rows + data.items[before + 1], return_counts=True)
    start = np.searchsorted(pairs, np.arange(rows + 1, dtype=np.int64) * rows)
    popularity = split.popularity()
    return Markov(
        jnp.asarray(start, jnp.int32),
        jnp.asarray(np.append(pairs % rows, 0), jnp.int32),
        jnp.asarray(np.append(count, 0), jnp.float32),
        jnp.asarray(popularity / popularity.sum(), jnp.float32),
        jnp.arange(int(np.diff(start).max()), dtype=jnp.int32),
    )


def markov_scores(weights: Markov, items: Items) -> Float[Array, "batch rows"]:
    """A scoring function: transitions from the last item, plus popularity as one transition's worth of belief."""
    index = jnp.maximum(jnp.sum(items > 0, -1, keepdims=True) - 1, 0)
    last = jnp.take_along_axis(items, index, 1)[:, 0]
    begin, end = weights.start[last][:, None], weights.start[last + 1][:, None]
    at = begin + weights.longest
    real = at < end
    users = jnp.arange(items.shape[0])[:, None]
    scores = jnp.broadcast_to(weights.popularity, (items.shape[0], weights.popularity.shape[0]))
    following, count = (x[jnp.where(real, at, -1)] for x in (weights.following, weights.count))
    return scores.at[users, following].add(count)
