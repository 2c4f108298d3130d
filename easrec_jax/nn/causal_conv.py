"""Dilated convolutions over the events so far: of the whole sequence, or of one more event."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from easrec_jax.nn.block import Mask
from easrec_jax.nn.dense import Dense

Hidden = Float[Array, "batch length width"]


def read_back(x: Hidden, taps: int, dilation: int) -> list[Array]:
    """`x` as it was (taps - 1) * dilation events ago, ..., dilation events ago, now: [batch length width] each, zero before the first."""
    length = x.shape[1]
    lags = [(taps - 1 - tap) * dilation for tap in range(taps)]
    padded = jnp.pad(x, ((0, 0), (lags[0], 0), (0, 0)))
    return [padded[:, lags[0] - lag : lags[0] - lag + length] for lag in lags]


def read_window(window: Float[Array, "batch events width"], taps: int, dilation: int) -> list[Array]:
    """The same for the last event of a window that reaches back far enough: [batch width] each."""
    last = window.shape[1] - 1
    return [window[:, last - (taps - 1 - tap) * dilation] for tap in range(taps)]


def latest(x: Hidden, mask: Mask, count: int) -> Float[Array, "batch count width"]:
    """The last `count` real events, oldest first, zeros before the first."""
    index = jnp.sum(mask, -1)[:, None] - count + jnp.arange(count)[None, :]
    rows = jnp.take_along_axis(x, jnp.maximum(index, 0)[..., None], 1)
    return jnp.where(index[..., None] >= 0, rows, 0.0)


class CausalConv(nn.Module):
    """A convolution of `taps` events, `dilation` apart, up to the one that it is read at; every channel reads every channel.

    One product of all taps' channels together, given as `read_back` or `read_window` has them.
    """

    width: int
    taps: int

    def setup(self):
        self.product = Dense(self.taps * self.width, self.width)

    def __call__(self, taps: list[Array]) -> Array:
        """Outputs at the events that the last tap stands for."""
        return self.product(jnp.concatenate(taps, -1))
