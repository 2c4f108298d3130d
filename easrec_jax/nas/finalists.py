"""The contest at the end of a search: a few networks trained alone, the best on the validation items wins."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax

from easrec_jax.architecture import Architecture
from easrec_jax.config import RetrainConfig, SearchConfig
from easrec_jax.models.encoder import Supernet
from easrec_jax.models.item_features import with_features
from easrec_jax.models.network import Network
from easrec_jax.space import Space
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.distillation import Taught, fit_taught
from easrec_jax.train.fit import held_out_cross_entropy
from easrec_jax.train.loop import Run
from easrec_jax.train.task import Task


class Finalist(NamedTuple):
    """A network that may be picked; what is not known of it is None."""

    network: int  # its row in the space's table
    architecture: Architecture
    cost: float  # over the largest network's
    probability: float | None = None  # of its width and depth together, when the supernet's training ended
    price: float | None = None  # what its cost is charged, in nats
    ndcg: float | None = None  # validation NDCG@10 of its best epoch alone
    cross_entropy: float | None = None  # on the validation items, of the same epoch; where there is a price

    def to_json(self) -> dict:
        """What is known of it, for architecture.json and logs."""
        tree = self._asdict() | {"architecture": self.architecture.to_json()}
        tree["ndcg@10"] = tree.pop("ndcg")
        return {name: value for name, value in tree.items() if value is not None}


def finalist(space: Space, costs: Any, network: int, **known: Any) -> Finalist:
    """A row of the space with its cost."""
    return Finalist(network, space.architecture(network), float(costs.ravel()[network]), **known)


def best_of(finalists: tuple[Finalist, ...]) -> Finalist:
    """The highest validation NDCG@10; of finalists with a price, the lowest validation cross entropy plus price (Eq. 13).

    So a higher lambda never picks one of a higher R among the same finalists. Of equal ones the first.
    """
    if finalists[0].price is not None:
        return min(finalists, key=lambda f: f.cross_entropy + f.price)  # type: ignore[operator]
    return max(finalists, key=lambda f: f.ndcg)  # type: ignore[arg-type, return-value]


def compete(
    finalists: tuple[Finalist, ...],
    shared: tuple[Supernet, Any] | None,
    task: Task,
    *,
    settings: SearchConfig,
    taught: Taught | None = None,
    run: Run,
) -> tuple[tuple[Finalist, ...], bool]:
    """(the finalists with their figures, whether all were trained): each alone, from the (supernet, weights) `shared` or from scratch.

    From shared weights they train for `settings.finalist_epochs`; from scratch for `settings.epochs` and with checkpoints of
    their own, and `run.on_epoch` is told of each. `run.on_step` is told which one it is as `finalist`, "2/4". With a teacher they
    learn as `runs.retrain` would have them.
    """
    training = RetrainConfig(
        epochs=settings.epochs if shared is None else settings.finalist_epochs, batch_size=settings.batch_size,
        buckets=settings.buckets, learning_rate=settings.learning_rate, clip_norm=settings.clip_norm,
    )  # fmt: skip
    if shared is None:
        training = dataclasses.replace(training, patience=settings.patience)
    done: tuple[Finalist, ...] = ()
    for number, one in enumerate(finalists, 1):
        network = Network(one.architecture, task.num_items, task.dropout)
        told = run.on_step and partial(_of_finalist, run.on_step, number, len(finalists))
        if shared is None:
            weights = network.init(jax.random.fold_in(jax.random.key(task.seed), 2))
            weights = with_features(weights, task.split.data.features)
            kept = run.checkpoints and Checkpoints(run.checkpoints.folder / f"alone_{number}", keep=1)
            alone = fit_taught(network, weights, task, taught, settings=training, run=Run(kept, run.resume, told))
        else:
            weights = shared[0].cut(shared[1], one.architecture)
            alone = fit_taught(network, weights, task, taught, settings=training, run=Run(on_step=told))
        if not alone.finished:
            return finalists, False
        one = one._replace(ndcg=alone.ndcg)
        if one.price is not None:
            one = one._replace(cross_entropy=held_out_cross_entropy(network, alone.weights, task.evaluator))
        done += (one,)
        if shared is None and run.on_epoch is not None:
            run.on_epoch({"epoch": number, "best_epoch": done.index(best_of(done)) + 1} | one.to_json())
    return done, True


def _of_finalist(on_step: Any, number: int, finalists: int, info: dict) -> None:
    """`on_step` of the `number`-th of them; the others that are left will take as long."""
    left = info["left_s"]
    if left is not None:
        left += (finalists - number) * (info["elapsed_s"] + left)
    on_step(info | {"finalist": f"{number}/{finalists}", "left_s": left})
