"""Counts of items that stand above targets, on one device and on several; no `[users, items]` array leaves a device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec

from easrec_jax.data.clock import Events, items_of
from easrec_jax.evaluate.protocols import Protocol
from easrec_jax.parallel.layout import BATCH, WHOLE, Layout
from easrec_jax.parallel.tables import gathered, local_rows, on_shards, spread

# scores(weights, items [batch length]) -> [batch items + 1]; column 0 (padding) is ignored
ScoreFunction = Callable[[Any, Array], Array]


class Counts(NamedTuple):
    """[batch targets]: how many ranked items that are no targets score above each target, and how many score the same."""

    above: Array
    equal: Array


@partial(jax.jit, static_argnames=("scores", "protocols"))
def count_full(
    weights: Any,
    items: Events,
    targets: Array,
    seen_row: Array,
    seen_item: Array,
    *,
    scores: ScoreFunction,
    protocols: tuple[Protocol, ...],
):
    """Counts by protocol, among all items; targets are [batch most], (seen_row, seen_item) pairs, item 0 is filling in both."""
    values = jnp.asarray(scores(weights, items))
    other, found = ~marked(values, targets), {}
    for protocol in protocols:
        scored, ranked = as_ranked(values, items_of(items), targets, seen_row, seen_item, protocol=protocol)
        found[protocol.name] = count(
            scored, jnp.take_along_axis(values, targets, 1), most_targets(targets), ranked & other
        )
    return values, found


def marked(values: Array, items: Array) -> Array:
    """bool like `values` [batch columns]: the `items` [batch any] of each row, padding among them."""
    row = jnp.arange(values.shape[0])[:, None]
    return jnp.zeros(values.shape, bool).at[row, items].set(True).at[:, 0].set(True)


def as_ranked(
    values: Array, items: Array, targets: Array, seen_row: Array, seen_item: Array, *, protocol: Protocol
) -> tuple[Array, Array]:
    """(scores, which items are ranked), both [batch columns], of a protocol without sampled negatives; targets always are."""
    real = (jnp.arange(values.shape[1]) > 0)[None, :] & jnp.ones(values.shape, bool)
    if not (protocol.window or protocol.reads_history):
        return values, real
    seen = marked(values, items) if protocol.window else jnp.zeros(values.shape, bool).at[seen_row, seen_item].set(True)
    seen &= ~marked(values, targets)
    return (jnp.where(seen, 0, values), real) if protocol.zero else (values, real & ~seen)


def count(values: Array, targets: Array, most: Array, ranked: Array) -> Counts:
    """Counts among `values` where `ranked`, both [batch columns], for the scores of the first `most` targets [batch targets]."""

    def one(target: Array) -> Counts:
        above = ~(values <= target[:, None]) & ranked  # NaN stands above: it must not look good
        return Counts(jnp.sum(above, 1), jnp.sum((values == target[:, None]) & ranked, 1))

    if targets.shape[1] == 1:  # compiles faster than a loop
        return Counts(*(count[:, None] for count in one(targets[:, 0])))

    def step(number: Array, counts: Counts) -> Counts:
        return Counts(*(whole.at[:, number].set(of) for whole, of in zip(counts, one(targets[:, number]), strict=True)))

    none = jnp.zeros(targets.shape, int)
    return jax.lax.fori_loop(0, most, step, Counts(none, none))


def most_targets(targets: Array) -> Array:
    """How many targets the user with the most has, of [batch targets], 0 where there are no more."""
    return jnp.max(jnp.sum(targets > 0, 1))


@jax.jit
def count_sampled(values: Array, targets: Array, negatives: Array) -> Counts:
    """Counts over each user's negatives [batch negatives]; 0 is filling."""
    sampled = jnp.take_along_axis(values, negatives, 1)
    return count(sampled, jnp.take_along_axis(values, targets, 1), most_targets(targets), negatives > 0)


@partial(jax.jit, static_argnames=("scores", "protocols", "layout"))
def count_by_shards(
    weights: Any,
    items: Array,
    targets: Array,
    seen: tuple[Array, Array],
    negatives: dict[str, Array],
    *,
    scores: ScoreFunction,
    protocols: tuple[Protocol, ...],
    layout: Layout,
) -> dict[str, Counts]:
    """`count_full`, and `count_sampled` of the `negatives` by protocol, of placed weights and batches; counts whole on each device.

    A device scores its users by its items and counts among these; what the devices add up are counts, and the scores of
    targets and negatives.
    """
    values = scores(spread(weights, layout), items)

    def shard(values: Array, items: Array, targets: Array, seen: Any, negatives: Any) -> dict[str, Counts]:
        items, targets, negatives = jax.tree.map(_of_all_items, (items, targets, negatives))
        users, size = values.shape
        values = jnp.pad(values, ((0, 0), (1, 0)))  # column 0 stands for items of other devices too

        def column(items: Array) -> Array:
            at, here = local_rows(items, size)
            return jnp.where(here, at + 1, 0)

        def scored(items: Array) -> Array:
            at = column(items)
            return lax.psum(jnp.where(at > 0, jnp.take_along_axis(values, at, 1), 0.0), "items")

        item = lax.axis_index("items") * size + jnp.arange(-1, size)
        row = seen[0] - lax.axis_index("data") * users
        row = jnp.where((row >= 0) & (row < users), row, users)
        mine, most = scored(targets), most_targets(targets)
        counted = ~marked(values, column(targets)) & ((item > 0) & (item <= layout.num_items))[None, :]
        found = {}
        for protocol in protocols:
            values_, ranked = as_ranked(values, column(items), column(targets), row, column(seen[1]), protocol=protocol)
            counts = count(values_, mine, most, ranked & counted)
            found[protocol.name] = jax.tree.map(lambda x: lax.psum(x, "items"), counts)
        for name, drawn in negatives.items():
            found[name] = count(scored(drawn), mine, most, drawn > 0)
        return jax.tree.map(lambda x: lax.all_gather(x, "data", tiled=True), found)

    inputs = PartitionSpec("data", "items"), BATCH, BATCH, WHOLE, BATCH
    return on_shards(shard, layout, inputs, WHOLE)(values, items, targets, seen, negatives)


def _of_all_items(array: Array) -> Array:
    return gathered(array, BATCH)
