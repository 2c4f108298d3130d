"""The search of a `WideSpace`: thousands of networks in one elastic supernet, chosen by a distribution over them all.

As in Algorithm 1, weights learn on training batches and architecture parameters on validation batches, in turn. Changed,
as a mixture of thousands of networks cannot be computed: every step runs networks that are drawn, one for a weight step
and `DRAWS` for an architecture step, whose losses on one batch give the score-function gradient of the expected loss,
each network's baseline being the mean of the others (Kool et al., "Buy 4 REINFORCE samples, get a baseline for free!",
2019). The parameters are logits of each choice, those of the inner sizes by layer; a network's probability is the width's times
the product of its other choices' among the networks of that width within the budget, whose costs are exact. Without a
budget, lambda R (Eq. 15) is added to the loss of each.

Finalists differ in width or depth (`likeliest`). The most probable networks of all would be copies of one but for the choice
that matters least; and of two equally probable depths the shallow one would win, as a deep one's probability is shared by
all inner sizes of its layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from easrec_jax.config import SearchConfig
from easrec_jax.data.batches import Batch, Samples
from easrec_jax.evaluate.evaluator import Evaluator, ScoreFunction
from easrec_jax.models.cost import cost_table
from easrec_jax.models.elastic import encode, encode_last, extract, init_elastic
from easrec_jax.models.network import item_table
from easrec_jax.precision import in_float32
from easrec_jax.search.distribution import LOW, check_budget, resource
from easrec_jax.search.search import Found, SearchState, alternate, search, train_alone
from easrec_jax.space import FACTORS, SearchSpace, WideSpace
from easrec_jax.train.loop import Checkpoints, LoopState
from easrec_jax.train.step import clipped, next_item_loss

DRAWS = 4  # networks of an architecture step


class WideSearcher(NamedTuple):
    """What stays fixed during a search; hashable, a static argument of the steps."""

    space: WideSpace
    weights_tx: optax.GradientTransformation
    arch_tx: optax.GradientTransformation
    settings: SearchConfig
    dropout: float


class Table(NamedTuple):
    """The networks of the space as arrays on the device."""

    choices: Array  # int32 [networks, columns]
    costs: Array  # float32 [networks], over the largest network's
    allowed: Array  # bool [networks]


def init_logits(space: WideSpace) -> dict[str, Array]:
    """Uniform: one vector a factor, and [layers, inner sizes] for the inner sizes."""
    logits = {name: jnp.zeros(len(options)) for name, options in space.factors.items()}
    return logits | {"inner": jnp.zeros((space.num_layers, len(space.inners)))}


def network_logits(logits: dict[str, Array], choices: Array) -> Array:
    """log-probability of each network before the budget, [networks]: the sum of its choices'."""
    total = jnp.zeros(choices.shape[0])
    for column, name in enumerate(FACTORS):
        total = total + jax.nn.log_softmax(logits[name])[choices[:, column]]
    inner = choices[:, len(FACTORS) :]
    each = jnp.take_along_axis(jax.nn.log_softmax(logits["inner"])[None], jnp.maximum(inner, 0)[..., None], 2)[..., 0]
    return total + jnp.sum(jnp.where(inner >= 0, each, 0.0), 1)


def log_shares(logits: dict[str, Array], table: Table) -> Array:
    """log-probability of each network, [networks]; -inf beyond the budget.

    The width is drawn first, by its own probabilities, the rest among what the budget leaves that width (as `controllers.pair_logits`).
    """
    total = network_logits(logits, table.choices)
    of_width = (table.choices[:, 0] == jnp.arange(logits["width"].shape[0])[:, None]) & table.allowed
    left = jax.nn.logsumexp(jnp.where(of_width, total, LOW), 1)
    widths = jax.nn.log_softmax(jnp.where(of_width.any(1), logits["width"], LOW))
    shares = total + (widths - left)[table.choices[:, 0]]
    return jnp.where(table.allowed, shares, -jnp.inf)


def score_gradient(logits: dict[str, Array], drawn: Array, losses: Array, table: Table) -> dict[str, Array]:
    """Unbiased gradient of the expected loss from networks drawn independently and their losses, [draws] each."""
    draws = drawn.shape[0]
    advantages = (losses - jnp.mean(losses)) * draws / (draws - 1)  # each loss less the mean of the others
    return jax.grad(lambda logits: jnp.mean(advantages * log_shares(logits, table)[drawn]))(logits)


