"""Search an architecture: CONFIG -> WORKDIR/search/ (architecture.json, supernet.npz, metrics.jsonl, search.png).

With --search.ranking measured also front.json and front.png: networks as they stand in the shared weights.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from easrec_jax.cells import AnyArchitecture, CellArchitecture
from easrec_jax.config import Config
from easrec_jax.data.interactions import Interactions
from easrec_jax.runs.cli import Progress, describe_data, fail, machine, pictures, run_arguments

if TYPE_CHECKING:
    from easrec_jax.nas.adarec import FoundCell
    from easrec_jax.nas.search import Found
    from easrec_jax.runs.workdir import MetricsLog


def command() -> None:
    """Search and write what was found."""
    arguments, workdir = run_arguments(__doc__ or "", meshes=True)
    config, folder = arguments.config, workdir / "search"

    from easrec_jax.config import ADAREC
    from easrec_jax.data.load import load_data
    from easrec_jax.data.split import Split
    from easrec_jax.evaluate.latency import latency_table
    from easrec_jax.models.cost import cost_table
    from easrec_jax.nas.adarec import check_one_device, search_cells, students_of
    from easrec_jax.nas.search import check_strategy, check_terms, search
    from easrec_jax.nas.strategies.known import find_strategy
    from easrec_jax.parallel.processes import first_does
    from easrec_jax.runs.teacher import check_teacher, teach, teacher_flops
    from easrec_jax.runs.workdir import MetricsLog, open_run
    from easrec_jax.space import space_of
    from easrec_jax.train.checkpoint import Checkpoints
    from easrec_jax.train.loop import Run
    from easrec_jax.train.task import task_of

    started = time.perf_counter()
    data, _ = load_data(config.data, seed=config.seed, times=config.model.times != "no")
    split, cells = Split(data), config.search.strategy == ADAREC
    task, space, strategy, costs = task_of(config, split), None, None, None
    if cells:
        check_one_device(task)
    else:
        space, strategy = space_of(config), find_strategy(config.search.strategy)
        costs = cost_table(space, data.num_items, config.search.cost)
        check_strategy(strategy, space, costs, config.search)
        check_terms(config.distill)
    check_teacher(config, workdir, split)  # before anything is overwritten
    parts = ("data", "model", "search", "distill", "evaluate", "seed")
    resume, overwrite = arguments.resume, arguments.overwrite
    owner = first_does(lambda: open_run(folder, config, data, parts=parts, resume=resume, overwrite=overwrite))
    print(describe_data(data, task.samples.num_targets), flush=True)
    log = MetricsLog(folder / "metrics.jsonl")
    if space is not None and config.search.cost == "latency":
        first_does(lambda: latency_table(space, data.num_items, folder / "latency.json"))
        seconds = latency_table(space, data.num_items, folder / "latency.json")  # from that file: the same for all
        costs = seconds / seconds.max()
    taught = teach(config, workdir, split)
    if cells and taught is None:
        print("no teacher, the students learn from the labels alone: --distill.share is 0", flush=True)
    with Progress("search", log) as progress:
        run = Run(Checkpoints(folder / "checkpoints"), arguments.resume, progress.step, progress.epoch)
        if space is None:
            found = search_cells(students_of(config, data.num_items), task, taught, settings=config.search, run=run)
        else:
            found = search(space, task, settings=config.search, strategy=strategy, costs=costs, taught=taught, run=run)
    if not found.finished:
        fail(f"interrupted after {found.epochs} whole epochs; the checkpoint in {folder} is good: --resume continues")
    described = first_does(lambda: write(folder, found, config, data, log))
    if described is not None and owner is not None:
        over_teacher = teacher_flops(config, data.num_items) if cells and taught is not None else None
        print(announcement(found.architecture, described, over_teacher))
        print(f"  {time.perf_counter() - started:.0f} s, {machine()['peak_memory_mb']} MB at most; written to {folder}")
        owner.close()


def write(folder: Path, found: Found | FoundCell, config: Config, data: Interactions, log: MetricsLog) -> dict:
    """What the search found, in files and in pictures; what architecture.json holds."""
    from easrec_jax.nas.search import Found
    from easrec_jax.runs.figures import draw_front, draw_search
    from easrec_jax.runs.search_folder import describe_front, write_search

    described = write_search(folder, found, config, data)
    with pictures():
        draw_search(log.records(), config, folder / "search.png")
        if isinstance(found, Found) and found.measured:
            draw_front(describe_front(found, config, data.num_items)["networks"], config, folder / "front.png")
    return described


def announcement(architecture: AnyArchitecture, described: dict, teacher: int | None) -> str:
    """What was found and what it costs; `teacher`: the FLOPs of whom it learned from, where it is cells."""
    found = f"found {architecture.describe()}\n  {described['flops'] / 1e6:.1f} MFLOPs a request: "
    over_sasrec = f"{described['flops_over_sasrec']:.1%} of SASRec's"
    parameters = f"{described['parameters']:,} parameters"
    if isinstance(architecture, CellArchitecture):  # all at all positions, and no largest network
        others = [over_sasrec]
        if teacher is not None:
            others.append(f"{described['flops'] / teacher:.1%} of its teacher's")
        others.append(f"mean cost of an operation {architecture.cost:.3f}")
        return f"{found}{', '.join(others)}; {parameters}"
    return (
        f"{found}{described['flops_over_largest']:.1%} of the largest network's, {over_sasrec}; {parameters}\n"
        f"  {described['flops_all'] / 1e6:.1f} MFLOPs with all layers at all positions: "
        f"{described['flops_all_over_largest']:.1%} of the largest network's, {described['flops_all_over_sasrec']:.1%} of SASRec's"
    )
