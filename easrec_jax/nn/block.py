"""One transformer layer (EASRec, Eq. 6-9) as all positions, the last one alone, or one more event."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from easrec_jax.architecture import Architecture
from easrec_jax.nn.dense import Dense, Gate, LayerNorm
from easrec_jax.nn.dropout import dropout, split_key
from easrec_jax.nn.mixer import Mixer, default_decay, find_mixer

Hidden = Float[Array, "batch length width"]
Vector = Float[Array, "batch width"]
Mask = Bool[Array, "batch length"]


class BlockState(NamedTuple):
    """What a block keeps of a user's past: the mixer's summary and the inputs its convolution still reads."""

    summary: Any
    recent: Float[Array, "batch lag width"]
    """The last conv_width - 1 inputs, oldest first; lag 0 without convolution."""


class Block(nn.Module):
    """One layer of an architecture with `inner` feed-forward channels and data-aware gates, post-norm.

    `x` is the layer's input, `embedded` the embedded events that the gates perceive, the same at every depth.
    Three entry points are one function: `__call__` at all positions, `last` at the last real position alone,
    `step` for one more event.
    """

    architecture: Architecture
    inner: int
    dropout: float = 0.0

    def setup(self):
        arch, width = self.architecture, self.architecture.width
        # one product each: fused, their gradients would have to be glued together, which costs more than it saves
        self.query, self.key, self.value, self.merge = (Dense(width, width) for _ in range(4))
        self.attention_norm, self.output_norm = LayerNorm(), LayerNorm()
        self.expand, self.contract = Dense(width, self.inner), Dense(self.inner, width)
        if arch.gate_layers:
            self.gate_hidden = Gate(width, arch.gate_layers)
            self.gate_inner = Gate(self.inner, arch.gate_layers)
        if arch.conv_width:
            # starts as the identity: the last tap reads the event itself
            self.taps = self.param("taps", lambda _: jnp.zeros((arch.conv_width, width)).at[-1].set(1.0))
        if arch.learn_decay:
            start = jnp.clip(default_decay(arch.heads), 0.0, 0.999)
            self.decay_logits = self.param("decay_logits", lambda _: jnp.log(start) - jnp.log1p(-start))

    @property
    def mixer(self) -> Mixer:
        """What mixes the events of this layer."""
        return find_mixer(self.architecture.attention)

    def _decay(self) -> Array:
        return (
            nn.sigmoid(self.decay_logits) if self.architecture.learn_decay else default_decay(self.architecture.heads)
        )

    def _heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.architecture.heads, -1)

    def _keys_values(self, convolved: Array) -> tuple[Array, Array]:
        return self._heads(self.key(convolved)), self._heads(self.value(convolved))

    def _convolve(self, x: Array) -> Array:
        return convolve(self.taps, x) if self.architecture.conv_width else x

    def _feed_forward(self, x: Array, mixed: Array, embedded: Array, key: Array | None) -> Array:
        key_attention, key_output = split_key(key, 2)
        state = self.attention_norm(x + dropout(mixed, self.dropout, key_attention))
        hidden = self.gate_hidden(embedded) * state if self.architecture.gate_layers else state
        hidden = nn.gelu(self.expand(hidden), approximate=False)
        hidden = self.gate_inner(embedded) * hidden if self.architecture.gate_layers else hidden
        return self.output_norm(state + dropout(self.contract(hidden), self.dropout, key_output))

    def __call__(self, x: Hidden, embedded: Hidden, mask: Mask, *, key: Array | None = None) -> Hidden:
        """Outputs at all positions; a key switches dropout on and is consumed."""
        convolved = self._convolve(x)
        k, v = self._keys_values(convolved)
        mixed = self.mixer.sequence(self._heads(self.query(convolved)), k, v, mask, self._decay())
        return self._feed_forward(x, self.merge(mixed.reshape(x.shape)), embedded, key)

    def last(self, x: Hidden, embedded: Hidden, mask: Mask, *, key: Array | None = None) -> Vector:
        """The output at the last real position: keys everywhere, one query, and values after the sum over positions.

        sum_s a_s (x_s W + b) = (sum_s a_s x_s) W + (sum_s a_s) b: one projection a user instead of one an event.
        """
        convolved = self._convolve(x)
        query = self._heads(self.query(pick_last(convolved, mask)))
        shares = self.mixer.weights(query, self._heads(self.key(convolved)), mask, self._decay())
        pooled = jnp.einsum("bhl,blw->bhw", shares, convolved)
        kernel, bias = self._heads(self.value.kernel), self._heads(self.value.bias)
        mixed = jnp.einsum("bhw,whc->bhc", pooled, kernel) + jnp.sum(shares, -1)[..., None] * bias[None]
        x_last, embedded_last = pick_last(x, mask), pick_last(embedded, mask)
        return self._feed_forward(x_last, self.merge(mixed.reshape(x_last.shape)), embedded_last, key)

    def states(self, x: Hidden, mask: Mask) -> BlockState:
        """The state after the last real position, no output."""
        k, v = self._keys_values(self._convolve(x))
        return BlockState(self.mixer.summarize(k, v, mask, self._decay()), self._recent(x, mask))

    def step(self, x: Vector, embedded: Vector, state: BlockState) -> tuple[Vector, BlockState]:
        """The output for one more event and the state after it (causal modes)."""
        push = self.mixer.push
        if push is None:
            name = self.architecture.attention
            raise ValueError(f"attention {name!r} cannot stream: a new event changes earlier outputs")
        convolved, recent = x, state.recent
        if self.architecture.conv_width:
            window = jnp.concatenate([recent, x[:, None]], 1)
            convolved, recent = jnp.sum(self.taps[None] * window, 1), window[:, 1:]
        summary = push(state.summary, *self._keys_values(convolved), self._decay())
        mixed = self.mixer.read(self._heads(self.query(convolved)), summary)
        out = self._feed_forward(x, self.merge(mixed.reshape(x.shape)), embedded, None)
        return out, BlockState(summary, recent)

    def _recent(self, x: Array, mask: Array) -> Array:
        lag = max(self.architecture.conv_width - 1, 0)
        # negative: before the first event, zero
        index = jnp.sum(mask, -1)[:, None] - lag + jnp.arange(lag)[None, :]
        rows = jnp.take_along_axis(x, jnp.maximum(index, 0)[..., None], 1)
        return jnp.where(index[..., None] >= 0, rows, 0.0)


def convolve(taps: Float[Array, "taps width"], x: Hidden) -> Hidden:
    """Causal depthwise convolution: tap i reads the event `taps - 1 - i` back, zeros before the first."""
    count, length = taps.shape[0], x.shape[1]
    padded = jnp.pad(x, ((0, 0), (count - 1, 0), (0, 0)))
    read = [taps[None, None, i] * padded[:, i : i + length] for i in range(count)]
    return sum(read[1:], read[0])


def blocks_of(architecture: Architecture, dropout: float) -> list[Block]:
    """The layers of an architecture, first to last; to be called in a module's `setup`."""
    return [Block(architecture, inner, dropout) for inner in architecture.inner_sizes]


def pick_last(x: Hidden, mask: Mask) -> Vector:
    """The entry at the last real position; position 0 of an empty row."""
    index = jnp.maximum(jnp.sum(mask, -1) - 1, 0)
    return jnp.take_along_axis(x, index[:, None, None], 1)[:, 0]
