"""AdaRec (arXiv 2107.07173): what does a teacher buy a small network, and what does the search of its cell?

The teacher is trained once a seed and kept in DATASET-SCALE/teachers/. The search finds a cell with it, and the student is
fine-tuned from the search's weights. All other rows of that cell start from fresh weights, so that one thing differs at a time.
Epochs, rate, schedule and patience are the same everywhere, and validation items choose each epoch.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np

from easrec_jax.architecture import full_architecture, sasrec_architecture
from easrec_jax.cells import NAMES as OPERATIONS
from easrec_jax.cells import CellArchitecture, operation_cost
from easrec_jax.config import AdarecConfig, Config, DistillConfig
from easrec_jax.evaluate.latency import BULK_USERS, measure_latency
from easrec_jax.models.encoder import Encoder
from easrec_jax.models.kinds import network_of
from easrec_jax.models.network import network_scores
from easrec_jax.models.rival import find_rival
from easrec_jax.nas.adarec import search_cells, students_of
from easrec_jax.nas.search import search
from easrec_jax.runs.described import describe_architecture, describe_flops
from easrec_jax.runs.retrain import Retrained, evaluate_both, retrain
from easrec_jax.runs.teacher import find_teacher
from easrec_jax.space import space_of
from easrec_jax.train.distillation import Taught
from easrec_jax.train.loop import Run
from easrec_jax.train.task import task_of
from experiments.adarec_tables import adarec_tables
from experiments.cells import Cells, Job
from experiments.compare import Row

TEACHERS = ("nextitnet", "sasrec")
MAPPINGS = ("left", "right", "left_jump", "right_jump", "random")
RANDOM = 10  # cells, of the first seed alone
# width and cells of a student; width and layers of a teacher; most epochs of everything; those of the search and its warm-up
SIZES = {"planted": ((48, 2), (128, 3), 24, (12, 3)), "planted-check": ((48, 2), (128, 3), 24, (12, 3))}
OTHERS = ((64, 2), (192, 4), 30, (16, 4))
PATIENCE = 8
# a large network learns the training items by heart, a small one has no room for it
TEACHER_DROPOUT, DROPOUT = 0.3, 0.1
# rows, as other settings of distill.*; None: no teacher
OF_CELL: dict[str, dict | None] = {
    "emd": {}, "alone": None, "scores": {"terms": ("scores",)}, "share_8": {"share": 0.8},
    **{name: {"mapping": name} for name in MAPPINGS}
}  # fmt: skip
OF_SIZES = {"wide": "nextitnet", "wide_sasrec": "sasrec", "easrec": None}  # our own space, by its teacher
ROWS = (*TEACHERS, "student", *OF_CELL, "random_cells", *OF_SIZES, "sasrec_1")
FIRST = (*TEACHERS, "student")
ALWAYS = ("nextitnet", "student")  # what the other rows are made from


def run_adarec(cells: Cells, *, seeds: int, dataset: str, rows: tuple[str, ...] = ()) -> str:
    """All cells that are not finished, then adarec.json, .csv and .md; the Markdown is returned. `rows` are some of `ROWS`."""
    asked = (*ALWAYS, *rows) if rows else ROWS
    shown = cells.shown_rows(ROWS, rows and asked, lambda row: _names(row, 0))
    base = adarec_config(cells.config, dataset)
    for seed in range(seeds):
        config = dataclasses.replace(base, seed=seed)
        todo = [row for row in shown if row in asked or _finished(cells, row, seed)]  # others have fewer seeds
        cells.run_all(_first(cells, [row for row in FIRST if row in todo], config))
        cell = CellArchitecture.from_json(cells.used[f"adarec-student-seed{seed}"]["architecture"])
        rest = [row for row in todo if row not in FIRST]
        cells.run_all({name: job for row in rest for name, job in _jobs(cells, row, config, cell).items()})
    found = {row: Row.finished(row, cells, _used(cells, row, seeds)) for row in shown}
    results, fields, text = adarec_tables(found, base.evaluate, dataset)
    return cells.write("adarec", results, fields, text, seeds=seeds)


def adarec_config(config: Config, dataset: str) -> Config:
    """The config of the student and of both of its trainings, at a recipe's rate and batches."""
    (width, layers), (teacher_width, teacher_layers), epochs, (searched, warmup) = SIZES.get(dataset, OTHERS)
    training = config.retrain
    if training.epochs < 10:  # smoke
        epochs, searched, warmup = training.epochs, 2, 1
        width, teacher_width = config.model.width // 2, config.model.width
        layers, teacher_layers = 1, 2
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, width=width, layers=layers, dropout=DROPOUT),
        search=dataclasses.replace(
            config.search, strategy="adarec", epochs=searched, warmup_epochs=warmup, patience=searched,
            learning_rate=training.learning_rate, arch_learning_rate=0.01, budget=0.4, buckets=training.buckets,
            adarec=AdarecConfig(cost_weight=0.1, tau_epochs=3),
        ),
        distill=DistillConfig(
            share=0.5, teacher="nextitnet", width=teacher_width, layers=teacher_layers, dropout=TEACHER_DROPOUT, epochs=epochs,
            learning_rate=training.learning_rate,
        ),
        retrain=dataclasses.replace(training, epochs=epochs, patience=PATIENCE),
    )  # fmt: skip


