"""From item ids to the vectors that go into the first layer: tables of items, positions and features (Eq. 3-4)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from easrec_jax.data.clock import Timed, items_of
from easrec_jax.data.features import ItemFeatures
from easrec_jax.nn.dense import LayerNorm
from easrec_jax.nn.dropout import dropout
from easrec_jax.nn.times import gaps_before, last_requests, read_out, requests, table_rows
from easrec_jax.parallel.tables import RowTable

# jitted, so that each shape is one small program
normal_init = jax.jit(nn.initializers.normal(0.02), static_argnums=1)

Items = Int[Array, "batch length"]
Events = Items | Timed  # the second where times are read
Event = Int[Array, " batch"] | Timed  # one a user
Hidden = Float[Array, "batch length width"]


class Tables(nn.Module):
    """Item and position embeddings (Eq. 3-4), and those of times where they are read. Row 0 of the items is padding: zero, and it
    stays zero."""

    num_items: int
    max_length: int
    width: int
    times: str = "no"

    def setup(self):
        def items(key: Array) -> Array:
            return normal_init(key, (self.num_items + 1, self.width)).at[0].set(0.0)

        # a placed table has rows that fill it up, so it has not the shape that Flax expects
        placed = self.get_variable("params", "items") if self.has_variable("params", "items") else None
        self.items = placed if isinstance(placed, RowTable) else self.param("items", items)
        self.positions = self.param("positions", lambda key: normal_init(key, (self.max_length, self.width)))
        for name, rows in table_rows(self.times).items():
            setattr(self, name, self.param(name, lambda _, rows=rows: jnp.zeros((rows, self.width))))

    def __call__(self, items: Events) -> Hidden:
        """Sum of item and position embedding; padded positions are zero and send no gradient to row 0."""
        ids = items_of(items)
        summed = self.items[ids] + self.positions[None, : ids.shape[1]]
        if self.times != "no":
            summed = summed + self.gaps[gaps_before(items)]
        return jnp.where((ids > 0)[..., None], summed, 0.0)

    def at(self, items: Event, positions: Int[Array, " batch"]) -> Float[Array, "batch width"]:
        """The embedding of one event a user at its position; positions past the table use its last row."""
        summed = self.items[items_of(items)] + self.positions[jnp.minimum(positions, self.max_length - 1)]
        return summed if self.times == "no" else summed + self.gaps[gaps_before(items)]

    def read_out(self, hidden: Hidden, items: Events) -> Hidden:
        """Hidden states for the requests that follow the events."""
        return hidden if self.times == "no" else read_out(hidden, self.scale, self.shift, requests(items))

    def read_out_last(self, hidden: Float[Array, "batch width"], items: Events) -> Float[Array, "batch width"]:
        """Those after each user's last event."""
        return hidden if self.times == "no" else read_out(hidden, self.scale, self.shift, last_requests(items))


class EmbeddingNorm(nn.Module):
    """Layer norm and dropout after the embedding; each candidate norms its own slice."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        return dropout(LayerNorm(name="norm")(x), self.dropout, key)


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
