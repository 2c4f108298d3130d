"""What a training minimises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from jax import Array

from easrec_jax.config import RetrainConfig
from easrec_jax.data.split import Split
from easrec_jax.models.item_features import has_features
from easrec_jax.parallel.layout import Layout
from easrec_jax.train.featured import Known, featured_loss, known_items
from easrec_jax.train.rows import make_sampler, sampled_step
from easrec_jax.train.step import TrainState, train_step
from easrec_jax.train.task import Task

Step = Callable[..., tuple[TrainState, dict[str, Array]]]


class Objective(NamedTuple):
    """A training step and the arrays that it reads beside the batch, handed in at each step: closed over they would be constants."""

    step: Step  # (state, batch, key, data, *, encoder, tx)
    data: Any = None
    about: dict[str, Any] | None = None  # what tells its checkpoints from others of the same settings; makes JSON

    def on(self, layout: Layout) -> Objective:
        """The same on several devices; what it reads beside the batch is whole on each."""
        return self._replace(step=partial(self.step, layout=layout), data=layout.place(self.data))


FULL = Objective(train_step)  # softmax over all items


def sampled(split: Split, negatives: int, known: Known | None = None) -> Objective:
    """Softmax over each target and `negatives` negatives, drawn from the split's training interactions; of items with features
    from the `known` ones."""
    return Objective(partial(sampled_step, negatives=negatives), make_sampler(split, known))


def objective_of(settings: RetrainConfig, task: Task, weights: dict) -> Objective:
    """The one that the settings ask for, for a network of these weights: they say whether it reads item features."""
    known = known_items(task) if has_features(weights) else None
    found = FULL
    if settings.loss == "sampled":
        found = sampled(task.split, settings.negatives, known)
    elif known is not None:
        found = Objective(partial(train_step, loss=featured_loss), known)
    return found if known is None else found._replace(about={"id_dropout": task.id_dropout})
