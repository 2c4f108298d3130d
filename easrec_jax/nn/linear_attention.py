"""Linear attention with LinRec's feature maps and norms, over whole sequences and one event at a time.

`elu` and the norms are LinRec's (Liu et al., SIGIR 2023, Eq. 5 of EASRec); the causal form, the decay and the smooth norm
(`EPSILON`) are this project's. Axes and masks are those of `mixer.Mixer`; `decay` None is no decay, a factor of 1. The summary
has a constant size. Raises `ValueError` for float16 and bfloat16, whose precision the sums do not bear.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from easrec_jax.nn.mixer import Decay, Heads, Mask, Query, Weights

# What every squared norm gets: x / sqrt(x^2 + EPSILON) has a slope of at most 1 / sqrt(EPSILON) = 32, and an all-zero row or
# column gives zeros. A floor in its place is a step of slope 1 / sqrt(floor) at the first event of a history, where a
# column's norm is |k| alone. Squares of trained networks' keys are of size 0.1 to 10.
EPSILON = 1e-3
CHUNK = 64  # longest chunk of a causal sequence, positions


class LinearSummary(NamedTuple):
    """State after some events, of constant size."""

    memory: Float[Array, "batch heads channel channel"]  # sum of k v^T, decayed
    squares: Float[Array, "batch heads channel"]  # sum of k^2, decayed alike


def inverse_norm(squares: Array) -> Array:
    """1 / sqrt(squares + EPSILON): the one norm of all mixers and functions, so that they agree exactly."""
    return lax.rsqrt(squares + EPSILON)


def unit(x: Array) -> Array:
    """Rows of length 1, or 0."""
    return x * inverse_norm(jnp.sum(x * x, -1, keepdims=True))


def _elu(x: Array) -> Array:
    if x.dtype.itemsize < 4:
        raise ValueError(f"attention: expected float32 (the linear modes' sums need its precision), got {x.dtype.name}")
    # not minimum(x, 0): its gradient at 0 is one half
    positive = x > 0
    # within 1e-7 of expm1, at a third of its time
    return jnp.where(positive, x, jnp.exp(jnp.where(positive, 0.0, x)) - 1.0)


def feature(x: Array, mask: Array | None = None) -> Array:
    """elu, and zeros at padded positions."""
    x = _elu(x)
    return x if mask is None else jnp.where(mask[..., None, None], x, 0.0)


def causal_sequence(
    q: Heads, k: Heads, v: Heads, mask: Mask, decay: Decay | None = None, *, chunk: int = CHUNK
) -> Heads:
    """Linear attention over the prefix 0..t, column norms included, in chunks of at most `chunk` positions.

    out_t = 1/sqrt(d_h) * q_t / n_t . S_t,  S_t = r S_{t-1} + k_t v_t^T,  n_t^2 = r n_{t-1}^2 + k_t^2; without `decay`
    r = 1. Inside a chunk the sums are masked products, between chunks a short scan carries (S, n^2): `O(length)`.
    """
    batch, length, heads, channels = q.shape
    count = -(-length // chunk)
    size = -(-length // count)
    q, k, v = unit(feature(q)), feature(k, mask), jnp.where(mask[..., None, None], v, 0.0)
    pad = ((0, 0), (0, count * size - length), (0, 0), (0, 0))

    def chunked(x: Array) -> Array:
        """[batch heads chunk position channel]"""
        return jnp.pad(x, pad).reshape(batch, count, size, heads, channels).transpose(0, 3, 1, 2, 4)

    q, k, v = chunked(q), chunked(k), chunked(v)
    inside, from_start, to_end, whole = _decay_tables(decay, heads, size)

    squares = k * k
    local = jnp.einsum("hts,bhnsc->bhntc", inside, squares)
    memory = jnp.einsum("bhnsc,bhnsd->bhncd", k * to_end, v)
    before_memory, before_squares = _scan_chunks(memory, local[:, :, :, -1], whole)
    norms = local + from_start * before_squares[:, :, :, None]
    q = q * inverse_norm(norms)
    shares = jnp.einsum("bhntc,bhnsc->bhnts", q, k) * inside[None, :, None]
    out = jnp.einsum("bhnts,bhnsd->bhntd", shares, v)
    out = out + jnp.einsum("bhntc,bhncd->bhntd", q * from_start, before_memory)
    out = out.transpose(0, 2, 3, 1, 4).reshape(batch, count * size, heads, channels)[:, :length]
    return out * channels**-0.5


def _decay_tables(decay: Array | None, heads: int, size: int) -> tuple[Array, Array, Array, Array]:
    """r^(t-s) for s <= t [heads t s]; r^(t+1) and r^(size-1-t) [1 heads 1 t 1]; r^size [heads]."""
    steps = jnp.arange(size)
    gap = steps[None, :, None] - steps[None, None, :]
    if decay is None:
        ones = jnp.ones((1, heads, 1, size, 1))
        return jnp.broadcast_to(jnp.where(gap >= 0, 1.0, 0.0), (heads, size, size)), ones, ones, jnp.ones(heads)
    inside = jnp.where(gap >= 0, decay[:, None, None] ** jnp.maximum(gap, 0), 0.0)
    column = decay[None, :, None, None, None]
    steps = steps[None, None, None, :, None]
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


def _fade(mask: Mask, decay: Decay) -> Float[Array, "batch length heads"]:
    """r^(events since), 1 at the last real position."""
    age = jnp.sum(mask, -1, keepdims=True) - 1 - jnp.arange(mask.shape[1])[None, :]
    # a power costs several times as much
    return jnp.exp(jnp.maximum(age, 0)[..., None] * jnp.log(decay)[None, None, :])


def summarize(k: Heads, v: Heads, mask: Mask, decay: Decay | None) -> LinearSummary:
    """The sums after the last real event, each event faded by its age."""
    k, v = feature(k, mask), jnp.where(mask[..., None, None], v, 0.0)
    faded = k if decay is None else k * _fade(mask, decay)[..., None]
    return LinearSummary(jnp.einsum("blhc,blhd->bhcd", faded, v), jnp.sum(k * faded, 1))


def _scaled_query(q: Query, squares: Query) -> Query:
    return unit(_elu(q)) * inverse_norm(squares) * q.shape[-1] ** -0.5


def weights(q: Query, k: Heads, mask: Mask, decay: Decay | None) -> Weights:
    """What each value counts in the output of one query.

    Both sums run over all channels at once, each head's own ones being picked: products of heads would transpose `k`.
    """
    batch, length, heads, channels = k.shape
    k = _elu(k).reshape(batch, length, heads * channels)
    fade = jnp.ones((1, 1, heads)) if decay is None else _fade(mask, decay)
    fade = jnp.where(mask[..., None], fade, 0.0)
    channel, head = jnp.arange(heads * channels)[None, None, :], jnp.arange(heads)[None, :, None]
    own = channel // channels == head
    squares = jnp.sum(jnp.where(own, jnp.einsum("blh,blk->bhk", fade, k * k), 0.0), 1)
    q = _scaled_query(q, squares.reshape(q.shape)).reshape(batch, 1, -1)
    return jnp.einsum("bhk,blk->bhl", jnp.where(own, q, 0.0), k) * fade.transpose(0, 2, 1)


def read(q: Query, summary: LinearSummary) -> Query:
    """The output of one query against the sums."""
    q = _scaled_query(q, summary.squares)
    return jnp.einsum("bhc,bhcd->bhd", q, summary.memory)


def push(summary: LinearSummary, k: Query, v: Query, decay: Decay | None) -> LinearSummary:
    """The sums, faded once, and one more event's share."""
    k = _elu(k)
    fade = jnp.ones(k.shape[1]) if decay is None else decay
    memory = fade[None, :, None, None] * summary.memory + k[..., None] * v[..., None, :]
    return LinearSummary(memory, fade[None, :, None] * summary.squares + k * k)


def causal_token_flops(width: int, heads: int, length: int) -> int:
    """Of `causal_sequence` at one position: weights and norms inside its chunk, and both products with the memory."""
    chunk = -(-length // -(-length // CHUNK))
    return 6 * chunk * width + 4 * width * (width // heads)


def weight_flops(width: int, heads: int) -> int:
    """One event's part in `weights`: its share of each head's norms, and its product with each head's query."""
    return 4 * heads * width