def _names(row: str, seed: int) -> list[str]:
    """The cells of a row, for one seed."""
    if row == "random_cells":
        return [] if seed else [f"adarec-random{number}-seed0" for number in range(RANDOM)]
    return [f"adarec-{row}-seed{seed}"]


def _finished(cells: Cells, row: str, seed: int) -> bool:
    return all(cells.path(name).is_file() for name in _names(row, seed))


def _used(cells: Cells, row: str, seeds: int) -> list[str]:
    return [name for seed in range(seeds) for name in _names(row, seed) if name in cells.used]


def _first(cells: Cells, rows: list[str], config: Config) -> dict[str, Job]:
    """What all else is made from: the teachers, and the student."""
    jobs = {}
    for row in rows:
        other = config
        if row in TEACHERS:
            other = dataclasses.replace(config, distill=dataclasses.replace(config.distill, teacher=row))
        make = teacher_cell if row in TEACHERS else student_cell
        jobs[f"adarec-{row}-seed{config.seed}"] = Job(partial(make, cells), other)
    return jobs


def _jobs(cells: Cells, row: str, config: Config, cell: CellArchitecture) -> dict[str, Job]:
    """What a row is made of, for one seed."""
    name = f"adarec-{row}-seed{config.seed}"
    if row == "random_cells":
        drawn, names = random_cells(cell, RANDOM), _names(row, config.seed)
        alone = dataclasses.replace(config, distill=dataclasses.replace(config.distill, share=0.0))
        return {n: Job(partial(taught_cell, cells, one), alone, one) for n, one in zip(names, drawn, strict=False)}
    if row in OF_CELL:
        changes = OF_CELL[row]
        changes = {"share": 0.0} if changes is None else changes
        config = dataclasses.replace(config, distill=dataclasses.replace(config.distill, **changes))
        return {name: Job(partial(taught_cell, cells, cell), config, cell)}
    theirs = cells.config
    model = dataclasses.replace(theirs.model, dropout=config.model.dropout)
    if row == "sasrec_1":
        model = dataclasses.replace(model, layers=1, attention="softmax", gate_layers=0)
        plain = dataclasses.replace(config, model=model, distill=DistillConfig(), search=theirs.search)
        one_layer = full_architecture(model)
        return {name: Job(partial(taught_cell, cells, one_layer), plain, one_layer)}
    search_of = dataclasses.replace(theirs.search, epochs=config.search.epochs)
    teacher = OF_SIZES[row]
    distill = dataclasses.replace(config.distill, teacher=teacher) if teacher else DistillConfig()
    config = dataclasses.replace(config, model=model, search=search_of, distill=distill)
    return {name: Job(partial(sizes_cell, cells), config)}


