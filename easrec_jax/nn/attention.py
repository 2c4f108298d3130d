"""Multi-head attention in four modes, each as whole-sequence and as constant-work-per-event functions (LinRec: EASRec, Eq. 5).

Every mode is an `AttentionMode`, five pure functions over per-head arrays:

- `sequence(q, k, v, mask, decay)`: the outputs at all positions;
- `weights(q, k, mask, decay)`: for one query after the last real position, what each value counts in its output;
- `summarize(k, v, mask, decay)`: what a query after the last real position needs to know, a pytree;
- `read(q, summary)`: the output of one query against a summary;
- `push(summary, k, v, decay)`: the summary after one more event.

`read(q_last, summarize(...))` and the sum of values under `weights` are `sequence(...)` at the last real position, so
inference pays for one query only. The summary of the linear modes has a constant size; softmax keeps its keys and values.

Axes: `batch length heads channel`, channels being those of one head (d_h). `mask` is true at real positions, which are
left-aligned. `decay` is one factor in (0, 1] a head; only `recent_linrec` uses it. `elu` feature maps and norms are
LinRec's (Liu et al., SIGIR 2023, Eq. 5 of EASRec); the causal form, the decay and the smooth norm (`EPSILON`) are this
project's. The linear modes raise `ValueError` for float16 and bfloat16; softmax answers in the dtype it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

# What every squared norm gets: x / sqrt(x^2 + EPSILON) has a slope of at most 1 / sqrt(EPSILON) = 32, and an all-zero row or
# column gives zeros. A floor in its place is a step of slope 1 / sqrt(floor) at the first event of a history, where a
# column's norm is |k| alone. Squares of trained networks' keys are of size 0.1 to 10.
EPSILON = 1e-3
CHUNK = 64  # longest chunk of the causal linear modes, positions

Heads = Float[Array, "batch length heads channel"]
Query = Float[Array, "batch heads channel"]
Mask = Bool[Array, "batch length"]
Decay = Float[Array, " heads"]


class LinearSummary(NamedTuple):
    """Constant-size state of the linear modes after some events."""

    memory: Float[Array, "batch heads channel channel"]  # sum of k v^T, decayed
    squares: Float[Array, "batch heads channel"]  # sum of k^2, decayed alike


class SoftmaxSummary(NamedTuple):
    """Keys and values so far; `count` says how many positions are real."""

    keys: Heads
    values: Heads
    count: Array  # int32 [batch]


class AttentionMode(NamedTuple):
    """The five functions of a mode; `push` is None where an event changes earlier outputs (bidirectional linrec)."""

    sequence: Callable
    weights: Callable
    summarize: Callable
    read: Callable
    push: Callable | None


def _inverse_norm(squares: Array) -> Array:
    """1 / sqrt(squares + EPSILON): the one norm of all modes and functions, so that they agree exactly."""
    return lax.rsqrt(squares + EPSILON)


def _unit(x: Array) -> Array:
    return x * _inverse_norm(jnp.sum(x * x, -1, keepdims=True))


def _elu(x: Array) -> Array:
    if x.dtype.itemsize < 4:
        raise ValueError(f"attention: expected float32 (the linear modes' sums need its precision), got {x.dtype.name}")
    positive = x > 0  # not minimum(x, 0): its gradient at 0 is one half
    # within 1e-7 of expm1, at a third of its time
    return jnp.where(positive, x, jnp.exp(jnp.where(positive, 0.0, x)) - 1.0)


def _feature(x: Array, mask: Array | None = None) -> Array:
    x = _elu(x)
    return x if mask is None else jnp.where(mask[..., None, None], x, 0.0)


def default_decay(heads: int) -> jax.Array:
    """Time scales of `recent_linrec`: r_h = 1 - 0.5 * 0.4^h, the last head at 1 (causal linrec itself)."""
    steps = jnp.arange(heads)
    return jnp.where(steps == heads - 1, 1.0, 1.0 - 0.5 * 0.4**steps)


# ---------------------------------------------------------------------------------------------- linear, whole sequence


def linrec(q: Heads, k: Heads, v: Heads, mask: Mask, decay: Decay | None = None) -> Heads:
    """Bidirectional LinRec (Eq. 5): every position reads all real positions. `O(length d_h^2)`."""
    summary = _summarize_linear(k, v, mask, None)
    q = _unit(_feature(q)) * _inverse_norm(summary.squares)[:, None]
    return jnp.einsum("blhc,bhcd->blhd", q, summary.memory) * q.shape[-1] ** -0.5


def causal_linear(q: Heads, k: Heads, v: Heads, mask: Mask, decay: Decay | None = None, *, chunk: int = CHUNK) -> Heads:
    """Linear attention over the prefix 0..t, column norms included, in chunks of at most `chunk` positions.

    out_t = 1/sqrt(d_h) * q_t / n_t . S_t,  S_t = r S_{t-1} + k_t v_t^T,  n_t^2 = r n_{t-1}^2 + k_t^2; without `decay`
    r = 1. Inside a chunk the sums are masked products, between chunks a short scan carries (S, n^2): `O(length)`.
    """
    batch, length, heads, channels = q.shape
    count = -(-length // chunk)
    size = -(-length // count)
    q, k, v = _unit(_feature(q)), _feature(k, mask), jnp.where(mask[..., None, None], v, 0.0)
    pad = ((0, 0), (0, count * size - length), (0, 0), (0, 0))

    def split(x: Array) -> Array:  # -> batch heads chunk position channel
        return jnp.pad(x, pad).reshape(batch, count, size, heads, channels).transpose(0, 3, 1, 2, 4)

    q, k, v = split(q), split(k), split(v)
    inside, from_start, to_end, whole = _decay_tables(decay, heads, size)

    squares = k * k
    local = jnp.einsum("hts,bhnsc->bhntc", inside, squares)
    memory = jnp.einsum("bhnsc,bhnsd->bhncd", k * to_end, v)
    before_memory, before_squares = _scan_chunks(memory, local[:, :, :, -1], whole)
    norms = local + from_start * before_squares[:, :, :, None]
    q = q * _inverse_norm(norms)
    weights = jnp.einsum("bhntc,bhnsc->bhnts", q, k) * inside[None, :, None]
    out = jnp.einsum("bhnts,bhnsd->bhntd", weights, v)
    out = out + jnp.einsum("bhntc,bhncd->bhntd", q * from_start, before_memory)
    out = out.transpose(0, 2, 3, 1, 4).reshape(batch, count * size, heads, channels)[:, :length]
    return out * channels**-0.5


def _decay_tables(decay: Array | None, heads: int, size: int) -> tuple[Array, Array, Array, Array]:
    """r^(t-s) for s <= t [heads t s]; r^(t+1) and r^(size-1-t) [heads 1 t 1]; r^size [heads]."""
    steps = jnp.arange(size)
    gap = steps[:, None] - steps
    if decay is None:
        ones = jnp.ones((heads, 1, size, 1))
        return jnp.broadcast_to(jnp.where(gap >= 0, 1.0, 0.0), (heads, size, size)), ones, ones, jnp.ones(heads)
    inside = jnp.where(gap >= 0, decay[:, None, None] ** jnp.maximum(gap, 0), 0.0)
    column = decay[:, None, None, None]
    steps = steps[None, None, :, None]
    return inside, column ** (steps + 1), column ** (size - 1 - steps), decay**size


def _scan_chunks(memory: Array, squares: Array, whole: Array) -> tuple[Array, Array]:
    """(S, n^2) before each chunk from the chunks' own sums; axis 2 is the chunk."""
    if memory.shape[2] == 1:
        return jnp.zeros_like(memory), jnp.zeros_like(squares)

    def step(carry: tuple[Array, Array], chunk: tuple[Array, Array]):
        nxt = (whole[None, :, None, None] * carry[0] + chunk[0], whole[None, :, None] * carry[1] + chunk[1])
        return nxt, carry

    chunks = (jnp.moveaxis(memory, 2, 0), jnp.moveaxis(squares, 2, 0))
    start = (jnp.zeros_like(chunks[0][0]), jnp.zeros_like(chunks[1][0]))
    _, (memory, squares) = lax.scan(step, start, chunks)
    return jnp.moveaxis(memory, 0, 2), jnp.moveaxis(squares, 0, 2)


