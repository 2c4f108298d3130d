"""The most popular items for everyone, by training interactions: the floor of all floors."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from easrec_jax.models.rival import Rival


def popularity_scores(weights: Array, items: Array) -> Array:
    """A scoring function: every user gets the items' popularity, [items + 1] in `weights`."""
    return jnp.broadcast_to(weights, (items.shape[0], weights.shape[0]))


RIVAL = Rival(floor=lambda split: (popularity_scores, jnp.asarray(split.popularity(), jnp.float32)))
