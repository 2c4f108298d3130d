"""What times bring: the same network without them, with gaps, with hour and weekday too, and with gaps that say nothing.

The control has all parameters of the last but one: the gaps between events are shuffled among all events of all users, so that they are
as long as before and tell nothing of what comes next. The target's time is the time of the request, as it is in use.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

from easrec_jax.architecture import full_architecture
from easrec_jax.config import Config
from easrec_jax.data.interactions import Interactions
from easrec_jax.data.split import Split
from easrec_jax.runs.retrain import retrain
from easrec_jax.train.loop import Run
from experiments.cells import Cells, Job
from experiments.show import markdown, plus_minus

PROTOCOLS = ("full", "pop100")
SHUFFLED = "gaps shuffled (control)"
ROWS = {"without times": "no", "gaps": "gaps", "gaps, hour, weekday": "calendar", SHUFFLED: "gaps"}


def run_times(cells: Cells, *, seeds: int, dataset: str, rows: tuple[str, ...] = ()) -> str:
    """All cells that are not finished, then times.json, .csv and .md; the Markdown is returned. `rows` are some of `ROWS`."""
    shown = cells.shown_rows(tuple(ROWS), rows, partial(_names, seeds=seeds))
    jobs = {}
    for row in shown:
        make = partial(cell, cells.split.data, row == SHUFFLED)
        for seed, name in enumerate(_names(row, seeds)):
            jobs[name] = Job(make, dataclasses.replace(small(cells.config, ROWS[row]), seed=seed))
    cells.run_all(jobs)
    lines, fields = [], []
    for row in shown:
        found = [cells.run(name, jobs[name]) for name in _names(row, seeds)]
        figures = {"validation full": [one["validation"]["full"]["ndcg@10"] for one in found]}
        figures |= {f"test {name}": [one["test"][name]["ndcg@10"] for one in found] for name in PROTOCOLS}
        lines.append([row, *map(plus_minus, figures.values())])
        fields.append({"row": row, "seeds": seeds} | {name: float(np.mean(of)) for name, of in figures.items()})
    head = ["NDCG@10", "validation, full", *(f"test, {name}" for name in PROTOCOLS)]
    note = f"{dataset}, {seeds} seed{'s' * (seeds > 1)}. The time of the target is given as that of the request."
    return cells.write("times", {"rows": fields}, fields, f"{markdown(head, lines)}\n\n{note}", seeds=seeds)


def _names(row: str, seeds: int) -> list[str]:
    plain = row.replace(",", "").replace("(", "").replace(")", "").replace(" ", "-")
    return [f"times-{plain}-seed{seed}" for seed in range(seeds)]


def cell(data: Interactions, shuffle: bool, config: Config, run: Run) -> dict | None:
    """The network of the config's sizes, trained from scratch; None if interrupted."""
    split = Split(with_shuffled_gaps(data, config.seed) if shuffle else data)
    done = retrain(full_architecture(config.model), None, config, split, run=run)
    if done is None:
        return None
    return {"best_epoch": done.fitted.epoch, "validation": done.validation, "test": done.test}


def with_shuffled_gaps(data: Interactions, seed: int) -> Interactions:
    """The interactions with the gaps between events of one user shuffled among all; a user's first event stays where it is."""
    assert data.times is not None
    first, gaps = data.offsets[:-1], np.diff(data.times, prepend=data.times[:1])
    inner = np.ones(len(gaps), bool)
    inner[first] = False
    gaps[inner] = np.random.default_rng((seed, 13)).permutation(gaps[inner])
    gaps[first] = 0.0
    since = np.cumsum(gaps)
    times = since - np.repeat(since[first] - data.times[first], data.lengths)
    return dataclasses.replace(data, times=times)


def small(config: Config, times: str) -> Config:
    """Sizes and effort of a few CPU minutes, those of a smoke config as they are."""
    model, retraining = config.model, config.retrain
    if retraining.epochs >= 10:
        model = dataclasses.replace(model, width=64, inner=128, layers=2, max_length=min(model.max_length, 50))
        retraining = dataclasses.replace(retraining, epochs=12, batch_size=32, buckets=1, learning_rate=0.003)
    model = dataclasses.replace(model, times=times)
    evaluate = dataclasses.replace(config.evaluate, protocols=PROTOCOLS, select_by="full", buckets=1)
    return dataclasses.replace(config, model=model, retrain=retraining, evaluate=evaluate)