# -------------------------------------------------------------------------------------------------- linear, one event


def _fade(mask: Mask, decay: Decay) -> Float[Array, "batch length heads"]:
    """r^(events since), 1 at the last real position."""
    age = jnp.sum(mask, -1, keepdims=True) - 1 - jnp.arange(mask.shape[1])
    return jnp.exp(jnp.maximum(age, 0)[..., None] * jnp.log(decay))  # a power costs several times as much


def _summarize_linear(k: Heads, v: Heads, mask: Mask, decay: Decay | None) -> LinearSummary:
    k, v = _feature(k, mask), jnp.where(mask[..., None, None], v, 0.0)
    faded = k if decay is None else k * _fade(mask, decay)[..., None]
    return LinearSummary(jnp.einsum("blhc,blhd->bhcd", faded, v), jnp.sum(k * faded, 1))


def _scaled_query(q: Query, squares: Query) -> Query:
    return _unit(_elu(q)) * _inverse_norm(squares) * q.shape[-1] ** -0.5


def _weights_linear(q: Query, k: Heads, mask: Mask, decay: Decay | None) -> Float[Array, "batch heads length"]:
    """Both sums run over all channels at once, each head's own ones being picked: products of heads would transpose `k`."""
    batch, length, heads, channels = k.shape
    k = _elu(k).reshape(batch, length, heads * channels)
    fade = jnp.ones((heads,)) if decay is None else _fade(mask, decay)
    fade = jnp.where(mask[..., None], fade, 0.0)
    own = jnp.arange(heads * channels) // channels == jnp.arange(heads)[:, None]  # [heads, heads * channels]
    squares = jnp.sum(jnp.where(own, jnp.einsum("blh,blk->bhk", fade, k * k), 0.0), 1)
    q = _scaled_query(q, squares.reshape(q.shape)).reshape(batch, 1, -1)
    return jnp.einsum("bhk,blk->bhl", jnp.where(own, q, 0.0), k) * fade.transpose(0, 2, 1)


