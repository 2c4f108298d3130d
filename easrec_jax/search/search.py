"""The search (Algorithm 1): weights on training batches, architecture parameters on validation batches, in turn.

What is drawn and how the architecture parameters learn is a strategy's (`easrec_jax/search/strategies/`); EASRec is the default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from easrec_jax.architecture import Architecture
from easrec_jax.config import RetrainConfig, SearchConfig
from easrec_jax.data.batches import Batch, Samples, batches_per_epoch, endless_batch, epoch_batches, scoring_samples
from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.cost import cost_table
from easrec_jax.models.network import Network, init_network, network_scores
from easrec_jax.models.supernet import Supernet, computed, extract, init_supernet
from easrec_jax.nn.block import apply
from easrec_jax.precision import in_float32
from easrec_jax.search.distribution import Allowed, check_budget, most_probable, softmax_over_pairs
from easrec_jax.search.strategies import Moment, Strategy, find_strategy
from easrec_jax.space import SearchSpace, WideSpace
from easrec_jax.train.fit import fit, held_out_cross_entropy
from easrec_jax.train.loop import Checkpoints, LoopState, run_epochs
from easrec_jax.train.step import clipped, next_item_loss


class SearchState(NamedTuple):
    """Everything the two steps read and write: two pytrees of parameters, two optimisers."""

    step: Array  # int32 []
    weights: Any
    weights_opt: optax.OptState
    arch: Any  # the strategy's parameters
    arch_opt: optax.OptState
    computed: Any = ()  # how often each block was, by kind of step: `Supernet` steps count it as {kind: int32 [candidates depths]}


class Searcher(NamedTuple):
    """What stays fixed during a search; hashable, a static argument of the steps."""

    supernet: Supernet
    weights_tx: optax.GradientTransformation
    arch_tx: optax.GradientTransformation
    settings: SearchConfig
    strategy: Strategy
    span: tuple[int, int]  # weight steps done before the first architecture step, and at the last one


@lru_cache(maxsize=16)
def make_searcher(
    supernet: Any, settings: SearchConfig, strategy: Strategy | None = None, span: tuple[int, int] = (0, 1)
) -> Searcher:
    """Adam for both parameter sets, each with its own rate; one object a setting, so that nothing recompiles."""
    weights_tx = clipped(optax.adam(settings.learning_rate), settings.clip_norm)
    arch_tx = optax.adam(settings.arch_learning_rate)
    return Searcher(supernet, weights_tx, arch_tx, settings, strategy or find_strategy(settings.strategy), span)


def init_search(searcher: Searcher, key: Array) -> SearchState:
    """Fresh weights, uniform architecture parameters; the key is consumed."""
    weights = init_supernet(searcher.supernet, key)
    arch = searcher.strategy.init(searcher.supernet.space)
    size = searcher.supernet.space.num_candidates, searcher.supernet.space.num_layers
    none = {kind: jnp.zeros(size, jnp.int32) for kind in ("weight", "architecture")}
    return SearchState(
        jnp.int32(0), weights, searcher.weights_tx.init(weights), arch, searcher.arch_tx.init(arch), none
    )


def _count(state: SearchState, kind: str, shares: Array) -> dict[str, Array]:
    return state.computed | {kind: state.computed[kind] + computed(shares)}


def moment_of(step: Array | int, allowed: Allowed | None, searcher: Searcher) -> Moment:
    """What the strategy knows at a step."""
    first, last = searcher.span
    progress = jnp.clip((step - first) / max(1, last - first), 0.0, 1.0)
    temperature = searcher.strategy.temperature(step, progress, searcher.settings)
    return Moment(progress, temperature, allowed, searcher.settings)


def within_budget(costs: np.ndarray, budget: float | None) -> np.ndarray | None:
    """bool [candidates depths], the pairs that may be drawn; None without a budget."""
    return None if budget is None else costs <= budget


def _supernet_loss(weights: dict, shares: Array, batch: Batch, key: Array, supernet: Supernet) -> Array:
    size = supernet.space.num_candidates, supernet.space.num_layers
    if jnp.shape(shares) != size:
        raise ValueError(f"search.strategy: expected shares of shape [candidates depths] = {size}, got {shares}")

    def encoder(method: Callable) -> Callable[[Array], Array]:
        return lambda items: apply(supernet, weights, items, shares, key=key, method=method)

    return next_item_loss(weights, encoder(Supernet.encode), encoder(Supernet.encode_last), batch)


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def weight_step(
    state: SearchState, batch: Batch, key: Array, allowed: Allowed | None, *, searcher: Searcher
) -> tuple[SearchState, dict[str, Array]]:
    """One update of the supernet's weights on a training batch, under the shares drawn. Keys: `fold_in(key, step)`.

    `allowed` is `within_budget` of the cost table.
    """
    gumbel_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    shares = searcher.strategy.draw(state.arch, gumbel_key, moment_of(state.step, allowed, searcher))
    loss, grads = jax.value_and_grad(_supernet_loss)(state.weights, shares, batch, dropout_key, searcher.supernet)
    updates, opt = searcher.weights_tx.update(grads, state.weights_opt, state.weights)
    weights, counts = optax.apply_updates(state.weights, updates), _count(state, "weight", shares)
    state = state._replace(step=state.step + 1, weights=weights, weights_opt=opt, computed=counts)
    return state, {"loss": loss}


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def architecture_step(
    state: SearchState, batch: Batch, key: Array, costs: Array, allowed: Allowed | None, *, searcher: Searcher
) -> tuple[SearchState, dict[str, Array]]:
    """One first-order update of the architecture parameters on a validation batch: cross entropy and the strategy's penalty."""
    strategy = searcher.strategy
    moment = moment_of(state.step, allowed, searcher)
    gumbel_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))

    def loss_of(arch: Any) -> tuple[Array, tuple[Array, Array]]:
        shares = strategy.relax(arch, gumbel_key, moment)
        entropy = _supernet_loss(state.weights, shares, batch, dropout_key, searcher.supernet)
        return entropy + strategy.penalty(arch, shares, costs, moment), (entropy, shares)

    grads, (entropy, shares) = jax.grad(loss_of, has_aux=True)(state.arch)
    updates, opt = searcher.arch_tx.update(grads, state.arch_opt, state.arch)
    arch: Any = strategy.revise(optax.apply_updates(state.arch, updates), costs, moment)
    state = state._replace(arch=arch, arch_opt=opt, computed=_count(state, "architecture", shares))
    return state, {"architecture_loss": entropy}


