"""The search (Algorithm 1): weights on training batches, architecture parameters on validation batches, in turn.

What is drawn and how the architecture parameters learn is a strategy's (`easrec_jax/nas/strategies/`); what computes it is a
supernet's (`models.encoder.Supernet`). EASRec over weights of its own for each candidate is the published method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import SearchConfig
from easrec_jax.config.distill import DistillConfig
from easrec_jax.data.batches import Batch, EndlessBatches, batches_per_epoch, epoch_batches, scoring_samples
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.cost import cost_table
from easrec_jax.models.encoder import Supernet
from easrec_jax.models.item_features import fold
from easrec_jax.models.masked import Masked
from easrec_jax.models.supernet import Candidates
from easrec_jax.nas.distribution import Table, by_factor, likeliest
from easrec_jax.nas.finalists import Finalist, best_of, compete, finalist
from easrec_jax.nas.front import measure
from easrec_jax.nas.steps import (
    Searcher,
    SearchState,
    architecture_step,
    init_search,
    make_searcher,
    moment_of,
    weight_step,
)
from easrec_jax.nas.strategies.alone import Alone
from easrec_jax.nas.strategies.known import find_strategy
from easrec_jax.nas.strategies.strategy import Strategy
from easrec_jax.precision import in_float32
from easrec_jax.space import Space
from easrec_jax.train.distillation import Taught, about
from easrec_jax.train.featured import known_items
from easrec_jax.train.loop import QUIET, LoopState, Procedure, Run, run_epochs
from easrec_jax.train.task import Task
from easrec_jax.typed import check


class Found(NamedTuple):
    """What a search leaves: the pick, whom it was compared with, and the supernet after the last step, if one was trained."""

    architecture: Architecture
    """The pick."""
    finalists: tuple[Finalist, ...]
    """Networks that it was compared with."""
    item_ids: IdMap
    """Of the rows of the item table."""
    supernet: Supernet | None
    """None where every network was trained alone."""
    weights: Any
    """Of the supernet."""
    arch: Any
    """The strategy's parameters."""
    shares: dict[str, Any] | None
    """Of each option, as `by_factor` has it."""
    expected_cost: float | None
    """Under these shares."""
    epochs: int
    """Epochs of the search."""
    finished: bool
    """False: interrupted."""
    computed: dict[str, Any]
    """How often mixtures computed each block, as in `SearchState`."""
    measured: tuple[Finalist, ...] = ()
    """Networks as they stand in the supernet, where the search ranks by that."""

    def cut(self) -> dict | None:
        """The pick's weights cut out of the supernet; None where none was trained."""
        return None if self.supernet is None else self.supernet.cut(self.weights, self.architecture)


def supernet_of(space: Space, num_items: int, dropout: float, sharing: str = "") -> Supernet:
    """The supernet of a space, whose networks share weights as `search.sharing` says."""
    if space.inner_of == "width" and space.shape[1] == space.num_layers:
        return Candidates(space, num_items, dropout, "corners" if sharing == "corners" else "own")
    return Masked(space, num_items, dropout)


def check_strategy(strategy: Strategy | Alone, space: Space, costs: np.ndarray, settings: SearchConfig) -> None:
    """Raise `ValueError` where a strategy knows no budget, or no network stays within it, or there is no supernet to be trained so."""
    for name in ("sharing", "training", "ranking") if isinstance(strategy, Alone) else ():
        plain, value = getattr(SearchConfig, name), getattr(settings, name)
        check(value == plain, f"search.{name}", f"{plain!r}, as {settings.strategy} trains no supernet", value)
    if settings.budget is not None and not strategy.keeps_budget:
        raise ValueError(
            f"search.budget: expected none with search.strategy = {settings.strategy!r}, which keeps no limit "
            f"(proxyless has a price: search.proxyless.cost_weight), got {settings.budget}"
        )
    Table.of(space, costs, settings.budget)


def check_terms(distill: DistillConfig) -> None:
    """Raise `ValueError` where a teacher has nothing to say to a supernet of our own space."""
    expected = (
        "scores among them: the networks of this search have no one list of layers, and embeddings of several sizes"
    )
    check(not distill.share or "scores" in distill.terms, "distill.terms", expected, distill.terms)