def _read_linear(q: Query, summary: LinearSummary) -> Query:
    q = _scaled_query(q, summary.squares)
    return jnp.einsum("bhc,bhcd->bhd", q, summary.memory)


def _push_linear(summary: LinearSummary, k: Query, v: Query, decay: Decay | None) -> LinearSummary:
    k = _elu(k)
    fade = jnp.ones(k.shape[1]) if decay is None else decay
    memory = fade[:, None, None] * summary.memory + k[..., None] * v[..., None, :]
    return LinearSummary(memory, fade[:, None] * summary.squares + k * k)


# ------------------------------------------------------------------------------------------------------------ softmax


def _hidden(scores: Array) -> float:
    """The score of what is masked: finite, so that a row without events is no NaN."""
    return float(jnp.finfo(scores.dtype).min)


def softmax(q: Heads, k: Heads, v: Heads, mask: Mask, decay: Decay | None = None) -> Heads:
    """Causal scaled dot-product attention; padded keys are masked."""
    length = q.shape[1]
    scores = jnp.einsum("bthc,bshc->bhts", q, k) * q.shape[-1] ** -0.5
    visible = jnp.tril(jnp.ones((length, length), bool))[None, None] & mask[:, None, None, :]
    weights = jax.nn.softmax(jnp.where(visible, scores, _hidden(scores)), axis=-1)
    return jnp.einsum("bhts,bshc->bthc", weights, v)


def _summarize_softmax(k: Heads, v: Heads, mask: Mask, decay: Decay | None) -> SoftmaxSummary:
    return SoftmaxSummary(k, v, jnp.sum(mask, -1, dtype=jnp.int32))


def _weights_softmax(q: Query, k: Heads, mask: Mask, decay: Decay | None) -> Float[Array, "batch heads length"]:
    scores = jnp.einsum("bhc,blhc->bhl", q, k) * q.shape[-1] ** -0.5
    return jax.nn.softmax(jnp.where(mask[:, None], scores, _hidden(scores)), axis=-1)


def _read_softmax(q: Query, summary: SoftmaxSummary) -> Query:
    scores = jnp.einsum("bhc,bshc->bhs", q, summary.keys) * q.shape[-1] ** -0.5
    visible = jnp.arange(summary.keys.shape[1]) < summary.count[:, None]
    weights = jax.nn.softmax(jnp.where(visible[:, None], scores, _hidden(scores)), axis=-1)
    return jnp.einsum("bhs,bshc->bhc", weights, summary.values)


def _push_softmax(summary: SoftmaxSummary, k: Query, v: Query, decay: Decay | None) -> SoftmaxSummary:
    rows = jnp.arange(k.shape[0])
    keys = summary.keys.at[rows, summary.count].set(k, mode="drop")
    values = summary.values.at[rows, summary.count].set(v, mode="drop")
    return SoftmaxSummary(keys, values, summary.count + 1)


def _without_decay(function: Callable) -> Callable:
    def wrapped(*args):  # the last argument is the decay
        return function(*args[:-1], None)

    return wrapped


MODES: dict[str, AttentionMode] = {
    "softmax": AttentionMode(softmax, _weights_softmax, _summarize_softmax, _read_softmax, _push_softmax),
    "linrec": AttentionMode(
        linrec, _without_decay(_weights_linear), _without_decay(_summarize_linear), _read_linear, None
    ),
    "causal_linrec": AttentionMode(
        _without_decay(causal_linear), _without_decay(_weights_linear), _without_decay(_summarize_linear),
        _read_linear, _without_decay(_push_linear),
    ),
    "recent_linrec": AttentionMode(causal_linear, _weights_linear, _summarize_linear, _read_linear, _push_linear),
}  # fmt: skip