class Found(NamedTuple):
    """What a search leaves: the pick, the supernet's weights after the last step, the architecture parameters."""

    architecture: Architecture
    # of the networks compared at the end: candidate, depth, cost, probability, ndcg@10; under a price also that and the cross entropy
    finalists: list[dict]
    weights: dict | None  # None: the strategy trains no supernet
    arch: Any  # the strategy's parameters; None without a supernet
    epochs: int
    finished: bool  # False: interrupted
    # how often each block of the supernet was: {"weight", "architecture"}, int32 [candidates depths]
    computed: dict | None = None


def describe_state(state: SearchState, costs: np.ndarray, searcher: Searcher) -> dict:
    """p, q, expected and picked cost and temperature of a state, as plain numbers for a log."""
    shares = _shares(state, costs, searcher)
    budget = searcher.settings.budget
    logits = searcher.strategy.logits(state.arch, within_budget(costs, budget))
    candidate, depth = most_probable(np.asarray(logits), costs, budget)[0]
    return {
        "p": shares.sum(1).round(6).tolist(),
        "q": shares.sum(0).round(6).tolist(),
        "temperature": float(moment_of(int(state.step), None, searcher).temperature),
        "expected_cost": float(np.sum(shares * costs)),
        "pick": {"candidate": candidate, "depth": depth, "cost": float(costs[candidate, depth - 1])},
    }


