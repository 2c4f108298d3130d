"""The pieces of a transformer layer: dropout, embedding, data-aware gates, the block (EASRec, Eq. 3-4 and 6-9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from easrec_jax.architecture import Architecture
from easrec_jax.nn.attention import MODES, default_decay

GATE_SCALE = 2.0  # gamma of Eq. 6: a fresh gate is the identity on average
# jitted, so that each shape is one small program
normal_init = jax.jit(nn.initializers.normal(0.02), static_argnums=1)  # embeddings
glorot_init = jax.jit(
    nn.initializers.glorot_normal(), static_argnums=1
)  # products: they leave the plateau of mere popularity sooner than 0.02

Hidden = Float[Array, "batch length width"]
Vector = Float[Array, "batch width"]
Mask = Bool[Array, "batch length"]


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


class Dense(nn.Module):
    """x W + b over flattened tokens: a backward product over two token axes would cost XLA a copy (twice the time on CPU)."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", glorot_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return (x.reshape(-1, x.shape[-1]) @ kernel + bias).reshape(*x.shape[:-1], self.features)


class LayerNorm(nn.Module):
    """Layer norm over channels, epsilon 1e-6."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        centred = x - jnp.mean(x, -1, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + 1e-6)
        return centred * inverse * scale + bias


class Gate(nn.Module):
    """Data-aware gate: gamma * sigmoid(relu(X W_1 + b_1) W_2 + b_2), or one layer of it (Eq. 6-7)."""

    features: int
    layers: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.layers == 2:
            x = nn.relu(Dense(x.shape[-1], name="middle")(x))
        return GATE_SCALE * nn.sigmoid(Dense(self.features, name="out")(x))


def apply(module: nn.Module, weights: Any, *args: Any, method: Callable | str, **kwargs: Any) -> Any:
    """`method` (or the one of that name) of a linen module under `weights`, a plain pytree."""
    return module.apply({"params": weights}, *args, method=method, **kwargs)


class BlockState(NamedTuple):
    """What a block keeps of a user's past: the attention's summary and the inputs its convolution still reads."""

    summary: Any
    recent: Float[Array, "batch lag width"]  # the last conv_width - 1 inputs, oldest first; lag 0 without convolution


class Block(nn.Module):
    """One transformer layer with data-aware gates (Eq. 6-9), post-norm.

    `x` is the layer's input, `embedded` the embedded events that the gates perceive, the same at every depth.
    Three entry points are one function: `__call__` at all positions, `last` at the last real position alone,
    `step` for one more event.
    """

    width: int
    inner: int
    heads: int
    attention: str
    gate_layers: int
    conv_width: int = 0
    learn_decay: bool = False
    dropout: float = 0.0

    def setup(self):
        # one product each: fused, their gradients would have to be glued together, which costs more than it saves
        self.query, self.key, self.value, self.merge = (Dense(self.width) for _ in range(4))
        self.attention_norm, self.output_norm = LayerNorm(), LayerNorm()
        self.expand, self.contract = Dense(self.inner), Dense(self.width)
        if self.gate_layers:
            self.gate_hidden = Gate(self.width, self.gate_layers)
            self.gate_inner = Gate(self.inner, self.gate_layers)
        if self.conv_width:
            # starts as the identity: the last tap reads the event itself
            self.taps = self.param("taps", lambda _: jnp.zeros((self.conv_width, self.width)).at[-1].set(1.0))
        if self.learn_decay:
            start = jnp.clip(default_decay(self.heads), 0.0, 0.999)
            self.decay_logits = self.param("decay_logits", lambda _: jnp.log(start) - jnp.log1p(-start))

    def _decay(self) -> Array:
        return nn.sigmoid(self.decay_logits) if self.learn_decay else default_decay(self.heads)

    def _heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.heads, self.width // self.heads)

    def _keys_values(self, convolved: Array) -> tuple[Array, Array]:
        return self._heads(self.key(convolved)), self._heads(self.value(convolved))

    def _convolve(self, x: Array) -> Array:
        return convolve(self.taps, x) if self.conv_width else x

    def _feed_forward(self, x: Array, mixed: Array, embedded: Array, key: Array | None) -> Array:
        key_attention, key_output = split_key(key, 2)
        state = self.attention_norm(x + dropout(mixed, self.dropout, key_attention))
        hidden = self.gate_hidden(embedded) * state if self.gate_layers else state
        hidden = nn.gelu(self.expand(hidden), approximate=False)
        hidden = self.gate_inner(embedded) * hidden if self.gate_layers else hidden
        return self.output_norm(state + dropout(self.contract(hidden), self.dropout, key_output))

    def __call__(self, x: Hidden, embedded: Hidden, mask: Mask, *, key: Array | None = None) -> Hidden:
        """Outputs at all positions; a key switches dropout on and is consumed."""
        convolved = self._convolve(x)
        k, v = self._keys_values(convolved)
        mixed = MODES[self.attention].sequence(self._heads(self.query(convolved)), k, v, mask, self._decay())
        return self._feed_forward(x, self.merge(mixed.reshape(x.shape)), embedded, key)

    def last(self, x: Hidden, embedded: Hidden, mask: Mask, *, key: Array | None = None) -> Vector:
        """The output at the last real position: keys everywhere, one query, and values after the sum over positions.

        sum_s a_s (x_s W + b) = (sum_s a_s x_s) W + (sum_s a_s) b: one projection a user instead of one an event.
        """
        convolved = self._convolve(x)
        query = self._heads(self.query(pick_last(convolved, mask)))
        shares = MODES[self.attention].weights(query, self._heads(self.key(convolved)), mask, self._decay())
        pooled = jnp.einsum("bhl,blw->bhw", shares, convolved)
        value = self.value.variables["params"]
        kernel = value["kernel"].reshape(self.width, self.heads, -1)
        bias = value["bias"].reshape(self.heads, -1)
        mixed = jnp.einsum("bhw,whc->bhc", pooled, kernel) + jnp.sum(shares, -1)[..., None] * bias
        x_last, embedded_last = pick_last(x, mask), pick_last(embedded, mask)
        return self._feed_forward(x_last, self.merge(mixed.reshape(x_last.shape)), embedded_last, key)

    def states(self, x: Hidden, mask: Mask) -> BlockState:
        """The state after the last real position, no output."""
        k, v = self._keys_values(self._convolve(x))
        return BlockState(MODES[self.attention].summarize(k, v, mask, self._decay()), self._recent(x, mask))

    def step(self, x: Vector, embedded: Vector, state: BlockState) -> tuple[Vector, BlockState]:
        """The output for one more event and the state after it (causal modes)."""
        mode = MODES[self.attention]
        if mode.push is None:
            raise ValueError(f"attention {self.attention!r} cannot stream: a new event changes earlier outputs")
        convolved, recent = x, state.recent
        if self.conv_width:
            window = jnp.concatenate([recent, x[:, None]], 1)
            convolved, recent = jnp.sum(self.taps * window, 1), window[:, 1:]
        summary = mode.push(state.summary, *self._keys_values(convolved), self._decay())
        mixed = mode.read(self._heads(self.query(convolved)), summary)
        out = self._feed_forward(x, self.merge(mixed.reshape(x.shape)), embedded, None)
        return out, BlockState(summary, recent)

    def _recent(self, x: Array, mask: Array) -> Array:
        lag = max(self.conv_width - 1, 0)
        index = jnp.sum(mask, -1)[:, None] - lag + jnp.arange(lag)  # negative: before the first event, zero
        rows = jnp.take_along_axis(x, jnp.maximum(index, 0)[..., None], 1)
        return jnp.where(index[..., None] >= 0, rows, 0.0)


def convolve(taps: Float[Array, "taps width"], x: Hidden) -> Hidden:
    """Causal depthwise convolution: tap i reads the event `taps - 1 - i` back, zeros before the first."""
    count, length = taps.shape[0], x.shape[1]
    padded = jnp.pad(x, ((0, 0), (count - 1, 0), (0, 0)))
    read = [taps[i] * padded[:, i : i + length] for i in range(count)]
    return sum(read[1:], read[0])


def blocks_of(architecture: Architecture, dropout: float) -> list[Block]:
    """The layers of an architecture, first to last; to be called in a module's `setup`."""
    return [
        Block(
            architecture.width, inner, architecture.heads, architecture.attention, architecture.gate_layers,
            architecture.conv_width, architecture.learn_decay, dropout,
        )
        for inner in architecture.inner_sizes
    ]  # fmt: skip


