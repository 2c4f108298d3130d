"""The two steps of Algorithm 1: weights on a training batch, architecture parameters on a validation batch.

What a weight step trains is what the strategy draws, or with `search.training sandwich` what `nas/sandwich.py` says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from easrec_jax.config import SearchConfig
from easrec_jax.data.batches import Batch
from easrec_jax.data.item_inputs import ItemInputs
from easrec_jax.models.encoder import Layered, Supernet
from easrec_jax.models.item_features import with_features
from easrec_jax.models.supernet import computed
from easrec_jax.nas.distribution import Table
from easrec_jax.nas.sandwich import sandwich_loss
from easrec_jax.nas.strategies.strategy import Moment, Strategy, one_at_a_time
from easrec_jax.nn.losses import Teacher
from easrec_jax.parallel.layout import Layout
from easrec_jax.parallel.tables import spread
from easrec_jax.train.distillation import teachers_word
from easrec_jax.train.featured import Known
from easrec_jax.train.step import clipped, next_item_loss, rate_schedule


class SearchState(NamedTuple):
    """Everything the two steps read and write: two pytrees of parameters, two optimisers."""

    step: Array  # int32 []
    weights: Any
    weights_opt: optax.OptState
    arch: Any  # the strategy's parameters
    arch_opt: optax.OptState
    # how often mixtures computed each block, {"weight", "architecture"}: int32 [candidates depths]; nothing where none are computed
    computed: dict[str, Array]


class Searcher(NamedTuple):
    """What stays fixed during a search; hashable, a static argument of the steps."""

    supernet: Supernet
    weights_tx: optax.GradientTransformation
    arch_tx: optax.GradientTransformation
    settings: SearchConfig
    strategy: Strategy
    span: tuple[int, int]  # weight steps done before the first architecture step, and at the last one
    teacher: Layered | None = None  # whose scores have `share` of what is learned
    share: float = 0.0
    layout: Layout | None = None  # of state and batches on several devices


WARMUP_STEPS = 100  # of a schedule


@lru_cache(maxsize=16)
def make_searcher(
    supernet: Supernet,
    settings: SearchConfig,
    strategy: Strategy,
    span: tuple[int, int],
    teacher: Layered | None = None,
    share: float = 0.0,
    layout: Layout | None = None,
) -> Searcher:
    """Adam for both parameter sets, each with its own rate; one object a setting, so that nothing recompiles."""
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        rate = rate_schedule(rate, "cosine", WARMUP_STEPS, span[1])
    weights_tx = clipped(optax.adam(rate), settings.clip_norm)
    arch_tx = optax.adam(settings.arch_learning_rate)
    strategy = strategy if supernet.mixes else one_at_a_time(strategy)
    return Searcher(supernet, weights_tx, arch_tx, settings, strategy, span, teacher, share, layout)


def init_search(searcher: Searcher, key: Array, inputs: ItemInputs | None = None) -> SearchState:
    """Fresh weights, of item features too where there are any, the strategy's first parameters; the key is consumed."""
    space = searcher.supernet.space
    weights, arch = with_features(searcher.supernet.init(key), inputs), searcher.strategy.init(space)
    kinds = ("weight", "architecture") if searcher.supernet.mixes else ()
    counts = {kind: jnp.zeros(space.shape, jnp.int32) for kind in kinds}
    return SearchState(
        jnp.int32(0), weights, searcher.weights_tx.init(weights), arch, searcher.arch_tx.init(arch), counts
    )


def moment_of(step: Array | int, table: Table, searcher: Searcher) -> Moment:
    """What the strategy knows at a step."""
    first, last = searcher.span
    progress = jnp.clip((step - first) / max(1, last - first), 0.0, 1.0)
    return Moment(step, progress, table, searcher.settings)


def _count(counts: dict[str, Array], kind: str, shares: Array) -> dict[str, Array]:
    return counts | {kind: counts[kind] + computed(shares)} if counts else counts