def _shares(state: SearchState, costs: np.ndarray, searcher: Searcher) -> np.ndarray:
    """Probability of each network, those beyond the budget 0; float64 [candidates depths]."""
    allowed = within_budget(costs, searcher.settings.budget)
    everything = np.ones(costs.shape, bool)
    shares = softmax_over_pairs(
        searcher.strategy.logits(state.arch, allowed), everything if allowed is None else allowed
    )
    return np.asarray(shares, np.float64)


def check_strategy(strategy: Strategy, costs: np.ndarray, settings: SearchConfig) -> None:
    """Raise `ValueError` where a strategy knows no budget, or no network stays within it."""
    if settings.budget is not None and not strategy.keeps_budget:
        raise ValueError(
            f"search.budget: expected none with search.strategy = {settings.strategy!r}, which keeps no limit "
            f"(its price is search.cost_weight, if it has one), got {settings.budget}"
        )
    check_budget(costs, settings.budget)


@in_float32
def search(
    space: SearchSpace,
    samples: Samples,
    evaluator: Evaluator,
    *,
    settings: SearchConfig,
    dropout: float,
    seed: int,
    strategy: Strategy | None = None,
    costs: np.ndarray | None = None,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    on_step: Callable[[dict], Any] | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
) -> Found:
    """Search `space` by `strategy` (default: the one that the settings name).

    With a supernet, each epoch the most probable network is cut out of it and evaluated on the validation items. At the
    end the `settings.finalists` most probable ones within the budget are each trained alone for
    `settings.finalist_epochs`, and the best on the validation items (`best_of`) is the pick: shared weights favour the small and
    the often drawn, so alpha and beta of a short search order close candidates less surely. One finalist is Eq. 18 as it stands.
    A strategy without a supernet names its finalists at once, and each is trained from scratch for `settings.epochs`.

    `costs` [candidates depths] replaces the table of FLOPs. Raises `ValueError` if the budget is below the smallest
    network's cost, or means nothing to the strategy.
    """
    strategy = strategy or find_strategy(settings.strategy)
    costs = cost_table(space, evaluator.split.data.num_items, settings.cost) if costs is None else costs
    check_strategy(strategy, costs, settings)
    finish = partial(
        train_alone, cut=lambda weights, architecture: extract(weights, space, architecture), samples=samples,
        evaluator=evaluator, settings=settings, dropout=dropout, seed=seed, checkpoints=checkpoints, resume=resume,
        on_step=on_step,
    )  # fmt: skip
    if strategy.choose is not None:
        finalists = [_entry(i, j, space, costs) for i, j in strategy.choose(costs, settings, seed)]
        best, finished = finish(finalists, None, epochs=settings.epochs, on_network=on_epoch)
        architecture = space.architecture(int(best["candidate"]), int(best["depth"]))
        return Found(architecture, finalists, None, None, settings.epochs, finished)
    state, searcher, epochs, finished = _train_supernet(
        space, samples, evaluator, strategy, costs, settings=settings, dropout=dropout, seed=seed,
        checkpoints=checkpoints, resume=resume, on_step=on_step, on_epoch=on_epoch,
    )  # fmt: skip
    shares = _shares(state, costs, searcher)
    logits = np.asarray(strategy.logits(state.arch, within_budget(costs, settings.budget)))
    likeliest = most_probable(logits, costs, settings.budget, settings.finalists)
    finalists = [_entry(i, j, space, costs) | {"probability": float(shares[i, j - 1])} for i, j in likeliest]
    if (price := strategy.price(costs, settings)) is not None:
        for entry, (i, j) in zip(finalists, likeliest, strict=True):
            entry["price"] = float(price[i, j - 1])
    best = finalists[0]
    if finished and len(finalists) > 1:
        best, finished = finish(finalists, state.weights, epochs=settings.finalist_epochs)
    architecture = space.architecture(int(best["candidate"]), int(best["depth"]))
    return Found(architecture, finalists, state.weights, state.arch, epochs, finished, state.computed)


