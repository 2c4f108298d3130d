"""The search of AdaRec (arXiv 2107.07173): one cell for all layers of a student, by Gumbel draws and a teacher's word.

Weights learn on training batches with the drawn operations alone, the architecture parameters alpha on validation batches, in
turn, by the straight-through gradient through all ten. Both minimise the distilled loss; alpha's has `cost_weight` times the mean
cost of the operations beside it. Changed: the published search learns both at once on training batches and has no budget.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int

from easrec_jax.cells import EDGES, NAMES, CellArchitecture, operation_cost
from easrec_jax.config import Config, SearchConfig
from easrec_jax.config.distill import DistillConfig
from easrec_jax.data.batches import Batch, EndlessBatches, batches_per_epoch, epoch_batches, scoring_samples
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.cell_supernet import CellSupernet
from easrec_jax.models.encoder import Layered
from easrec_jax.nas.search import unranked
from easrec_jax.nas.steps import SearchState
from easrec_jax.nn.block import pick_last
from easrec_jax.precision import in_float32
from easrec_jax.train.distillation import (
    Lesson,
    Taught,
    about,
    layers_reweighted,
    lesson,
    with_distillation,
    without_distillation,
)
from easrec_jax.train.loop import QUIET, LoopState, Procedure, Run, run_epochs
from easrec_jax.train.step import clipped, next_item_loss
from easrec_jax.train.task import Task

DRAWS = 32  # cells that are drawn at most to find one within the budget
ROUNDING = 1e-6  # of mean costs in float32
COSTS = np.array([operation_cost(name) for name in NAMES], np.float32)


class FoundCell(NamedTuple):
    """What a search leaves: the pick, and the supernet after the last step; the fields of `Found` that it has are named alike."""

    architecture: CellArchitecture
    item_ids: IdMap  # of the rows of the item table
    supernet: CellSupernet
    weights: Any  # of the supernet
    arch: Any  # alpha, [edges operations]
    shares: dict[str, Any]  # of each operation
    expected_cost: float  # under these shares
    epochs: int
    finished: bool  # False: interrupted
    finalists: tuple = ()

    def cut(self) -> dict:
        """The pick's weights cut out of the supernet."""
        return self.supernet.cut(self.weights, self.architecture)


class CellSearcher(NamedTuple):
    """What stays fixed during a search; hashable, a static argument of the steps."""

    supernet: CellSupernet
    weights_tx: optax.GradientTransformation
    arch_tx: optax.GradientTransformation
    settings: SearchConfig
    steps_per_epoch: int
    teacher: Layered | None
    distill: DistillConfig


def students_of(config: Config, num_items: int) -> CellSupernet:
    """The students that a config's search chooses from."""
    model = config.model
    return CellSupernet(model.width, model.layers, model.max_length, num_items, model.dropout)


def draw_cell(
    alpha: Float[Array, "edges operations"], key: Array, tau: Array | float, budget: float | None
) -> tuple[Int[Array, " edges"], Float[Array, "edges operations"]]:
    """(the operation of each edge, the straight-through shares of all): the first of `DRAWS` within the budget, else the cheapest.

    The key is consumed.
    """
    noise = jax.random.gumbel(key, (DRAWS, *alpha.shape))
    noisy = jax.nn.log_softmax(alpha)[None] + noise
    operations = jnp.argmax(noisy, -1)
    costs = jnp.mean(jnp.asarray(COSTS)[operations], -1)
    within = costs <= (1.0 if budget is None else budget) + ROUNDING
    one = jnp.where(jnp.any(within), jnp.argmax(within), jnp.argmin(costs))
    soft = jax.nn.softmax(noisy[one] / tau)
    hard = jax.nn.one_hot(operations[one], alpha.shape[1])
    return operations[one], hard + soft - jax.lax.stop_gradient(soft)


def likeliest_cell(alpha: np.ndarray, budget: float | None) -> tuple[str, ...]:
    """The most probable operations of the edges together within the budget."""
    costs, scores = np.zeros(1), np.zeros(1)
    for edge in np.asarray(alpha, np.float64):
        scores = (scores[:, None] + edge[None, :]).ravel()
        costs = (costs[:, None] + COSTS[None, :].astype(np.float64)).ravel()
    within = costs / len(EDGES) <= (1.0 if budget is None else budget) + ROUNDING
    best = int(np.argmax(np.where(within, scores, -np.inf)))
    return tuple(NAMES[one] for one in np.unravel_index(best, (len(NAMES),) * len(EDGES)))


