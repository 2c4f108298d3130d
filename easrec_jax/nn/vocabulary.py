"""Cross entropy over all items whose table lies on several devices by rows (vocabulary-parallel, as Megatron-LM has it).

Each device scores the targets by its own rows, a chunk of them at a time with a running maximum and sum, so no scores leave a
device and no `[targets, items]` array exists. The gradient scores once more, with the normaliser known: four products of
`2 targets items width` FLOPs over all devices, where one device does with three.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import PartitionSpec

from easrec_jax.nn.teacher import Teacher
from easrec_jax.parallel.layout import BATCH, TABLES, WHOLE, Layout
from easrec_jax.parallel.tables import RowTable, gathered, local_rows, on_shards, scattered

ROWS = 1024  # of a device's table, scored at a time
LOWEST = float(np.finfo(np.float32).min)


class _Part(NamedTuple):
    """What a device knows: its rows of the table, and the targets of all that share the table with it."""

    hidden: Array  # [targets width]
    rows: Array  # [local rows, width]
    targets: Array  # [targets]
    taught_hidden: Array | None = None  # the teacher's
    taught_rows: Array | None = None


class _Norms(NamedTuple):
    """log of the sum of exp(score) over all items, [targets]: of the network, of the teacher."""

    mine: Any  # [targets], or how they are cut
    taught: Any = None


def vocabulary_cross_entropy(
    hidden: Array, table: RowTable, targets: Array, teacher: Teacher | None = None, chunk: int = ROWS
) -> Array:
    """`losses.cross_entropy` by a `RowTable`; `chunk` rows of each device are scored at a time."""
    theirs, share = None, jnp.zeros(())
    if teacher is not None:
        assert isinstance(teacher.table, RowTable)
        theirs, share = (teacher.hidden, teacher.table.rows), jnp.asarray(teacher.share)
    return _loss((hidden, table.rows), targets, theirs, share, table.layout, chunk)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _loss(own: Any, targets: Array, theirs: Any, share: Array, layout: Layout, chunk: int) -> Array:
    return _forward(own, targets, theirs, share, layout, chunk)[0]


def _forward(own: Any, targets: Array, theirs: Any, share: Array, layout: Layout, chunk: int):
    cut = layout.spread_over(len(targets))
    users = PartitionSpec("data") if cut == BATCH else WHOLE

    def measure(own: Any, targets: Array, theirs: Any, share: Array) -> tuple[Array, _Norms]:
        part = _part(own, targets, theirs, cut)
        norms, agreed = _norms(part, layout, chunk)
        weight, at, here = _weight(part, cut), *local_rows(part.targets, len(part.rows))
        scores = lax.psum(jnp.where(here, jnp.sum(part.hidden * part.rows[at], -1), 0.0), "items")
        losses = weight * (norms.mine - share * agreed) - (1.0 - share) * weight * scores
        return over_data(jnp.sum(losses), cut), norms

    inputs = (cut, TABLES), cut, None if theirs is None else (cut, TABLES), WHOLE
    loss, norms = on_shards(measure, layout, inputs, (WHOLE, _Norms(users, None if theirs is None else users)))(
        own, targets, theirs, share
    )
    return loss, (own, targets, theirs, share, norms)


def _backward(layout: Layout, chunk: int, kept: Any, upstream: Array):
    own, targets, theirs, share, norms = kept
    cut = layout.spread_over(len(targets))
    users = PartitionSpec("data") if cut == BATCH else WHOLE

    def gradient(own: Any, targets: Array, theirs: Any, share: Array, norms: _Norms) -> tuple[Array, Array]:
        part = _part(own, targets, theirs, cut)
        weight, at, here = _weight(part, cut), *local_rows(part.targets, len(part.rows))

        def step(carry: tuple[Array, Array], start: Array, real: Array) -> tuple[Array, Array]:
            d_hidden, d_rows = carry
            rows, scores = _scored(part.hidden, part.rows, start, real)
            d_scores = jnp.exp(scores - norms.mine[:, None])
            if norms.taught is not None:
                taught = _scored(part.taught_hidden, part.taught_rows, start, real)[1]
                d_scores = d_scores - share * jnp.exp(taught - norms.taught[:, None])
            d_scores = weight[:, None] * d_scores
            d_chunk = lax.dynamic_slice_in_dim(d_rows, start, len(rows)) + d_scores.T @ part.hidden
            return d_hidden + d_scores @ rows, lax.dynamic_update_slice_in_dim(d_rows, d_chunk, start, 0)

        zeros = jnp.zeros_like(part.hidden), jnp.zeros_like(part.rows)
        d_hidden, d_rows = _over_chunks(step, zeros, layout, len(part.rows), chunk)
        kept = jnp.where(here, (1.0 - share) * weight, 0.0)[:, None]
        d_hidden = scattered(d_hidden - kept * part.rows[at], cut)
        return d_hidden, over_data(d_rows.at[at].add(-kept * part.hidden), cut)

    taught = None if theirs is None else (cut, TABLES)
    norms_cut = _Norms(users, None if theirs is None else users)
    inputs = (cut, TABLES), cut, taught, WHOLE, norms_cut
    d_hidden, d_rows = on_shards(gradient, layout, inputs, (cut, TABLES))(own, targets, theirs, share, norms)
    return (upstream * d_hidden, upstream * d_rows), None, *jax.tree.map(jnp.zeros_like, (theirs, share))


_loss.defvjp(_forward, _backward)


def over_data(value: Array, cut: PartitionSpec) -> Array:
    """Within `on_shards`: the sum over the parts of the batch, of which each copy of the table has one."""
    return lax.psum(value, "data") if cut == BATCH else value


def _part(own: Any, targets: Array, theirs: Any, cut: PartitionSpec) -> _Part:
    hidden, rows = own
    part = _Part(gathered(hidden, cut), rows, gathered(targets, cut))
    return part if theirs is None else part._replace(taught_hidden=gathered(theirs[0], cut), taught_rows=theirs[1])


def _weight(part: _Part, cut: PartitionSpec) -> Array:
    """Of each target in the loss: one over the number of real ones, 0 of others."""
    real = part.targets > 0
    return jnp.where(real, 1.0 / jnp.maximum(over_data(jnp.sum(real), cut), 1), 0.0)


def _over_chunks(step: Callable, start: Any, layout: Layout, count: int, chunk: int) -> Any:
    """`step(carry, start, which of the chunk's rows count)` over the `count` rows of this device."""
    size, first = min(chunk, count), lax.axis_index("items") * count

    def body(number: Array, carry: Any) -> Any:
        at = jnp.minimum(number * size, count - size)  # the last chunk overlaps the one before
        row = at + jnp.arange(size)
        item = first + row
        return step(carry, at, (row >= number * size) & (item > 0) & (item <= layout.num_items))

    return lax.fori_loop(0, -(-count // size), body, start)


def _scored(hidden: Any, table: Any, start: Array, real: Array) -> tuple[Array, Array]:
    """(a chunk of the table's rows, what they score), -inf of rows that do not count."""
    rows = lax.dynamic_slice_in_dim(table, start, len(real))
    return rows, jnp.where(real[None, :], hidden @ rows.T, -jnp.inf)


def _norms(part: _Part, layout: Layout, chunk: int) -> tuple[_Norms, Array]:
    """(the normalisers, the teacher's mean of the network's scores, 0 without one), [targets] each, over all items."""
    low, zero = jnp.full(len(part.targets), LOWEST), jnp.zeros(len(part.targets))

    def step(carry: Any, start: Array, real: Array) -> Any:
        mine, taught, agreed = carry
        _, scores = _scored(part.hidden, part.rows, start, real)
        mine, _, _ = _grown(mine, scores)
        if part.taught_hidden is not None:
            _, words = _scored(part.taught_hidden, part.taught_rows, start, real)
            taught, shrunk, exps = _grown(taught, words)
            agreed = agreed * shrunk + jnp.sum(jnp.where(real[None, :], exps * scores, 0.0), -1)
        return mine, taught, agreed

    mine, taught, agreed = _over_chunks(step, ((low, zero), (low, zero), zero), layout, len(part.rows), chunk)
    norm, _, _ = _merged(mine)
    if part.taught_hidden is None:
        return _Norms(norm), agreed
    taught_norm, scale, total = _merged(taught)
    return _Norms(norm, taught_norm), lax.psum(agreed * scale, "items") / total


def _grown(of: tuple[Array, Array], scores: Array) -> tuple[tuple[Array, Array], Array, Array]:
    """((the maximum, the sum of exp(score - maximum)) with these scores in it, by what older sums shrink, the exps of these)."""
    highest, total = of
    now = jnp.maximum(highest, jnp.max(scores, -1))
    shrunk, exps = jnp.exp(highest - now), jnp.exp(scores - now[:, None])
    return (now, total * shrunk + jnp.sum(exps, -1)), shrunk, exps


def _merged(of: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    """(log of the sum over all devices, by what this device's sums shrink, the sum so shrunk)."""
    highest, total = of
    most = lax.pmax(highest, "items")
    scale = jnp.exp(highest - most)
    total = lax.psum(total * scale, "items")
    return jnp.log(total) + most, scale, total
