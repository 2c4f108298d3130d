"""One step of training a network: the loss, its gradient, the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import optax
from jax import Array

from easrec_jax.data.batches import Batch
from easrec_jax.models.encoder import Encoder
from easrec_jax.models.network import item_table
from easrec_jax.nn.losses import CHUNK, Teacher, cross_entropy
from easrec_jax.parallel.layout import Layout
from easrec_jax.parallel.tables import spread


class TrainState(NamedTuple):
    """Everything a training step reads and writes."""

    step: Array  # int32 []
    weights: Any
    opt: optax.OptState


def next_item_loss(
    weights: dict, encode: Callable[..., Array], encode_last: Callable[..., Array], batch: Batch,
    teacher: Teacher | None = None,
) -> Array:  # fmt: skip
    """Cross entropy of the batch, with a teacher's word in it or without; both encoders are `items -> hidden`, and the shape of the
    targets says which applies."""
    hidden = encode_last(batch.items) if batch.targets.ndim == 1 else encode(batch.items)
    flat = hidden.reshape(-1, hidden.shape[-1])
    return cross_entropy(flat, item_table(weights), batch.targets.reshape(-1), CHUNK, teacher)


# (weights, encoder, batch, key, data) -> []; the key is consumed
Loss = Callable[[Any, Encoder, Batch, Array, Any], Array]


def softmax_loss(weights: Any, encoder: Encoder, batch: Batch, key: Array, data: None = None) -> Array:
    """`next_item_loss` of a network, with dropout."""

    def method(encode: Callable) -> Callable[[Array], Array]:
        return lambda items: encode(weights, items, key=key)

    return next_item_loss(weights, method(encoder.encode), method(encoder.encode_last), batch)


@partial(jax.jit, static_argnames=("encoder", "tx", "loss", "layout"), donate_argnames="state")
def train_step(
    state: TrainState,
    batch: Batch,
    key: Array,
    data: Any = None,
    *,
    encoder: Encoder,
    tx: optax.GradientTransformation,
    loss: Loss = softmax_loss,
    layout: Layout | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """One optimiser step of a network; `data` is what the loss reads beside the batch, a pytree.

    The loss's key is `fold_in(key, step)`: a resumed run sees the same randomness. With a layout, state and batch are placed by it.
    """
    step_key = jax.random.fold_in(key, state.step)

    def loss_of(weights: Any) -> Array:
        return loss(spread(weights, layout), encoder, batch, step_key, data)

    value, grads = jax.value_and_grad(loss_of)(state.weights)
    updates, opt = tx.update(grads, state.opt, state.weights)
    state = TrainState(state.step + 1, optax.apply_updates(state.weights, updates), opt)
    return state if layout is None else layout.keep(state), {"loss": value}


@lru_cache(maxsize=64)
def optimizer(
    learning_rate: float,
    schedule: str,
    warmup_steps: int,
    total_steps: int,
    weight_decay: float,
    clip_norm: float = 0.0,
) -> optax.GradientTransformation:
    """Adam at the rate of `rate_schedule`, `clipped`."""
    rate = rate_schedule(learning_rate, schedule, warmup_steps, total_steps)
    return clipped(optax.adamw(rate, weight_decay=weight_decay) if weight_decay else optax.adam(rate), clip_norm)


def rate_schedule(learning_rate: float, schedule: str, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """A linear warm-up, then a constant rate or a cosine to zero at `total_steps`."""
    warmup_steps = min(warmup_steps, total_steps // 2)
    if schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(warmup_steps, 1), max(total_steps, 2))
    return optax.schedules.warmup_constant_schedule(0.0, learning_rate, max(warmup_steps, 1))


def clipped(tx: optax.GradientTransformation, norm: float) -> optax.GradientTransformation:
    """The optimiser behind a limit of the gradient's global norm; itself, with its state as it was, for 0."""
    return optax.chain(optax.clip_by_global_norm(norm), tx) if norm else tx
