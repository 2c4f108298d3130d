"""Cut the found network out, retrain and evaluate it: WORKDIR/search/ -> WORKDIR/model/ (weights, ids, results.json).

With --retrain.from MODEL a trained model is trained further, on data that may have new users and items.
"""

import json
import time
from pathlib import Path

from easrec_jax.runs.cli import Progress, describe_data, fail, machine, main, run_arguments


def command() -> None:
    arguments, workdir = run_arguments(__doc__ or "")
    config, folder = arguments.config, workdir / "retrain"

    from easrec_jax.config_files import to_json
    from easrec_jax.data.load import load_data, load_features
    from easrec_jax.data.split import Split
    from easrec_jax.data.titles import read_titles
    from easrec_jax.runs.figures import training_figure
    from easrec_jax.runs.retrain import (
        baseline,
        data_counts,
        describe_architecture,
        make_samples,
        needs_features,
        planted_ceiling,
        retrain,
    )
    from easrec_jax.runs.start import find_start
    from easrec_jax.runs.tables import results_table
    from easrec_jax.runs.workdir import MetricsLog, open_run
    from easrec_jax.serving.artifact import Model, save_model
    from easrec_jax.train.loop import Checkpoints

    started = time.perf_counter()
    data, truth = load_data(config.data, seed=config.seed)
    titles = read_titles(config.data.titles) if config.data.titles else {}
    split = Split(data)
    featured = any(needs_features(name) for name in config.retrain.baselines)
    features = load_features(config.data, data, truth) if featured else None
    targets = make_samples(config, split).num_targets
    start, going_on = find_start(config, workdir, data), bool(config.retrain.from_model)
    architecture, asked = start.architecture, arguments.overwrite or (arguments.resume and folder.is_dir())
    if going_on and Path(config.retrain.from_model).resolve() == (workdir / "model").resolve() and not asked:
        fail(f"{workdir / 'model'} is the model to go on from: give another --workdir, or --overwrite to replace it")
    parts = ("data", "model", "retrain", "evaluate", "seed")
    owner = open_run(
        folder, config, data, parts=parts, start=start.source, resume=arguments.resume, overwrite=arguments.overwrite
    )
    described = describe_architecture(architecture, config, data.num_items, start.chosen_by)
    print(describe_data(data, targets))
    if start.rows is not None:
        copied, fresh, left_out = start.rows
        print(f"item rows: {copied} copied by id, {fresh} fresh (new items), {left_out} left out (items that are gone)")
    print(
        f"training {architecture.describe()}: {described['flops'] / 1e6:.1f} MFLOPs a request, "
        f"{described['parameters']:,} parameters",
        flush=True,
    )
    log = MetricsLog(folder / "metrics.jsonl")
    with Progress("retrain", log) as progress:
        done = retrain(
            architecture, start.weights, config, split, evaluate_start=going_on and start.rows is not None,
            checkpoints=Checkpoints(folder / "checkpoints"), resume=arguments.resume, on_step=progress.step,
            on_epoch=progress.epoch,
        )  # fmt: skip
    if done is None:
        fail(f"interrupted; the checkpoint in {folder} is good: --resume continues")
    if done.fitted.epoch == 0:
        print("no epoch was better on the validation items than the start: the model's weights are kept as they were")
    results = {
        "data": data_counts(config, split), "architecture": described, "best_epoch": done.fitted.epoch,
        "seconds": round(time.perf_counter() - started, 1), **machine(), "validation": done.validation, "test": done.test,
    }  # fmt: skip
    if start.rows is not None:
        results["item_rows"] = start.rows._asdict()
    searched = config.retrain.architecture == "searched" and not going_on
    rows = {"EASRec" if searched else "this model": results}
    extra = {}
    for name in config.retrain.baselines:
        with Progress(name) as progress:
            extra[name] = baseline(name, config, split, features, on_step=progress.step, on_epoch=progress.epoch)
        if extra[name] is None:
            fail(f"interrupted while training the baseline {name}: run the same command with --resume")
    if truth is not None:
        extra |= planted_ceiling(config, split, truth)
    if extra:
        results["baselines"] = extra
    metrics = "".join(json.dumps(r) + "\n" for r in log.records())
    known = {raw: titles[raw] for raw in data.item_ids.raw if raw in titles}
    model = Model(architecture, done.fitted.weights, data.item_ids, split.popularity(), results, known)
    save_model(workdir / "model", model, architecture=described, config=to_json(config), metrics=metrics)
    training_figure(log.records(), folder / "training.png", select_by=config.evaluate.select_by)
    order = ["popularity", *rows, *(name for name in extra if name != "popularity")]
    print(
        results_table({name: (rows | extra)[name] for name in order if name in rows | extra}, config.evaluate.protocols)
    )
    spent = f"{results['seconds']:.0f} s, {results['peak_memory_mb']} MB at most"
    print(f"test items, looked at once; {spent}; model in {workdir / 'model'}")
    owner.close()


if __name__ == "__main__":
    main(command)
