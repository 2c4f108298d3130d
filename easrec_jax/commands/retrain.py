"""Cut the found network out, retrain and evaluate it: WORKDIR/search/ -> WORKDIR/model/ (weights, ids, results.json).

With --retrain.from MODEL a trained model is trained further, on data that may have new users and items. With
--retrain.architecture elastic nothing is trained: the model is a search's elastic network, served at any size of its front.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easrec_jax.config import Config
from easrec_jax.data.interactions import Interactions
from easrec_jax.runs.cli import Progress, RunArguments, describe_data, fail, machine, pictures, run_arguments

if TYPE_CHECKING:
    from easrec_jax.data.split import Split
    from easrec_jax.runs.retrain import Retrained
    from easrec_jax.runs.workdir import MetricsLog
    from easrec_jax.serving.sizes import Size


def command() -> None:
    """Train, evaluate and write the model."""
    started = time.perf_counter()
    arguments, workdir = run_arguments(__doc__ or "", meshes=True)

    from easrec_jax.data.load import load_data

    train(
        arguments,
        workdir,
        *load_data(arguments.config.data, seed=arguments.config.seed, times=arguments.config.model.times != "no"),
        started,
    )


def train(arguments: RunArguments, workdir: Path, data: Interactions, truth: Any, started: float) -> None:
    """`command` on interactions that are read already; `truth` is `load_data`'s, `started` when all began, by `perf_counter`."""
    config, folder = arguments.config, workdir / "retrain"

    from easrec_jax.data.split import Split
    from easrec_jax.data.titles import read_titles
    from easrec_jax.parallel.processes import first_does
    from easrec_jax.runs.described import describe_architecture
    from easrec_jax.runs.elastic import as_it_stands, measure_sizes
    from easrec_jax.runs.pipeline import results_of
    from easrec_jax.runs.retrain import retrain
    from easrec_jax.runs.start import check_target, find_start
    from easrec_jax.runs.teacher import check_teacher, teach
    from easrec_jax.runs.workdir import MetricsLog, open_run
    from easrec_jax.train.checkpoint import Checkpoints
    from easrec_jax.train.loop import Run
    from easrec_jax.train.task import samples_of

    titles = read_titles(config.data.titles) if config.data.titles else {}
    split, start = Split(data), find_start(config, workdir, data)
    if start.sizes and config.mesh.devices > 1:
        fail("--mesh.data, --mesh.items: expected 1 and 1 with retrain.architecture = 'elastic', which trains nothing")
    check_target(config, workdir, arguments.overwrite or (arguments.resume and folder.is_dir()))
    check_teacher(config, workdir, split)  # before anything is overwritten
    parts = ("data", "model", "retrain", "distill", "evaluate", "seed")
    opened = partial(open_run, folder, config, data, parts=parts, start=start.source)
    owner = first_does(partial(opened, resume=arguments.resume, overwrite=arguments.overwrite))
    described = describe_architecture(start.architecture, config, data.num_items, start.chosen_by)
    print(describe_data(data, samples_of(config, split).num_targets), flush=True)
    print(start.announce(described), flush=True)
    log, sizes = MetricsLog(folder / "metrics.jsonl"), ()
    taught = None if start.sizes else teach(config, workdir, split)
    with Progress("retrain", log) as progress:
        run = Run(Checkpoints(folder / "checkpoints"), arguments.resume, progress.step, progress.epoch)
        if start.sizes:
            done = as_it_stands(start.architecture, start.weights, config, split)
            sizes = measure_sizes(done, start.sizes, config, split, tell=progress.step)
        else:
            done = retrain(
                start.architecture, start.weights, config, split, taught=taught, evaluate_start=start.goes_on, run=run
            )
    if done is None:
        fail(f"interrupted; the checkpoint in {folder} is good: --resume continues")
    if done.fitted.epoch == 0 and not sizes:
        print("no epoch was better on the validation items than the start: the model's weights are kept as they were")
    results = results_of(done, described, config, split) | machine()
    results |= {"seconds": round(time.perf_counter() - started, 1)}
    results |= {"item_rows": start.rows._asdict()} if start.rows is not None else {}
    if others := rivals(config, data, split, truth):
        results["baselines"] = others
    first_does(lambda: write(workdir, done, results, config, data, log, titles, sizes))
    print(tables(start.row, results, others, sizes, config))
    print(spent(results, workdir / "model"))
    if owner is not None:
        owner.close()


def write(
    workdir: Path, done: Retrained, results: dict, config: Config, data: Interactions, log: MetricsLog,
    titles: dict[str, str], sizes: tuple[Size, ...],
) -> None:  # fmt: skip
    """The model, and the picture of its training."""
    from easrec_jax.runs.figures import training_figure
    from easrec_jax.runs.pipeline import write_model

    records = log.records()
    write_model(workdir / "model", done, results, config, data, titles=titles, records=records, front=sizes)
    with pictures():
        if not sizes:
            training_figure(records, workdir / "retrain" / "training.png", select_by=config.evaluate.select_by)


def spent(results: dict, model: Path) -> str:
    """The last line: what it took, and where the model is."""
    return f"test items, looked at once; {results['seconds']:.0f} s, {results['peak_memory_mb']} MB at most; model in {model}"


def tables(mine: str, results: dict, others: dict, sizes: tuple[Size, ...], config: Config) -> str:
    """The model's figures beside the others', and those of an elastic model's sizes."""
    from easrec_jax.runs.tables import results_table, sizes_table

    rows = {name: others[name] for name in others if name == "popularity"}
    text = results_table(rows | {mine: results} | others, config.evaluate.protocols)
    if not sizes:
        return text
    return f"{text}\n\nsizes, by --budget of the other commands\n{sizes_table([size.entry for size in sizes])}\n"


def rivals(config: Config, data: Interactions, split: Split, truth: Any) -> dict:
    """Figures of the baselines that the config names, and on planted data of the process behind it."""
    from easrec_jax.data.load import load_features
    from easrec_jax.models.rival import needs_features
    from easrec_jax.runs.retrain import baseline, planted_ceiling
    from easrec_jax.train.loop import Run

    featured = any(needs_features(name) for name in config.retrain.baselines)
    features = load_features(config.data, data, truth) if featured else None
    found = {}
    for name in config.retrain.baselines:
        with Progress(name) as progress:
            run = Run(on_step=progress.step, on_epoch=progress.epoch)
            found[name] = baseline(name, config, split, features, run=run)
        if found[name] is None:
            fail(f"interrupted while training the baseline {name}: run the same command with --resume")
    return found | (planted_ceiling(config, split, truth) if truth is not None else {})