def supernet_loss(
    weights: Any, drawn: Array, batch: Batch, key: Array | None, supernet: Supernet, word: Teacher | None = None
) -> Array:
    """Cross entropy of a batch through what is drawn; a key switches dropout on and is consumed. `word`: what a teacher says of it."""

    def encoder(method: Callable) -> Callable[[Array], Array]:
        return lambda items: method(weights, items, drawn, key=key)

    return next_item_loss(weights, encoder(supernet.encode), encoder(supernet.encode_last), batch, word)


def _trained_on(searcher: Searcher, batch: Batch, known: Known | None) -> tuple[Supernet, Batch]:
    """The supernet and the batch that a step computes with: where items have features, over those with training events."""
    supernet: Any = searcher.supernet
    if known is None:
        return supernet, batch
    return dataclasses.replace(supernet, num_items=known.num_items), known.batch(batch)


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def weight_step(
    state: SearchState, batch: Batch, key: Array, table: Table, theirs: Any = None, known: Known | None = None, *,
    searcher: Searcher,
) -> tuple[SearchState, dict[str, Array]]:  # fmt: skip
    """One update of the shared weights on a training batch; `theirs`: the teacher's weights. Keys: `fold_in(key, step)`.

    `known`: the items with training events and their features, where the supernet has weights of features.
    """
    step_key, fold = jax.random.fold_in(key, state.step), _as_they_are
    if known is not None:
        step_key, id_key = jax.random.split(step_key)
        fold = partial(known.fold, key=id_key)
    draw_key, dropout_key = jax.random.split(step_key)
    counts, settings = state.computed, searcher.settings
    supernet, batch = _trained_on(searcher, batch, known)
    word, drawn = teachers_word(searcher.teacher, theirs, searcher.share, batch), None
    if settings.training == "sandwich":
        loss_of = partial(
            sandwich_loss, batch=batch, key=draw_key, table=table, supernet=supernet, share=settings.teacher,
            opened=state.step >= searcher.span[0], word=word,
        )  # fmt: skip
    else:
        drawn = searcher.strategy.draw(state.arch, draw_key, moment_of(state.step, table, searcher))
        loss_of = partial(supernet_loss, drawn=drawn, batch=batch, key=dropout_key, supernet=supernet, word=word)
    loss, grads = jax.value_and_grad(lambda weights: loss_of(spread(fold(weights), searcher.layout)))(state.weights)
    if drawn is not None:
        counts = _count(counts, "weight", drawn)
    updates, opt = searcher.weights_tx.update(grads, state.weights_opt, state.weights)
    weights = optax.apply_updates(state.weights, updates)
    state = state._replace(step=state.step + 1, weights=weights, weights_opt=opt, computed=counts)
    return _kept(state, searcher), {"loss": loss}


def _kept(state: SearchState, searcher: Searcher) -> SearchState:
    """The state as it was laid before the step."""
    return state if searcher.layout is None else searcher.layout.keep(state)


def _as_they_are(weights: Any) -> Any:
    return weights


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def architecture_step(
    state: SearchState, batch: Batch, key: Array, table: Table, theirs: Any = None, known: Known | None = None, *,
    searcher: Searcher,
) -> tuple[SearchState, dict[str, Array]]:  # fmt: skip
    """One first-order update of the architecture parameters on a validation batch, by the strategy's gradient."""
    strategy, moment = searcher.strategy, moment_of(state.step, table, searcher)
    supernet, batch = _trained_on(searcher, batch, known)
    weights = spread(state.weights if known is None else known.fold(state.weights), searcher.layout)
    word = teachers_word(searcher.teacher, theirs, searcher.share, batch)
    assert strategy.learn is not None

    def loss_of(drawn: Array, dropout_key: Array | None) -> Array:
        return supernet_loss(weights, drawn, batch, dropout_key, supernet, word)

    learned = strategy.learn(state.arch, jax.random.fold_in(key, state.step), moment, loss_of)
    updates, opt = searcher.arch_tx.update(learned.gradient, state.arch_opt, state.arch)
    stepped: Any = optax.apply_updates(state.arch, updates)
    arch = strategy.revise(stepped, moment)
    counts = _count(state.computed, "architecture", learned.drawn)
    state = state._replace(arch=arch, arch_opt=opt, computed=counts)
    return _kept(state, searcher), {"architecture_loss": learned.cross_entropy}