@in_float32
def search(
    space: Space,
    task: Task,
    *,
    settings: SearchConfig,
    strategy: Strategy | Alone | None = None,
    costs: np.ndarray | None = None,
    taught: Taught | None = None,
    run: Run = QUIET,
) -> Found:
    """Search `space` by `strategy` (default: the one that the settings name).

    With a supernet, each epoch the most probable network is evaluated as it stands in it on the validation items. At the
    end the `settings.finalists` most probable ones within the budget are each trained alone for
    `settings.finalist_epochs`, and the best on the validation items (`best_of`) is the pick: shared weights favour the small and
    the often drawn, so the parameters of a short search order close candidates less surely. One finalist is Eq. 18 as it
    stands. Ranked as "measured", finalists are not the most probable networks but those that are best as they stand.
    A strategy without a supernet names its finalists at once, and each is trained from scratch for `settings.epochs`.

    With a teacher the supernet learns from its scores beside the labels, in both steps, as there is no one list of layers in it;
    finalists learn as their retraining would. Without one, or with a share of 0, nothing is other than it was.

    `costs` in the space's shape replaces the table of FLOPs. Raises `ValueError` if the budget is below the smallest
    network's cost, or means nothing to the strategy.
    """
    strategy = strategy or find_strategy(settings.strategy)
    costs = cost_table(space, task.num_items, settings.cost) if costs is None else costs
    check_strategy(strategy, space, costs, settings)
    taught = taught if taught is not None and taught.settings.share else None
    if taught is not None:
        check_terms(taught.settings)
    if isinstance(strategy, Alone):
        return _search_alone(space, task, strategy, costs, settings, taught, run)
    table = Table.of(space, costs, settings.budget)
    searcher, loop = _train_supernet(space, task, strategy, costs, table, settings, taught, run)
    state, finished, supernet = loop.state, bool(loop.finished), searcher.supernet
    shares = _probabilities(state, table, searcher)
    finalists, measured = _finalists(state, shares, costs, table, searcher), ()
    if finished and settings.ranking == "measured":
        whole = fold(state.weights, task.split.data.features)
        measured = measure(
            supernet, whole, task, costs, most=settings.measured, budget=settings.budget, tell=run.on_step
        )
        finalists = tuple(sorted(measured, key=lambda one: -(one.ndcg or 0.0))[: settings.finalists])
    pick, layout = finalists[0], task.layout
    state = state if layout is None else layout.unplace(state)
    if finished and len(finalists) > 1:
        shared = supernet, state.weights
        finalists, finished = compete(finalists, shared, task, settings=settings, taught=taught, run=run)
        pick = best_of(finalists) if finished else pick
    return Found(
        pick.architecture, finalists, task.split.data.item_ids, supernet, state.weights, state.arch, by_factor(shares, space),
        float(np.sum(shares * costs)), int(loop.epochs_done), finished, state.computed, measured,
    )  # fmt: skip


def _search_alone(
    space: Space,
    task: Task,
    strategy: Alone,
    costs: np.ndarray,
    settings: SearchConfig,
    taught: Taught | None,
    run: Run,
) -> Found:
    """Every network that the strategy names, trained from scratch."""
    admitted = np.flatnonzero(
        np.ones(costs.size, bool) if settings.budget is None else costs.ravel() <= settings.budget
    )
    chosen = strategy.choose(admitted, settings, task.seed)
    finalists = tuple(finalist(space, costs, int(network)) for network in chosen)
    finalists, finished = compete(finalists, None, task, settings=settings, taught=taught, run=run)
    pick = best_of(finalists) if finished else finalists[0]
    ids = task.split.data.item_ids
    return Found(pick.architecture, finalists, ids, None, None, None, None, None, settings.epochs, finished, {})


def _probabilities(state: SearchState, table: Table, searcher: Searcher) -> np.ndarray:
    """Of each network, those beyond the budget 0; float64 in the space's shape.

    A strategy may give such a network a probability, RecNAS until it has pruned the last: it is no pick, now or later. Raises
    `ValueError` if none is left.
    """
    moment = moment_of(state.step, table, searcher)
    shares = np.exp(np.asarray(searcher.strategy.log_probability(state.arch, moment), np.float64))
    beyond = np.zeros(shares.shape, bool) if table.allowed is None else ~np.asarray(table.allowed)
    if not shares[~beyond].sum() > 0:
        raise ValueError("expected a network within the budget that the strategy has not ruled out, found none")
    if shares[beyond].any():
        shares = np.where(beyond, 0.0, shares)
        shares /= shares.sum()
    return shares


def _finalists(
    state: SearchState, shares: np.ndarray, costs: np.ndarray, table: Table, searcher: Searcher
) -> tuple[Finalist, ...]:
    """The most probable networks of a trained supernet, the most probable first."""
    space, moment = searcher.supernet.space, moment_of(state.step, table, searcher)
    found = []
    for network, probability in likeliest(shares, space)[: searcher.settings.finalists]:
        one = finalist(space, costs, network, probability=probability)
        price = searcher.strategy.price(one.cost, one.architecture.depth, moment)
        found.append(one if price is None else one._replace(price=float(price)))
    return tuple(found)


