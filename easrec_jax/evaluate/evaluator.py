"""Ranks of held-out items under any scoring function, by the protocols of `protocols`.

Ranks are counted on the device; no `[users, items]` array leaves it. A target is ranked among items that are no targets of
its user. Of items that score the same a random order is taken, on average: a constant scorer gets what chance gives
(`metrics.gains`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.data.batches import BUCKETS, Samples, bucketed, scoring_samples
from easrec_jax.data.clock import Events, items_of
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.counting import ScoreFunction, as_ranked, count_by_shards, count_full, count_sampled
from easrec_jax.evaluate.metrics import metrics
from easrec_jax.evaluate.protocols import Protocol, parse_protocol, sample_negatives, seen_keys
from easrec_jax.parallel.layout import Layout
from easrec_jax.precision import in_float32


@partial(jax.jit, static_argnames=("scores", "protocol", "k"))
def _top_items(
    weights: Any,
    items: Events,
    targets: Array,
    seen_row: Array,
    seen_item: Array,
    *,
    scores: ScoreFunction,
    protocol: Protocol,
    k: int,
) -> Array:
    """int32 [batch k]: the ranked items of the highest scores, 0 where there are no more."""
    values = jnp.asarray(scores(weights, items))
    scored, ranked = as_ranked(values, items_of(items), targets, seen_row, seen_item, protocol=protocol)
    best, found = jax.lax.top_k(jnp.where(ranked, scored, -jnp.inf), k)
    return jnp.where(best > -jnp.inf, found, 0)


@dataclass(frozen=True)
class Evaluator:
    """The users, targets and negatives of one held-out part, drawn once and used for every model and epoch."""

    split: Split
    """Data and what is held out of them."""
    part: Part
    """Validation or test."""
    max_length: int
    """Events that the network reads."""
    protocols: tuple[str, ...] = ("full",)
    """Names, as `evaluate.protocols` has them."""
    ks: tuple[int, ...] = (10,)
    """Cut-offs."""
    ties: str = "expected"
    """Items that score as the target does: expected, the mean over their orders; pessimistic, above it."""
    batch_size: int = 32
    """Users of `max_length` events a batch."""
    seed: int = 2000
    """Of the sampled negatives and of `sample`."""
    buckets: int = BUCKETS
    """Static lengths of batches."""
    sample: int = 0
    """Users, drawn by the seed; 0: all that the split evaluates."""
    layout: Layout | None = None
    """Of weights that lie on several devices; scores are then `hidden @ table.T`."""

    def __post_init__(self) -> None:
        parsed = tuple(parse_protocol(name) for name in self.protocols)
        sampled = {p.name: sample_negatives(self.split, self.part, p, seed=self.seed) for p in parsed if p.negatives}
        rows = np.arange(len(self.split.evaluated(self.part)))
        if 0 < self.sample < len(rows):
            rows = np.sort(np.random.default_rng((self.seed, 5)).choice(rows, self.sample, replace=False))
        object.__setattr__(self, "_parsed", parsed)
        object.__setattr__(self, "_negatives", sampled)
        object.__setattr__(self, "_targets", self.split.target_sets(self.part))
        object.__setattr__(self, "_rows", rows)

    @property
    def users(self) -> np.ndarray:
        """int64 [users], which of the split's users are measured, in the order of all that is returned here."""
        return self.split.evaluated(self.part)[self._rows]  # type: ignore[attr-defined]

    @in_float32
    def ranks(self, scores: ScoreFunction, weights: Any) -> dict[str, np.ndarray]:
        """int64 [users 2] for each protocol: how many items stand above the target, and how many score the same.

        Where a user has several targets int64 [users 2 targets], of items that are no targets, -1 where there are no more.
        With pessimistic `ties` those that score the same stand above too, and none is left. NaN stands above everything.
        """
        parsed: tuple[Protocol, ...] = self._parsed  # type: ignore[attr-defined]
        sets: np.ndarray = self._targets[self._rows]  # type: ignore[attr-defined]
        full = tuple(p for p in parsed if not p.negatives)
        pending = []
        for index, samples, length, rows in self._batches():
            batch, target = samples.batch(index, length, rows), _padded(sets[index], rows)
            pairs, negatives = self._seen_pairs(index, full), {}
            for p in parsed:
                if p.negatives:
                    negatives[p.name] = _padded(self._negatives[p.name][self._rows[index]], rows)  # type: ignore[attr-defined]
            if self.layout is not None:
                cut = self.layout.put((batch.items, target)), tuple(pairs), self.layout.put(negatives)
                how = {"scores": scores, "protocols": full, "layout": self.layout}
                counts = count_by_shards(weights, *cut[0], *cut[1:], **how)
            else:
                values, counts = count_full(weights, batch.items, target, *pairs, scores=scores, protocols=full)
                counts |= {name: count_sampled(values, target, drawn) for name, drawn in negatives.items()}
            pending.append((index, counts))
        ranks = {p.name: np.full((len(sets), 2, sets.shape[1]), -1, np.int64) for p in parsed}
        for index, counts in pending:
            for name, (above, equal) in counts.items():
                ties = np.asarray(equal)[: len(index)]
                hidden = ties if self.ties == "pessimistic" else 0
                found = np.stack([np.asarray(above)[: len(index)] + hidden, ties - hidden], 1)
                ranks[name][index] = np.where(sets[index, None] > 0, found, -1)
        return {name: of[:, :, 0] if sets.shape[1] == 1 else of for name, of in ranks.items()}

    def __call__(self, scores: ScoreFunction, weights: Any) -> dict[str, dict[str, float]]:
        """Metrics by protocol."""
        return {name: metrics(ranks, self.ks) for name, ranks in self.ranks(scores, weights).items()}

    @in_float32
    def top_items(self, scores: ScoreFunction, weights: Any, protocol: str, k: int) -> np.ndarray:
        """int32 [users k]: the first k items of each user's list, the higher score first, then the lower inner id; 0: no more.

        `ValueError` for a protocol that ranks a sample of the items.
        """
        parsed = parse_protocol(protocol)
        if self.layout is not None:
            raise ValueError("lists of the best items: expected an evaluator of weights on one device")
        if parsed.negatives:
            raise ValueError(f"{protocol}: expected a protocol that ranks all items, such as full_unseen")
        sets: np.ndarray = self._targets[self._rows]  # type: ignore[attr-defined]
        pending = []
        k = min(k, self.split.data.num_items)
        for index, samples, length, rows in self._batches():
            batch, target = samples.batch(index, length, rows), _padded(sets[index], rows)
            pairs = self._seen_pairs(index, (parsed,))
            found = _top_items(weights, batch.items, target, *pairs, scores=scores, protocol=parsed, k=k)
            pending.append((index, found))
        lists = np.zeros((len(sets), k), np.int32)
        for index, found in pending:
            lists[index] = np.asarray(found)[: len(index)]
        return lists

    @in_float32
    def of_users(self, compute: Callable[[Array], Array]) -> np.ndarray:
        """What `compute(items [batch length]) -> [batch ...]` gives for each user's history, float32 [users ...]."""
        pending = []
        for index, samples, length, rows in self._batches():
            pending.append((index, compute(jax.tree.map(jnp.asarray, samples.batch(index, length, rows).items))))
        found = np.zeros((len(self.users), *pending[0][1].shape[1:]), np.float32)
        for index, values in pending:
            found[index] = np.asarray(values)[: len(index)]
        return found

    def _batches(self) -> Iterator[tuple[np.ndarray, Samples, int, int]]:
        """(numbers of users, the samples that they number, length, rows) of each batch."""
        samples = scoring_samples(self.split, self.part, max_length=self.max_length)
        chosen: np.ndarray = self._rows  # type: ignore[attr-defined]
        samples = dataclasses.replace(samples, start=samples.start[chosen], stop=samples.stop[chosen])
        for index, length, rows in bucketed(
            samples, max_length=self.max_length, batch_size=self.batch_size, buckets=self.buckets
        ):
            yield index, samples, length, rows

    @cached_property
    def _seen(self) -> np.ndarray:
        """`seen_keys`, for protocols that read histories alone: it is as large as the data."""
        return seen_keys(self.split, self.part)

    def _seen_pairs(self, users: np.ndarray, protocols: tuple[Protocol, ...]) -> np.ndarray:
        """int32 [2 pairs]: (row in batch, item) for everything the users have seen, padded to a power of two; where none of the
        `protocols` asks for it, a pair of filling."""
        if not any(protocol.reads_history for protocol in protocols):
            return np.zeros((2, 1), np.int32)
        stride = self.split.data.num_items + 1
        users = self._rows[users]  # type: ignore[attr-defined]
        seen = self._seen
        low, high = np.searchsorted(seen, users * stride), np.searchsorted(seen, (users + 1) * stride)
        count = high - low
        rows = np.repeat(np.arange(len(users)), count)
        at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
        pairs = np.zeros((2, 1 << max(10, int(len(rows) - 1).bit_length())), np.int32)
        pairs[0, : len(rows)], pairs[1, : len(rows)] = rows, seen[at] % stride
        return pairs


def _padded(sets: np.ndarray, rows: int) -> np.ndarray:
    """int32 [rows any]: a batch's targets or negatives, 0 in rows of filling."""
    padded = np.zeros((rows, sets.shape[1]), np.int32)
    padded[: len(sets)] = sets
    return padded