def _loss(weights: dict, choice: Array, batch: Batch, key: Array | None, searcher: WideSearcher) -> Array:
    options: Any = {"space": searcher.space, "rate": searcher.dropout, "key": key}
    return next_item_loss(
        weights,
        lambda items: encode(weights, items, choice, **options),
        lambda items: encode_last(weights, items, choice, **options),
        batch,
    )


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def weight_step(
    state: SearchState, batch: Batch, key: Array, table: Table, *, searcher: WideSearcher
) -> tuple[SearchState, dict[str, Array]]:
    """One update of the shared weights through one network drawn. Keys: `fold_in(key, step)`."""
    draw_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    choice = table.choices[jax.random.categorical(draw_key, log_shares(state.arch, table))]
    loss, grads = jax.value_and_grad(_loss)(state.weights, choice, batch, dropout_key, searcher)
    updates, opt = searcher.weights_tx.update(grads, state.weights_opt, state.weights)
    weights = optax.apply_updates(state.weights, updates)
    return state._replace(step=state.step + 1, weights=weights, weights_opt=opt), {"loss": loss}


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def architecture_step(
    state: SearchState, batch: Batch, key: Array, table: Table, *, searcher: WideSearcher
) -> tuple[SearchState, dict[str, Array]]:
    """One update of the logits by the losses of `DRAWS` networks on a validation batch.

    Without dropout, unlike `search.architecture_step`: here only losses are compared, and dropout's noise would be in each.
    """
    draw_key = jax.random.fold_in(key, state.step)
    drawn = jax.random.categorical(draw_key, log_shares(state.arch, table), shape=(DRAWS,))
    entropies = jax.lax.map(lambda n: _loss(state.weights, table.choices[n], batch, None, searcher), drawn)
    settings, losses = searcher.settings, entropies
    if settings.budget is None:
        losses = losses + price(table.costs[drawn], jnp.argmax(state.arch["depth"]) + 1, searcher.space, settings)
    grads = score_gradient(state.arch, drawn, losses, table)
    updates, opt = searcher.arch_tx.update(grads, state.arch_opt, state.arch)
    arch = optax.apply_updates(state.arch, updates)
    return state._replace(arch=arch, arch_opt=opt), {"architecture_loss": jnp.mean(entropies)}


@in_float32
def search_wide(
    space: WideSpace,
    samples: Samples,
    evaluator: Evaluator,
    *,
    settings: SearchConfig,
    dropout: float,
    seed: int,
    costs: np.ndarray | None = None,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    on_step: Callable[[dict], Any] | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
) -> Found:
    """`search.search` of a wide space, by settings.strategy "easrec" or "random"; finalists have `network`, a row of the choices.

    Each epoch the first of `likeliest` is evaluated with the shared weights; finalists are the first of them. `costs` [networks]
    are those of `cost.cost_table`. Raises `ValueError` if the budget is below the smallest network's cost.
    """
    costs = cost_table(space, evaluator.split.data.num_items, settings.cost) if costs is None else costs
    check_budget(costs, settings.budget)
    allowed = costs <= (np.inf if settings.budget is None else settings.budget)
    finish = partial(
        train_alone, cut=lambda weights, architecture: extract(weights, space, architecture), samples=samples,
        evaluator=evaluator, settings=settings, dropout=dropout, seed=seed, checkpoints=checkpoints, resume=resume,
        on_step=on_step,
    )  # fmt: skip
    if settings.strategy == "random":
        drawn = np.random.default_rng((seed, len(costs))).permutation(np.flatnonzero(allowed))[: settings.finalists]
        finalists = [_entry(int(n), space, costs) for n in drawn]
        best, finished = finish(finalists, None, epochs=settings.epochs, on_network=on_epoch)
        return Found(space.architecture(int(best["network"])), finalists, None, None, settings.epochs, finished)

    table = Table(jnp.asarray(space.choices), jnp.asarray(costs, jnp.float32), jnp.asarray(allowed))
    loop = _train(
        space, samples, evaluator, table, settings=settings, dropout=dropout, seed=seed,
        checkpoints=checkpoints, resume=resume, on_step=on_step, on_epoch=on_epoch,
    )  # fmt: skip
    state, finished = loop.state, bool(loop.finished)
    shares = np.exp(np.asarray(log_shares(state.arch, table), np.float64))
    picks = likeliest(shares, space.choices)[: settings.finalists]
    finalists = [_entry(n, space, costs) | {"probability": probability} for n, probability in picks]
    if settings.budget is None:
        for entry, (n, _) in zip(finalists, picks, strict=True):
            entry["price"] = float(price(entry["cost"], space.architecture(n).depth, space, settings))
    best = finalists[0]
    if finished and len(finalists) > 1:
        best, finished = finish(finalists, state.weights, epochs=settings.finalist_epochs)
    architecture = space.architecture(int(best["network"]))
    return Found(architecture, finalists, state.weights, state.arch, int(loop.epochs_done), finished)


