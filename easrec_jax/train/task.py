"""What is learned from and measured on: made once from a config and its data, and passed on."""

from __future__ import annotations

from typing import NamedTuple

from easrec_jax.config import Config
from easrec_jax.data.batches import Samples, training_samples
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.evaluator import Evaluator


class Task(NamedTuple):
    """Training samples, the evaluator that chooses epochs and networks, and what all trainings on them share."""

    samples: Samples
    evaluator: Evaluator  # of the validation items, by evaluate.select_by
    dropout: float
    seed: int
    id_dropout: float = 0.0  # of item ids, where the data have features

    @property
    def split(self) -> Split:
        """The users' interactions, held-out ones apart."""
        return self.evaluator.split

    @property
    def num_items(self) -> int:
        """Size of the catalogue."""
        return self.split.data.num_items


def task_of(config: Config, split: Split) -> Task:
    """The task that a config sets."""
    evaluator = make_evaluator(config, split, "validation", (config.evaluate.select_by,), sample=config.evaluate.users)
    return Task(samples_of(config, split), evaluator, config.model.dropout, config.seed, config.model.id_dropout)


def samples_of(config: Config, split: Split) -> Samples:
    """The training samples that a config asks for."""
    return training_samples(
        split, max_length=config.model.max_length, targets=config.data.targets, windows=config.data.windows
    )


def make_evaluator(
    config: Config, split: Split, part: Part, protocols: tuple[str, ...], *, sample: int = 0
) -> Evaluator:
    """The evaluator that a config asks for, of all users or of a `sample` of so many."""
    settings = config.evaluate
    return Evaluator(
        split,
        part,
        config.model.max_length,
        protocols,
        settings.ks,
        settings.ties,
        settings.batch_size,
        settings.negatives_seed,
        settings.buckets,
        sample,
    )