def pick_last(x: Hidden, mask: Mask) -> Vector:
    """The entry at the last real position; position 0 of an empty row."""
    index = jnp.maximum(jnp.sum(mask, -1) - 1, 0)
    return jnp.take_along_axis(x, index[:, None, None], 1)[:, 0]


class Tables(nn.Module):
    """Item and position embeddings (Eq. 3-4). Row 0 of the items is padding: zero, and it stays zero."""

    num_items: int
    max_length: int
    width: int

    def setup(self):
        def items(key: Array) -> Array:
            return normal_init(key, (self.num_items + 1, self.width)).at[0].set(0.0)

        self.items = self.param("items", items)
        self.positions = self.param("positions", lambda key: normal_init(key, (self.max_length, self.width)))

    def __call__(self, items: Int[Array, "batch length"]) -> Hidden:
        """Sum of item and position embedding; padded positions are zero and send no gradient to row 0."""
        summed = self.items[items] + self.positions[: items.shape[1]]
        return jnp.where((items > 0)[..., None], summed, 0.0)

    def at(self, items: Int[Array, " batch"], positions: Int[Array, " batch"]) -> Vector:
        """The embedding of one event a user at its position; positions past the table use its last row."""
        return self.items[items] + self.positions[jnp.minimum(positions, self.max_length - 1)]


class EmbeddingNorm(nn.Module):
    """Layer norm and dropout after the embedding; each candidate norms its own slice."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        return dropout(LayerNorm(name="norm")(x), self.dropout, key)