def describe_state(state: SearchState, costs: np.ndarray, table: Table, searcher: Searcher) -> dict:
    """Shares of every choice, expected and picked cost of a state, as plain numbers for a log."""
    space = searcher.supernet.space
    shares = _probabilities(state, table, searcher)
    pick = likeliest(shares, space)[0][0]
    described = {"network": pick, "what": space.architecture(pick).describe(), "cost": float(costs.ravel()[pick])}
    return {"shares": by_factor(shares, space), "expected_cost": float(np.sum(shares * costs)), "pick": described}


def _train_supernet(
    space: Space, task: Task, strategy: Strategy, costs: np.ndarray, table: Table, settings: SearchConfig,
    taught: Taught | None, run: Run,
) -> tuple[Searcher, LoopState]:  # fmt: skip
    """Algorithm 1: after the warm-up epochs, an architecture step (if any) on a validation batch follows every f-th weight step.

    What is left is the last step's state, so no epoch is told as the best.
    """
    plan = {
        "max_length": space.largest.max_length, "batch_size": settings.batch_size, "buckets": settings.buckets
    }  # fmt: skip
    init_key, weight_key, arch_key = jax.random.split(jax.random.key(task.seed), 3)
    steps = batches_per_epoch(task.samples, **plan)
    warmup, last = settings.warmup_epochs * steps, steps * settings.epochs // settings.every * settings.every
    supernet = supernet_of(space, task.num_items, task.dropout, settings.sharing)
    teacher, theirs, share = (taught.teacher, taught.weights, taught.settings.share) if taught else (None, None, 0.0)
    layout, put = task.layout, task.put
    searcher = make_searcher(supernet, settings, strategy, (warmup, last), teacher, share, layout)
    known, inputs = known_items(task), task.split.data.features
    state = init_search(searcher, init_key, inputs)
    if layout is not None:
        state, table = layout.place(state), layout.place(table)
        weight_key, arch_key = layout.place_key(weight_key), layout.place_key(arch_key)
    validation = scoring_samples(task.split, "validation", max_length=plan["max_length"])
    held_out_batch = EndlessBatches(validation, **plan, seed=task.seed)

    def step(state: SearchState, batch: Batch, number: int) -> tuple[SearchState, dict]:
        state, figures = weight_step(state, put(batch), weight_key, table, theirs, known, searcher=searcher)
        due = (number + 1) % settings.every == 0 and number >= warmup
        if due and searcher.strategy.learn is not None:
            held_out = held_out_batch(number // settings.every)
            state, more = architecture_step(state, put(held_out), arch_key, table, theirs, known, searcher=searcher)
            figures |= more
        return state, figures

    def batches(epoch: int, skip: int) -> Iterator[Batch]:
        return epoch_batches(task.samples, **plan, seed=task.seed, epoch=epoch, skip=skip)

    def evaluate(state: SearchState) -> dict:
        record = describe_state(state, costs, table, searcher)
        results = task.evaluator(*searcher.supernet.alone(fold(state.weights, inputs), record["pick"]["network"]))
        return record | {"validation": results, "ndcg@10": results[task.evaluator.protocols[0]]["ndcg@10"]}

    def advice(step: int) -> str:
        rates = f"search.learning_rate {settings.learning_rate:.3g}, search.arch_learning_rate {settings.arch_learning_rate:.3g}"
        return f"lower the learning rates ({rates})"

    named = dataclasses.asdict(settings) | {"seed": task.seed, "largest": space.largest.to_json()}
    named |= {"id_dropout": task.id_dropout} if inputs else {}
    loop = run_epochs(
        LoopState.start(state, keep=()),
        Procedure(step, batches, evaluate, lambda state: (), advice),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        patience=settings.patience,
        run=unranked(run, named | (about(taught) if taught else {}), task),
    )
    return searcher, loop


def unranked(run: Run, known: dict[str, Any], task: Task) -> Run:
    """The run whose checkpoints know that they are of what is `known` and of the task's data, and whose epochs none is told as the best."""
    checkpoints, on_epoch = run.checkpoints, run.on_epoch
    if checkpoints is not None:
        checkpoints = checkpoints.of_run(known | task.split.data.identity())

    def tell(record: dict) -> None:
        if on_epoch is not None:
            on_epoch({name: value for name, value in record.items() if name != "best_epoch"})

    return run._replace(checkpoints=checkpoints, on_epoch=tell)
