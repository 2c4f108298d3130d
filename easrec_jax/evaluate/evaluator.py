"""Evaluation protocols over any scoring function.

A protocol's name says what the target is ranked against: `full` all items, `uniN` / `popN` N sampled negatives, uniform
or by popularity over all interactions, drawn with replacement, the target alone excluded, an item drawn twice counted
once. With `_unseen` no item of the user's history counts: all of it on the test items, held-out ones included. On the
validation items both end with the validation item, so that no test item ever reaches the choice of a model. Ranks are counted on
the device; no `[users, items]` array leaves it. Of items that score the same a random order is taken, on average: a
constant scorer gets what chance gives (`metrics.gains`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.data.batches import BUCKETS, bucketed, scoring_samples
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.metrics import metrics
from easrec_jax.precision import in_float32

# scores(weights, items [batch length]) -> [batch items + 1]; column 0 (padding) is ignored
ScoreFunction = Callable[[Any, Array], Array]


class Protocol(NamedTuple):
    name: str
    negatives: int  # 0: all items
    by_popularity: bool
    unseen: bool


def parse_protocol(name: str) -> Protocol:
    """The protocol of a name; `ValueError` names the forms that exist."""
    match = re.fullmatch(r"(full|(uni|pop)([1-9]\d*))(_unseen)?", name)
    if match is None:
        raise ValueError(
            f"unknown protocol {name!r}: expected full, uniN or popN (N negatives), each also with _unseen"
        )
    return Protocol(name, int(match[3] or 0), match[2] == "pop", match[4] is not None)


class _Counts(NamedTuple):
    """Per user: how many ranked items score above the target, and how many score the same."""

    above: Array
    equal: Array


@partial(jax.jit, static_argnames=("scores",))
def _count_full(
    weights: Any, items: Array, targets: Array, seen_row: Array, seen_item: Array, *, scores: ScoreFunction
):
    """Counts over all items, and over those a user has not seen; (seen_row, seen_item) are pairs, item 0 is filling."""
    values = scores(weights, items)
    target = jnp.take_along_axis(values, targets[:, None], 1)
    real = jnp.arange(values.shape[1])[None, :] > 0
    above, equal = ~(values <= target) & real, (values == target) & real  # NaN stands above: it must not look good
    full = _Counts(jnp.sum(above, 1), jnp.maximum(jnp.sum(equal, 1) - 1, 0))  # the target equals itself
    other = (seen_item > 0) & (seen_item != targets[seen_row])
    rows = targets.shape[0]

    def seen(flags: Array) -> Array:
        return jax.ops.segment_sum((flags[seen_row, seen_item] & other).astype(jnp.int32), seen_row, rows)

    return values, full, _Counts(full.above - seen(above), full.equal - seen(equal))


@jax.jit
def _count_sampled(values: Array, targets: Array, negatives: Array) -> _Counts:
    """Counts over each user's negatives [batch negatives]; 0 is filling."""
    target = jnp.take_along_axis(values, targets[:, None], 1)
    sampled = jnp.take_along_axis(values, negatives, 1)
    real = negatives > 0
    return _Counts(jnp.sum(~(sampled <= target) & real, 1), jnp.sum((sampled == target) & real, 1))