def random_cells(cell: CellArchitecture, count: int) -> list[CellArchitecture]:
    """So many cells, drawn uniformly among those of exactly the same cost; the cell itself is none of them."""
    rng, found = np.random.default_rng(0), []
    taps = round(sum(5 * operation_cost(name) for name in cell.operations))
    while len(found) < count:
        drawn = tuple(OPERATIONS[n] for n in rng.integers(0, len(OPERATIONS), len(cell.operations)))
        one = dataclasses.replace(cell, operations=drawn)
        if round(sum(5 * operation_cost(name) for name in drawn)) == taps and one != cell and one not in found:
            found.append(one)
    return found


def teacher_cell(cells: Cells, config: Config, run: Run) -> dict | None:
    """A teacher, its figures."""
    taught = _taught(cells, config, run)
    if taught is None:
        return None
    split, network = cells.split, taught.teacher
    validation, test, ranks = evaluate_both(config, split, network_scores(network), taught.weights)
    architecture: Any = network.architecture
    rival = find_rival(config.distill.teacher)[0]
    num_items = split.data.num_items
    described = describe_architecture(architecture, cells.config, num_items, {"method": "fixed"})
    described |= describe_flops(rival.flops(network), architecture, cells.config, num_items, stacks=rival.stacks)
    described["parameters"] = sum(x.size for x in jax.tree.leaves(taught.weights))
    found = {"architecture": described, "validation": validation, "test": test, "ranks": ranks}
    return found | _timed(network, cells)


def student_cell(cells: Cells, config: Config, run: Run) -> dict | None:
    """The search of a cell with a teacher, and the pick fine-tuned by him from the weights of the search."""
    taught = _taught(cells, config, run)
    if taught is None:
        return None
    task = task_of(config, cells.split)
    found = search_cells(students_of(config, task.num_items), task, taught, settings=config.search, run=run)
    if not found.finished:
        return None
    done = retrain(found.architecture, found.cut(), config, cells.split, taught=taught, run=run)
    chosen = {"method": "adarec", "shares": found.shares, "expected_cost": found.expected_cost}
    return done and _trained(done, cells, chosen)


def taught_cell(cells: Cells, architecture: Any, config: Config, run: Run) -> dict | None:
    """One network from fresh weights, with a teacher where the config has one."""
    taught = _taught(cells, config, run) if config.distill.share else None
    done = retrain(architecture, None, config, cells.split, taught=taught, run=run)
    return done and _trained(done, cells, {"method": "fixed"})


def sizes_cell(cells: Cells, config: Config, run: Run) -> dict | None:
    """A search of our own space, with a teacher where the config has one, and its pick retrained."""
    taught = _taught(cells, config, run) if config.distill.share else None
    found = search(space_of(config), task_of(config, cells.split), settings=config.search, taught=taught, run=run)
    if not found.finished:
        return None
    done = retrain(found.architecture, found.cut(), config, cells.split, taught=taught, run=run)
    return done and _trained(done, cells, {"method": config.search.strategy})


def _taught(cells: Cells, config: Config, run: Run) -> Taught | None:
    """The teacher of this seed, trained by whoever needs it first; None if interrupted."""
    folder = cells.folder / "teachers" / f"{config.distill.teacher}-seed{config.seed}"
    return find_teacher(config, folder, cells.split, run=run)


def _trained(done: Retrained, cells: Cells, chosen: dict) -> dict:
    num_items = cells.split.data.num_items
    return {
        "architecture": describe_architecture(done.architecture, cells.config, num_items, chosen),
        "validation": done.validation, "test": done.test, "best_epoch": done.fitted.epoch, "ranks": done.ranks,
    } | _timed(network_of(done.architecture, num_items), cells)  # fmt: skip


def _timed(network: Encoder, cells: Cells) -> dict:
    """Milliseconds a user in batches, and over those of the recipe's SASRec, which takes turns with it."""
    sasrec = network_of(sasrec_architecture(cells.config.model), cells.split.data.num_items)
    seconds = measure_latency([network, sasrec], rows=BULK_USERS, repeats=9).seconds
    return {"ms": float(1e3 * seconds[0] / BULK_USERS), "ms_over_sasrec": float(seconds[0] / seconds[1])}
