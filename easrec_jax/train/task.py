"""What is learned from and measured on: made once from a config and its data, and passed on."""

from __future__ import annotations

from typing import NamedTuple

from easrec_jax.config import Config
from easrec_jax.data.batches import Batch, Samples, training_samples
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.parallel.layout import Layout, make_mesh
from easrec_jax.typed import check


class Task(NamedTuple):
    """Training samples, the evaluator that chooses epochs and networks, and what all trainings on them share."""

    samples: Samples
    evaluator: Evaluator  # of the validation items, by evaluate.select_by
    dropout: float
    seed: int
    id_dropout: float = 0.0  # of item ids, where the data have features

    @property
    def layout(self) -> Layout | None:
        """How tables and batches lie on several devices; None on one."""
        return self.evaluator.layout

    def put(self, batch: Batch) -> Batch:
        """A batch as the layout lays it."""
        return batch if self.layout is None else self.layout.put(batch)

    @property
    def split(self) -> Split:
        """The users' interactions, held-out ones apart."""
        return self.evaluator.split

    @property
    def num_items(self) -> int:
        """Size of the catalogue."""
        return self.split.data.num_items


def task_of(config: Config, split: Split) -> Task:
    """The task that a config sets; `ValueError` where it reads times and the data have none."""
    evaluator = make_evaluator(
        config, split, "validation", (config.evaluate.select_by,), sample=config.evaluate.users,
        layout=layout_of(config, split.data.num_items),
    )  # fmt: skip
    return Task(samples_of(config, split), evaluator, config.model.dropout, config.seed, config.model.id_dropout)


def samples_of(config: Config, split: Split) -> Samples:
    """The training samples that a config asks for, with times if its networks read any."""
    return training_samples(
        read_by(config, split),
        max_length=config.model.max_length,
        targets=config.data.targets,
        windows=config.data.windows,
    )


def read_by(config: Config, split: Split) -> Split:
    """The split as the config's networks read it: without times, or with; `ValueError` where there are none."""
    if config.model.times == "no":
        return split.without_times()
    expected = "no, or data with times: load_data(..., times=True), read_interactions(..., times=True)"
    check(split.data.times is not None, "model.times", expected, config.model.times)
    return split


def layout_of(config: Config, num_items: int) -> Layout | None:
    """The layout of a catalogue of that size on the devices that a config asks for; None on one."""
    mesh = config.mesh
    return Layout(make_mesh(mesh.data, mesh.items), num_items) if mesh.devices > 1 else None


def make_evaluator(
    config: Config, split: Split, part: Part, protocols: tuple[str, ...], *, sample: int = 0,
    layout: Layout | None = None,
) -> Evaluator:  # fmt: skip
    """The evaluator that a config asks for, of all users or of a `sample` of so many; `layout` is that of the weights."""
    settings = config.evaluate
    return Evaluator(
        read_by(config, split),
        part,
        config.model.max_length,
        protocols,
        settings.ks,
        settings.ties,
        settings.batch_size,
        settings.negatives_seed,
        settings.buckets,
        sample,
        layout,
    )
