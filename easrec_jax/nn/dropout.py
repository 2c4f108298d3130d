"""Dropout, and the keys that drive it: without a key nothing is random."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def dropout(x: Array, rate: float, key: Array | None) -> Array:
    """Zero a fraction of the entries and scale up the rest; no key: identity. The key is consumed.

    One random byte an entry (four from each 32-bit word, as the generator is what this costs), so the rate is a
    multiple of 1/256; the scale is exact for the rounded rate.
    """
    drop = round(rate * 256)
    if key is None or drop == 0:
        return x
    words = jax.random.bits(key, (-(-x.size // 4),))
    noise = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[: x.size].reshape(x.shape)
    return jnp.where(noise >= drop, x * (256.0 / (256 - drop)), 0.0)


def split_key(key: Array | None, count: int) -> list[Array | None]:
    """`count` keys, or as many Nones: without a key nothing is random."""
    return [None] * count if key is None else list(jax.random.split(key, count))
