"""Planted data: a documented process, so the best achievable NDCG@10 is known.

Items form clusters of equal size; inside a cluster item r (from 0) has popularity proportional to 1/(r+1).
A user's first event is one of the marker items, one a taste, drawn uniformly: the user's taste g. After it,

- the cluster follows a Markov chain: the next cluster is the successor of the last one with probability `FOLLOW`,
  otherwise uniform (the first cluster is uniform);
- with probability `LOYAL` the item is the taste's favourite in that cluster: one of its variants, fixed items of its less
  popular half, chosen by a random code of the taste, independently for each cluster; otherwise it is drawn by popularity.

How many clusters, tastes and variants there are, and how long histories get, is in `config.PlantedConfig`.

With `timed`, events have times. Half of the gaps are short (minutes), half are long (days), at random, and the successor depends on
the gap before the next event: the next cluster after a short one, the one half of all clusters further after a long one. What
is known of the next item without its time is the mean of the two.

The last item tells the cluster, so a first-order model can learn the chain. Which favourite comes next, recent events
do not tell: they belong to other clusters, the chain takes some ten events to come back to this one, and the marker
stands at the very start. A model that looks far back can use both. The marker and the last item decide the exact
distribution of the next item, and ranking by it is the ceiling. Items have features too (`planted_features`): the
cluster, and whether some taste favours the item. Where items are rarer than their features are, a model that reads
those learns the chain sooner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.config import PlantedConfig
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.interactions import IdMap, Interactions

DEFAULT = PlantedConfig()
FOLLOW = 0.7
LONG = 0.5  # of the gaps of timed data
BEGIN, DAY = 1.5e9, 86_400.0  # seconds since 1970 before which no user begins, seconds
LOYAL = 0.5


class Truth(NamedTuple):
    """The process as arrays over inner ids; `weights` of `ideal_scores` and `myopic_scores`."""

    tables: Array  # float32 [tastes clusters items + 1]: p(next item | taste, last cluster)
    taste: Array  # int32 [items + 1]: the taste of a marker, 0 elsewhere
    cluster: Array  # int32 [items + 1]: the cluster of an item, 0 for markers and padding


@dataclass(frozen=True)
class Planted:
    """The data and the process behind it."""

    data: Interactions
    truth: Truth


def ideal_scores(truth: Truth, items: Array) -> Array:
    """A scoring function: p(next item | history), [batch items + 1]. The marker must be in sight."""
    return truth.tables[truth.taste[items[:, 0]], _last_cluster(truth, items)]


def myopic_scores(truth: Truth, items: Array) -> Array:
    """A scoring function: p(next item | last item), the taste unknown; the best that a first-order model can do."""
    return jnp.mean(truth.tables, 0)[_last_cluster(truth, items)]


def planted_features(truth: Truth) -> ItemFeatures:
    """The columns `cluster` (c0, c1, ..., none for markers) and `kind` (favourite, common, marker)."""
    tables, cluster = np.asarray(truth.tables), np.asarray(truth.cluster)
    marker = tables.max((0, 1)) == 0.0  # never drawn after the first event
    favoured = (tables.max(0) > 2 * tables.min(0)).any(0)  # by some tastes, not by all
    kinds = np.where(marker, "marker", np.where(favoured, "favourite", "common"))
    clusters = [() if m else (f"c{c}",) for m, c in zip(marker, cluster, strict=True)]
    columns = {"cluster": clusters, "kind": [(str(kind),) for kind in kinds]}
    return ItemFeatures.from_tokens({name: [(), *tokens[1:]] for name, tokens in columns.items()})


def _last_cluster(truth: Truth, items: Array) -> Array:
    last = jnp.sum(items > 0, 1) - 1
    return truth.cluster[jnp.take_along_axis(items, last[:, None], 1)[:, 0]]


def planted(
    *,
    users: int,
    items: int,
    seed: int,
    clusters: int = DEFAULT.clusters,
    tastes: int = DEFAULT.tastes,
    variants: int = DEFAULT.variants,
    lengths: tuple[int, int] = DEFAULT.lengths,
    timed: bool = DEFAULT.timed,
) -> Planted:
    """Draw a data set; raw ids are strings (`u3` users, `i17` items, `m2` markers), the same for the same arguments.

    `lengths` are the shortest and the longest history in events, marker included; they are uniform between the two.
    Raises `ValueError` if the clusters would be too small for their favourites.
    """
    rng = np.random.default_rng((seed, users, items))
    size = items // clusters
    if size < 2 * variants:
        raise ValueError(f"data.planted.items: expected at least {2 * variants * clusters}, got {items}")
    items = size * clusters
    popularity = 1.0 / np.arange(1, size + 1)
    popularity /= popularity.sum()
    rare = np.arange(size // 2, size)
    favoured = np.stack([rng.choice(rare, variants, replace=False) for _ in range(clusters)])
    code = rng.integers(0, variants, (tastes, clusters))
    favourite = favoured[np.arange(clusters), code]  # tastes clusters -> rank in the cluster

    shape = users, lengths[1]
    gaps = _gaps(np.random.default_rng((seed, users, items, 1)), shape) if timed else np.zeros(shape)
    history, count = _histories(rng, gaps > DAY / 2, favourite, popularity, lengths)
    names = [f"i{k}" for k in rng.permutation(items)] + [f"m{g}" for g in range(tastes)]
    real = np.arange(history.shape[1]) < count[:, None]
    flat = history[real]
    present, inner = np.unique(flat, return_inverse=True)
    data = Interactions(
        items=(inner + 1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(count)]),
        user_ids=IdMap(tuple(f"u{k}" for k in range(users))),
        item_ids=IdMap(tuple(names[k] for k in present)),
        times=(BEGIN + np.cumsum(gaps, 1))[real] if timed else None,
    )
    known = np.concatenate([[0], present])  # planted id of each inner id; padding's is never used
    truth = Truth(
        tables=jnp.asarray(_tables(present, popularity, favourite, LONG if timed else 0.0), jnp.float32),
        taste=jnp.asarray(np.where(known >= items, known - items, 0), jnp.int32),
        cluster=jnp.asarray(np.where(known < items, known // size, 0), jnp.int32),
    )
    return Planted(data, truth)


def _gaps(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Whole seconds before each event [users longest]; before the first, since `BEGIN`."""
    gaps = np.where(rng.random(shape) < LONG, DAY * rng.uniform(1, 8, shape), rng.uniform(60, 1800, shape))
    gaps[:, 0] = DAY * rng.uniform(0, 365, shape[0])
    return np.floor(gaps)


