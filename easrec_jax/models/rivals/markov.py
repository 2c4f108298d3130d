"""A first-order Markov chain (Rendle et al., WWW 2010, without its factorisation): the next item by how often it followed the last."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from easrec_jax.data.split import Split
from easrec_jax.models.rival import Rival
from easrec_jax.nn.embedding import Items


class Markov(NamedTuple):
    """How often each item followed each other one in the training items, as rows of pairs; `weights` of `markov_scores`."""

    start: Array  # int32 [items + 2]: row v holds the pairs start[v] to start[v + 1]
    following: Array  # int32 [pairs + 1], the last one is filling
    # float32 [pairs + 1], 0 for the filling
    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]
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
    at = begin + weights.longest[None, :]
    real = at < end
    users = jnp.arange(items.shape[0])[:, None]
    scores = jnp.broadcast_to(weights.popularity, (items.shape[0], weights.popularity.shape[0]))
    following, count = (x[jnp.where(real, at, -1)] for x in (weights.following, weights.count))
    return scores.at[users, following].add(count)


RIVAL = Rival(floor=lambda split: (markov_scores, fit_markov(split)))