def temperature(step: Array | int, searcher: CellSearcher) -> Array:
    """tau of a step: it falls by a factor every few epochs."""
    settings = searcher.settings.adarec
    times = step // searcher.steps_per_epoch // settings.tau_epochs
    return settings.tau_start * jnp.asarray(settings.tau_decay) ** times


def student_loss(
    weights: dict, drawn: Array, batch: Batch, key: Array | None, theirs: Any, searcher: CellSearcher
) -> tuple[Array, Lesson | None]:
    """(loss of what is drawn, the teacher's lesson if there is a teacher); `theirs`: the teacher's weights."""

    def exits(weights: dict, items: Array) -> list[Array]:
        return searcher.supernet.exits(weights, items, drawn, key=key)

    if searcher.teacher is None:

        def encode(items: Array) -> Array:
            return exits(weights, items)[-1]

        def encode_last(items: Array) -> Array:
            return pick_last(encode(items), items > 0)

        return next_item_loss(weights, encode, encode_last, batch), None
    found = lesson(weights, exits, batch, Taught(searcher.teacher, theirs, searcher.distill))
    return found.loss, found


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def weight_step(
    state: SearchState, batch: Batch, key: Array, theirs: Any, *, searcher: CellSearcher
) -> tuple[SearchState, dict[str, Array]]:
    """One update of the shared weights on a training batch, through one drawn cell. Keys: `fold_in(key, step)`."""
    draw_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    drawn, _ = draw_cell(state.arch, draw_key, temperature(state.step, searcher), searcher.settings.budget)

    def loss_of(weights: dict) -> tuple[Array, Lesson | None]:
        return student_loss(weights, drawn, batch, dropout_key, theirs, searcher)

    (loss, found), grads = jax.value_and_grad(loss_of, has_aux=True)(state.weights)
    updates, opt = searcher.weights_tx.update(grads, state.weights_opt, state.weights)
    weights: Any = optax.apply_updates(state.weights, updates)
    if found is not None:
        weights = layers_reweighted(weights, found)
    return state._replace(step=state.step + 1, weights=weights, weights_opt=opt), {"loss": loss}


@partial(jax.jit, static_argnames="searcher", donate_argnames="state")
def alpha_step(
    state: SearchState, batch: Batch, key: Array, theirs: Any, *, searcher: CellSearcher
) -> tuple[SearchState, dict[str, Array]]:
    """One update of alpha on a validation batch, through all ten operations. Without dropout. Keys: `fold_in(key, step)`."""
    draw_key, settings = jax.random.fold_in(key, state.step), searcher.settings

    def loss_of(alpha: Array) -> tuple[Array, Array]:
        _, shares = draw_cell(alpha, draw_key, temperature(state.step, searcher), settings.budget)
        loss, _ = student_loss(state.weights, shares, batch, None, theirs, searcher)
        cost = jnp.sum(shares * jnp.asarray(COSTS)[None, :]) / len(EDGES)
        return loss + settings.adarec.cost_weight * cost, loss

    (_, loss), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.arch)
    updates, opt = searcher.arch_tx.update(gradient, state.arch_opt, state.arch)
    alpha: Any = optax.apply_updates(state.arch, updates)
    return state._replace(arch=alpha, arch_opt=opt), {"architecture_loss": loss}


@lru_cache(maxsize=16)
def make_searcher(
    supernet: CellSupernet,
    settings: SearchConfig,
    steps_per_epoch: int,
    teacher: Layered | None,
    distill: DistillConfig,
) -> CellSearcher:
    """AdamW for weights and alpha, each with its own rate and decay; one object a setting, so that nothing recompiles."""
    mine = settings.adarec
    weights_tx = clipped(optax.adamw(settings.learning_rate, weight_decay=mine.weight_decay), settings.clip_norm)
    arch_tx = optax.adamw(settings.arch_learning_rate, weight_decay=mine.arch_weight_decay)
    return CellSearcher(supernet, weights_tx, arch_tx, settings, steps_per_epoch, teacher, distill)


def init_search(searcher: CellSearcher, taught: Taught | None, key: Array) -> SearchState:
    """Fresh weights, and alpha near zero; the key is consumed."""
    supernet, (weight_key, distill_key, alpha_key) = searcher.supernet, jax.random.split(key, 3)
    weights = supernet.init(weight_key)
    if taught is not None:
        weights = with_distillation(weights, taught, layers=supernet.depth, key=distill_key)
    alpha = 0.01 * jax.random.normal(alpha_key, (len(EDGES), len(NAMES)))
    return SearchState(
        jnp.int32(0), weights, searcher.weights_tx.init(weights), alpha, searcher.arch_tx.init(alpha), {}
    )