def _entry(candidate: int, depth: int, space: SearchSpace, costs: np.ndarray) -> dict:
    architecture = space.architecture(candidate, depth).to_json()
    cost = float(costs[candidate, depth - 1])
    return {"candidate": candidate, "depth": depth, "cost": cost, "architecture": architecture}


def _train_supernet(
    space: SearchSpace, samples: Samples, evaluator: Evaluator, strategy: Strategy, costs: np.ndarray, *,
    settings: SearchConfig, dropout: float, seed: int, **options: Any,
) -> tuple[SearchState, Searcher, int, bool]:  # fmt: skip
    """`alternate` over a `Supernet`; `options` are those of `run_epochs`."""
    num_items = evaluator.split.data.num_items
    supernet: Any = Supernet(space, num_items, dropout)
    init_key, weight_key, arch_key = jax.random.split(jax.random.key(seed), 3)
    steps = batches_per_epoch(samples, **batch_plan(space, settings))
    last = steps * settings.epochs // settings.every * settings.every
    searcher = make_searcher(supernet, settings, strategy, (settings.warmup_epochs * steps, last))
    device_costs = jnp.asarray(costs, jnp.float32)
    allowed = within_budget(costs, settings.budget)

    def evaluate(state: SearchState) -> dict:
        record = describe_state(state, costs, searcher)
        architecture = space.architecture(record["pick"]["candidate"], record["pick"]["depth"])
        network: Any = Network(architecture, num_items)
        results = evaluator(network_scores(network), extract(state.weights, space, architecture))
        return record | {"validation": results, "ndcg@10": results[evaluator.protocols[0]]["ndcg@10"]}

    def learn(state: SearchState, batch: Batch) -> tuple[SearchState, dict]:
        return architecture_step(state, batch, arch_key, device_costs, allowed, searcher=searcher)

    loop = alternate(
        init_search(searcher, init_key),
        lambda state, batch: weight_step(state, batch, weight_key, allowed, searcher=searcher),
        learn if strategy.learns else None,
        evaluate, space=space, samples=samples, split=evaluator.split, settings=settings, seed=seed, **options,
    )  # fmt: skip
    return loop.state, searcher, int(loop.epochs_done), bool(loop.finished)


Step = Callable[[SearchState, Batch], tuple[SearchState, dict[str, Array]]]


def batch_plan(space: SearchSpace | WideSpace, settings: SearchConfig) -> dict[str, Any]:
    """The shapes of a search's batches, as `data.batches` wants them."""
    return {
        "max_length": space.largest.max_length, "batch_size": settings.batch_size, "buckets": settings.buckets
    }  # fmt: skip


