"""Affine maps, norms and data-aware gates over the channels of each event (Eq. 6-7)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

# gamma of Eq. 6: a fresh gate is the identity on average
GATE_SCALE = 2.0
# Glorot's: products leave the plateau of mere popularity sooner than with 0.02. Jitted, so that each shape is one small program
glorot_init = jax.jit(nn.initializers.glorot_normal(), static_argnums=1)


def over_channels(channels: Array, x: Array) -> Array:
    """One number a channel, with an axis of size 1 for each other axis of `x`."""
    return jnp.expand_dims(channels, range(x.ndim - 1))


class Dense(nn.Module):
    """x W + b over flattened tokens: a backward product over two token axes would cost XLA a copy (twice the time on CPU).

    `kernel` is W [inputs features], `bias` b [features].
    """

    inputs: int
    features: int

    def setup(self):
        self.kernel = self.param("kernel", glorot_init, (self.inputs, self.features))
        self.bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))

    def __call__(self, x: Array) -> Array:
        flat = x.reshape(-1, x.shape[-1]) @ self.kernel + self.bias[None, :]
        return flat.reshape(*x.shape[:-1], self.features)


class LayerNorm(nn.Module):
    """Layer norm over channels, epsilon 1e-6."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        centred = x - jnp.mean(x, -1, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + 1e-6)
        return centred * inverse * over_channels(scale, x) + over_channels(bias, x)


class Gate(nn.Module):
    """Data-aware gate: gamma * sigmoid(relu(X W_1 + b_1) W_2 + b_2), or one layer of it (Eq. 6-7)."""

    features: int
    layers: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.layers == 2:
            x = nn.relu(Dense(x.shape[-1], x.shape[-1], name="middle")(x))
        return GATE_SCALE * nn.sigmoid(Dense(x.shape[-1], self.features, name="out")(x))