def _histories(
    rng: np.random.Generator, far: np.ndarray, favourite: np.ndarray, popularity: np.ndarray, lengths: tuple[int, int]
):
    """Planted ids [users longest] (cluster * size + rank; markers after all items), and how many count [users].

    `far` [users longest]: whether the chain goes on half of all clusters further.
    """
    users, size, (shortest, longest), (tastes, clusters) = len(far), len(popularity), lengths, favourite.shape
    count = rng.integers(shortest, longest + 1, users)
    taste = rng.integers(0, tastes, users)
    follow = rng.random((users, longest)) < FOLLOW
    anywhere = rng.integers(0, clusters, (users, longest))
    loyal = rng.random((users, longest)) < LOYAL
    drawn = rng.choice(size, (users, longest), p=popularity)
    history = np.empty((users, longest), np.int64)
    history[:, 0] = clusters * size + taste
    cluster = anywhere[:, 0]
    for t in range(1, longest):
        successor = (cluster + np.where(far[:, t], clusters // 2, 1)) % clusters
        cluster = np.where(follow[:, t] & (t > 1), successor, anywhere[:, t])
        history[:, t] = cluster * size + np.where(loyal[:, t], favourite[taste, cluster], drawn[:, t])
    return history, count


def _tables(present: np.ndarray, popularity: np.ndarray, favourite: np.ndarray, far: float) -> np.ndarray:
    """p(next inner id | taste, last cluster), [tastes clusters items + 1], where so many gaps are long."""
    tastes, clusters = favourite.shape
    chain = np.full((clusters, clusters), (1 - FOLLOW) / clusters)
    for step, share in ((1, 1 - far), (clusters // 2, far)):
        chain[np.arange(clusters), (np.arange(clusters) + step) % clusters] += share * FOLLOW
    within = np.broadcast_to((1 - LOYAL) * popularity, (tastes, clusters, len(popularity))).copy()
    rows, columns = np.indices(favourite.shape)
    within[rows, columns, favourite] += LOYAL
    following = chain[None, :, :, None] * within[:, None]  # taste, last cluster, next cluster, rank
    markers = np.zeros((tastes, clusters, tastes))
    everything = np.concatenate([following.reshape(tastes, clusters, -1), markers], -1)
    return np.concatenate([np.zeros((tastes, clusters, 1)), everything[:, :, present]], -1)  # absent items have no id
