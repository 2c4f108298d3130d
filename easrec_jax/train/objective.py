"""What a training minimises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from jax import Array

from easrec_jax.config import RetrainConfig
from easrec_jax.data.split import Split
from easrec_jax.parallel.layout import Layout
from easrec_jax.train.rows import make_sampler, sampled_step
from easrec_jax.train.step import TrainState, train_step

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


def sampled(split: Split, negatives: int) -> Objective:
    """Softmax over each target and `negatives` negatives, drawn from the split's training interactions."""
    return Objective(partial(sampled_step, negatives=negatives), make_sampler(split))


def objective_of(settings: RetrainConfig, split: Split) -> Objective:
    """The one that the settings ask for."""
    return sampled(split, settings.negatives) if settings.loss == "sampled" else FULL