def describe_alpha(alpha: Any, supernet: CellSupernet, budget: float | None) -> dict:
    """Shares of every operation, expected and picked cost, as plain numbers for a log."""
    shares = np.asarray(jax.nn.softmax(jnp.asarray(alpha)), np.float64)
    pick = supernet.architecture(likeliest_cell(np.asarray(alpha), budget))
    described = {"operations": list(pick.operations), "what": pick.describe(), "cost": pick.cost}
    return {
        "shares": {"operations": shares.tolist()},
        "expected_cost": float((shares @ COSTS).mean()),
        "pick": described,
    }


def check_one_device(task: Task) -> None:
    """Raise `ValueError` where the task is laid on several."""
    if task.layout is not None:
        raise ValueError("--mesh.data, --mesh.items: expected 1 and 1 with search.strategy = 'adarec'")


@in_float32
def search_cells(
    supernet: CellSupernet, task: Task, taught: Taught | None, *, settings: SearchConfig, run: Run = QUIET
) -> FoundCell:
    """Search the cell of a student; without a teacher by the labels alone.

    After the warm-up epochs an alpha step on a validation batch follows every f-th weight step. Each epoch the likeliest cell
    is evaluated as it stands; what is left is the last step's state.
    """
    check_one_device(task)
    distill = taught.settings if taught else DistillConfig()
    plan = {"max_length": supernet.max_length, "batch_size": settings.batch_size, "buckets": settings.buckets}
    init_key, weight_key, alpha_key = jax.random.split(jax.random.key(task.seed), 3)
    steps = batches_per_epoch(task.samples, **plan)
    searcher = make_searcher(supernet, settings, steps, taught.teacher if taught else None, distill)
    theirs = taught.weights if taught else None
    validation = scoring_samples(task.split, "validation", max_length=supernet.max_length)
    held_out_batch = EndlessBatches(validation, **plan, seed=task.seed)

    def step(state: SearchState, batch: Batch, number: int) -> tuple[SearchState, dict]:
        state, figures = weight_step(state, batch, weight_key, theirs, searcher=searcher)
        if (number + 1) % settings.every == 0 and number >= settings.warmup_epochs * steps:
            held_out = held_out_batch(number // settings.every)
            state, more = alpha_step(state, held_out, alpha_key, theirs, searcher=searcher)
            figures |= more
        return state, figures

    def batches(epoch: int, skip: int) -> Iterator[Batch]:
        return epoch_batches(task.samples, **plan, seed=task.seed, epoch=epoch, skip=skip)

    def evaluate(state: SearchState) -> dict:
        record = describe_alpha(state.arch, supernet, settings.budget)
        results = task.evaluator(
            *supernet.alone(without_distillation(state.weights), tuple(record["pick"]["operations"]))
        )
        return record | {"validation": results, "ndcg@10": results[task.evaluator.protocols[0]]["ndcg@10"]}

    def advice(step: int) -> str:
        rates = f"search.learning_rate {settings.learning_rate:.3g}, search.arch_learning_rate {settings.arch_learning_rate:.3g}"
        return f"lower the learning rates ({rates})"

    loop = run_epochs(
        LoopState.start(init_search(searcher, taught, init_key), keep=()),
        Procedure(step, batches, evaluate, lambda state: (), advice),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        patience=settings.patience,
        run=_named(run, supernet, task, taught, settings),
    )
    described = describe_alpha(loop.state.arch, supernet, settings.budget)
    pick = supernet.architecture(tuple(described["pick"]["operations"]))
    return FoundCell(
        pick, task.split.data.item_ids, supernet, without_distillation(loop.state.weights), loop.state.arch,
        described["shares"], described["expected_cost"], int(loop.epochs_done), bool(loop.finished),
    )  # fmt: skip


def _named(run: Run, supernet: CellSupernet, task: Task, taught: Taught | None, settings: SearchConfig) -> Run:
    """The run whose checkpoints know what they are of, and whose epochs none is told as the best."""
    known = dataclasses.asdict(settings) | dataclasses.asdict(supernet) | {"seed": task.seed}
    return unranked(run, known | (about(taught) if taught else {}), task)