def price(costs: Any, depth: Any, space: WideSpace, settings: SearchConfig) -> Any:
    """lambda R of networks of these costs, L_t being `depth` (Eq. 15)."""
    return settings.cost_weight * resource(costs, depth, space.num_layers, dynamic=settings.dynamic)


def likeliest(shares: np.ndarray, choices: np.ndarray) -> list[tuple[int, float]]:
    """The most probable network of each (width, depth) and that pair's probability, the most probable pair first.

    `shares` [networks] are the networks' probabilities; pairs of which no network has any are left out. In the paper's space,
    where a pair is a network, this is Eq. 18.
    """
    pairs, of = np.unique(choices[:, :2], axis=0, return_inverse=True)
    probabilities = np.bincount(of.ravel(), shares)
    members = [np.flatnonzero(of.ravel() == pair) for pair in range(len(pairs))]
    order = [int(pair) for pair in np.argsort(-probabilities, kind="stable") if probabilities[pair] > 0]
    return [(int(members[pair][np.argmax(shares[members[pair]])]), float(probabilities[pair])) for pair in order]


def _entry(network: int, space: WideSpace, costs: np.ndarray) -> dict:
    architecture = space.architecture(network)
    return {"network": network, "cost": float(costs[network]), "architecture": architecture.to_json()}


@lru_cache(maxsize=16)
def make_searcher(space: WideSpace, settings: SearchConfig, dropout: float) -> WideSearcher:
    """Adam for both parameter sets, each with its own rate; one object a setting, so that nothing recompiles."""
    weights_tx = clipped(optax.adam(settings.learning_rate), settings.clip_norm)
    arch_tx = optax.adam(settings.arch_learning_rate)
    return WideSearcher(space, weights_tx, arch_tx, settings, dropout)


@lru_cache(maxsize=16)
def elastic_scores(space: WideSpace) -> ScoreFunction:
    """As `train.network_scores`, of whichever network: its weights are (the elastic ones, a choice)."""

    def scores(weights: tuple[dict, Array], items: Array) -> Array:
        return encode_last(weights[0], items, weights[1], space=space) @ item_table(weights[0]).T

    return scores


def _train(
    space: WideSpace, samples: Samples, evaluator: Evaluator, table: Table, *, settings: SearchConfig, dropout: float,
    seed: int, **options: Any,
) -> LoopState:  # fmt: skip
    """`search.alternate` over the elastic supernet; `options` are those of `run_epochs`."""
    init_key, weight_key, arch_key = jax.random.split(jax.random.key(seed), 3)
    searcher = make_searcher(space, settings, dropout)
    weights, arch = init_elastic(space, evaluator.split.data.num_items, init_key), init_logits(space)
    state = SearchState(jnp.int32(0), weights, searcher.weights_tx.init(weights), arch, searcher.arch_tx.init(arch))

    def evaluate(state: SearchState) -> dict:
        record, network = describe_state(state, space, table)
        results = evaluator(elastic_scores(space), (state.weights, table.choices[network]))
        return record | {"validation": results, "ndcg@10": results[evaluator.protocols[0]]["ndcg@10"]}

    return alternate(
        state,
        lambda state, batch: weight_step(state, batch, weight_key, table, searcher=searcher),
        lambda state, batch: architecture_step(state, batch, arch_key, table, searcher=searcher),
        evaluate, space=space, samples=samples, split=evaluator.split, settings=settings, seed=seed, **options,
    )  # fmt: skip


def describe_state(state: SearchState, space: WideSpace, table: Table) -> tuple[dict, int]:
    """Shares of every choice, expected and picked cost as plain numbers for a log; and the first of `likeliest`."""
    shares = np.exp(np.asarray(log_shares(state.arch, table), np.float64))
    choices, costs = np.asarray(table.choices), np.asarray(table.costs, np.float64)
    pick = likeliest(shares, choices)[0][0]
    of = {
        name: [float(shares[choices[:, column] == option].sum()) for option in range(len(options))]
        for column, (name, options) in enumerate(space.factors.items())
    }
    first = len(space.factors)
    inner = [
        [float(shares[choices[:, first + layer] == option].sum()) for option in range(len(space.inners))]
        for layer in range(space.num_layers)
    ]  # a layer's shares sum to the probability that it is there
    record = {
        "shares": of | {"inner": inner},
        "expected_cost": float(shares @ costs),
        "pick": {"network": pick, "what": space.architecture(pick).describe(), "cost": float(costs[pick])},
    }
    return record, pick


def search_any(space: SearchSpace | WideSpace, samples: Samples, evaluator: Evaluator, **options: Any) -> Found:
    """`search` or `search_wide`, whichever the space asks for; both take the same options."""
    return (search_wide if isinstance(space, WideSpace) else search)(space, samples, evaluator, **options)  # type: ignore[arg-type]