def alternate(
    state: SearchState, weight_step: Step, architecture_step: Step | None, evaluate: Callable[[SearchState], dict], *,
    space: SearchSpace | WideSpace, samples: Samples, split: Split, settings: SearchConfig, seed: int,
    checkpoints: Checkpoints | None = None, **options: Any,
) -> LoopState:  # fmt: skip
    """Algorithm 1: after the warm-up epochs, an architecture step (if any) on a validation batch follows every f-th weight step.

    `options` are those of `run_epochs`. What is left is the last step's state, so no epoch is told as the best.
    """
    plan, on_epoch = batch_plan(space, settings), options.pop("on_epoch", None)
    steps = batches_per_epoch(samples, **plan)
    validation = scoring_samples(split, "validation", max_length=plan["max_length"])

    def step(state: SearchState, batch: Batch, number: int) -> tuple[SearchState, dict]:
        state, scalars = weight_step(state, batch)
        due = (number + 1) % settings.every == 0 and number >= settings.warmup_epochs * steps
        if architecture_step is not None and due:
            held_out = endless_batch(validation, number // settings.every, **plan, seed=seed)
            state, more = architecture_step(state, held_out)
            scalars |= more
        return state, scalars

    def advice(step: int) -> str:
        rates = f"search.learning_rate {settings.learning_rate:.3g}, search.arch_learning_rate {settings.arch_learning_rate:.3g}"
        return f"lower the learning rates ({rates})"

    if checkpoints is not None:
        run = dataclasses.asdict(settings) | {"seed": seed, "largest": space.largest.to_json()}
        checkpoints = checkpoints.of_run(run | split.data.identity())

    def tell(record: dict) -> None:
        if on_epoch is not None:
            on_epoch({name: value for name, value in record.items() if name != "best_epoch"})

    return run_epochs(
        LoopState.start(state, keep=()),
        step=step,
        batches=lambda epoch, skip: epoch_batches(samples, **plan, seed=seed, epoch=epoch, skip=skip),
        evaluate=evaluate,
        keep=lambda state: (),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        patience=settings.patience,
        advice=advice,
        checkpoints=checkpoints,
        on_epoch=tell,
        **options,
    )


def train_alone(
    finalists: list[dict], shared: dict | None, *, epochs: int, cut: Callable[[dict, Architecture], dict],
    samples: Samples, evaluator: Evaluator, settings: SearchConfig, dropout: float, seed: int, checkpoints: Checkpoints | None,
    resume: bool, on_step: Callable | None, on_network: Callable | None = None,
) -> tuple[dict, bool]:  # fmt: skip
    """Train each finalist from what `cut` takes of the shared weights, or (`shared` None) from scratch; (`best_of` them, finished).

    Each gets its validation `ndcg@10`, one with a `price` also its `cross_entropy` on the validation items, both of its best epoch
    by NDCG@10. `on_step` is told which one it is as `finalist`, "2/4".
    """
    training = RetrainConfig(
        epochs=epochs, batch_size=settings.batch_size, buckets=settings.buckets,
        learning_rate=settings.learning_rate, clip_norm=settings.clip_norm,
    )  # fmt: skip
    for number, entry in enumerate(finalists, 1):
        architecture = Architecture.from_json(entry["architecture"])
        network: Any = Network(architecture, evaluator.split.data.num_items, dropout)
        if shared is None:  # long: with checkpoints of its own
            weights = init_network(network, jax.random.fold_in(jax.random.key(seed), 2))
            keep = checkpoints and Checkpoints(checkpoints.folder / f"alone_{number}", keep=1)
            training = dataclasses.replace(training, patience=settings.patience)
            options: dict = {"checkpoints": keep, "resume": resume}
        else:
            weights, options = cut(shared, architecture), {}
        step = on_step and partial(_of_finalist, on_step, number, len(finalists))
        alone = fit(network, weights, samples, evaluator, settings=training, seed=seed, on_step=step, **options)
        if not alone.finished:
            return finalists[0], False
        entry["ndcg@10"] = alone.ndcg
        if "price" in entry:
            entry["cross_entropy"] = held_out_cross_entropy(network, alone.weights, evaluator)
        if on_network is not None:
            best = finalists.index(best_of(finalists[:number]))
            on_network({"epoch": number, "best_epoch": best + 1} | entry)
    return best_of(finalists), True


def _of_finalist(on_step: Callable, number: int, finalists: int, info: dict) -> None:
    """`on_step` of the `number`-th of them; the others that are left will take as long."""
    left = info["left_s"]
    if left is not None:
        left += (finalists - number) * (info["elapsed_s"] + left)
    on_step(info | {"finalist": f"{number}/{finalists}", "left_s": left})


def best_of(finalists: list[dict]) -> dict:
    """The highest validation NDCG@10; of finalists with a price, the lowest validation cross entropy plus price (Eq. 13).

    So a higher lambda never picks one of a higher R among the same finalists. Of equal ones the first.
    """
    if "price" in finalists[0]:
        return min(finalists, key=lambda f: f["cross_entropy"] + f["price"])
    return max(finalists, key=lambda f: f["ndcg@10"])