def sample_negatives(split: Split, part: Part, protocol: Protocol, *, seed: int) -> np.ndarray:
    """int32 [users negatives]: each user's negatives, 0 where a draw repeats an earlier one.

    Rejection sampling, vectorised over users: draws that the protocol excludes are drawn again. Raises `ValueError`
    where a user has seen every item, so that nothing is left to draw.
    """
    data = split.data
    targets = split.targets(part)
    users = data.num_users
    rng = np.random.default_rng((seed, part == "test", protocol.unseen, protocol.by_popularity, protocol.negatives))
    pool = (
        data.items[_known(split, part)] if protocol.by_popularity else np.arange(1, data.num_items + 1, dtype=np.int32)
    )
    seen = _seen_keys(split, part)
    if protocol.unseen:
        distinct = np.bincount(seen // (data.num_items + 1), minlength=users)
        if distinct.max() >= data.num_items:
            user = data.user_ids.raw[int(distinct.argmax())]
            raise ValueError(
                f"{protocol.name}: user {user!r} has seen all {data.num_items} items, no negative is left to draw"
            )
    elif data.num_items < 2:
        raise ValueError(f"{protocol.name}: one item in all, no negative is left to draw")
    negatives = rng.choice(pool, (users, protocol.negatives))
    again = _excluded(negatives, targets, seen, data.num_items, protocol.unseen)
    while again.any():
        row, column = np.nonzero(again)
        negatives[row, column] = rng.choice(pool, len(row))
        again[row, column] = _excluded(
            negatives[row, column][:, None], targets[row], seen, data.num_items, protocol.unseen, row
        )[:, 0]
    order = np.argsort(negatives, axis=1, kind="stable")
    ordered = np.take_along_axis(negatives, order, 1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    return ordered


def _seen_keys(split: Split, part: Part) -> np.ndarray:
    """Sorted unique user * (items + 1) + item over histories, the held-out item of `part` included, nothing after it."""
    data, known = split.data, _known(split, part)
    users = np.repeat(np.arange(data.num_users, dtype=np.int64), data.lengths)
    return np.unique(users[known] * (data.num_items + 1) + data.items[known])


def _known(split: Split, part: Part) -> np.ndarray:
    """bool [interactions]: all up to the held-out item of `part`, that one included."""
    return np.arange(len(split.data.items)) <= np.repeat(split.history_end(part), split.data.lengths)


def _excluded(
    negatives: np.ndarray, targets: np.ndarray, seen: np.ndarray, num_items: int, unseen: bool, users=None
) -> np.ndarray:
    if not unseen:
        return negatives == targets[:, None]
    users = np.arange(len(targets)) if users is None else users
    keys = users[:, None].astype(np.int64) * (num_items + 1) + negatives
    return seen[np.minimum(np.searchsorted(seen, keys), len(seen) - 1)] == keys


@dataclass(frozen=True)
class Evaluator:
    """The users, targets and negatives of one held-out part, drawn once and used for every model and epoch."""

    split: Split
    part: Part
    max_length: int
    protocols: tuple[str, ...] = ("full",)
    ks: tuple[int, ...] = (10,)
    ties: str = "expected"
    batch_size: int = 32
    seed: int = 2000
    buckets: int = BUCKETS

    def __post_init__(self) -> None:
        parsed = tuple(parse_protocol(name) for name in self.protocols)
        sampled = {p.name: sample_negatives(self.split, self.part, p, seed=self.seed) for p in parsed if p.negatives}
        object.__setattr__(self, "_parsed", parsed)
        object.__setattr__(self, "_negatives", sampled)
        object.__setattr__(self, "_seen", _seen_keys(self.split, self.part))

    @in_float32
    def ranks(self, scores: ScoreFunction, weights: Any) -> dict[str, np.ndarray]:
        """int64 [users 2] for each protocol: how many items stand above the target, and how many score the same.

        With pessimistic `ties` those stand above too, and none is left. NaN stands above everything.
        """
        split, parsed = self.split, self._parsed  # type: ignore[attr-defined]
        samples = scoring_samples(split, self.part, max_length=self.max_length)
        targets = split.targets(self.part)
        need_seen = any(p.unseen and not p.negatives for p in parsed)
        pending = []
        for index, length, rows in bucketed(
            samples, max_length=self.max_length, batch_size=self.batch_size, buckets=self.buckets
        ):
            batch = samples.batch(index, length, rows)
            target = np.ones(rows, np.int32)
            target[: len(index)] = targets[index]
            pairs = self._seen_pairs(index) if need_seen else np.zeros((2, 1), np.int32)
            values, full, unseen = _count_full(weights, batch.items, target, *pairs, scores=scores)
            counts = {}
            for p in parsed:
                if not p.negatives:
                    counts[p.name] = unseen if p.unseen else full
                    continue
                negatives = np.zeros((rows, p.negatives), np.int32)
                negatives[: len(index)] = self._negatives[p.name][index]  # type: ignore[attr-defined]
                counts[p.name] = _count_sampled(values, target, negatives)
            pending.append((index, counts))
        ranks = {p.name: np.zeros((split.data.num_users, 2), np.int64) for p in parsed}
        for index, counts in pending:
            for name, (above, equal) in counts.items():
                ties = np.asarray(equal)[: len(index)]
                hidden = ties if self.ties == "pessimistic" else 0
                ranks[name][index] = np.stack([np.asarray(above)[: len(index)] + hidden, ties - hidden], 1)
        return ranks

    def __call__(self, scores: ScoreFunction, weights: Any) -> dict[str, dict[str, float]]:
        """Recall, MRR and NDCG by protocol."""
        return {name: metrics(ranks, self.ks) for name, ranks in self.ranks(scores, weights).items()}

    @in_float32
    def of_users(self, compute: Callable[[Array], Array]) -> np.ndarray:
        """What `compute(items [batch length]) -> [batch ...]` gives for each user's history, float32 [users ...]."""
        samples, pending = scoring_samples(self.split, self.part, max_length=self.max_length), []
        for index, length, rows in bucketed(
            samples, max_length=self.max_length, batch_size=self.batch_size, buckets=self.buckets
        ):
            pending.append((index, compute(jnp.asarray(samples.batch(index, length, rows).items))))
        found = np.zeros((len(samples), *pending[0][1].shape[1:]), np.float32)
        for index, values in pending:
            found[index] = np.asarray(values)[: len(index)]
        return found

    def _seen_pairs(self, users: np.ndarray) -> np.ndarray:
        """int32 [2 pairs]: (row in batch, item) for everything the users have seen, padded to a power of two."""
        stride = self.split.data.num_items + 1
        seen: np.ndarray = self._seen  # type: ignore[attr-defined]
        low, high = np.searchsorted(seen, users * stride), np.searchsorted(seen, (users + 1) * stride)
        count = high - low
        rows = np.repeat(np.arange(len(users)), count)
        at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
        pairs = np.zeros((2, 1 << max(10, int(len(rows) - 1).bit_length())), np.int32)
        pairs[0, : len(rows)], pairs[1, : len(rows)] = rows, seen[at] % stride
        return pairs
