"""Cut the found network out, retrain and evaluate it: WORKDIR/search/ -> WORKDIR/model/ (weights, ids, results.json)."""

import json
import time

from easrec_jax.cli import Progress, fail, machine, main, run_arguments


def command() -> None:
    arguments, workdir = run_arguments(__doc__ or "")
    config, folder = arguments.config, workdir / "retrain"

    from easrec_jax.architecture import full_architecture, space_of
    from easrec_jax.artifact import Model, save_model
    from easrec_jax.config_files import to_json
    from easrec_jax.data.load import load_data, load_features
    from easrec_jax.data.split import Split
    from easrec_jax.data.titles import read_titles
    from easrec_jax.files import read_json
    from easrec_jax.loop import Checkpoints
    from easrec_jax.report import results_table, training_figure
    from easrec_jax.retrain import (
        baseline,
        data_counts,
        describe_architecture,
        load_search,
        needs_features,
        planted_ceiling,
        retrain,
    )
    from easrec_jax.workdir import MetricsLog, open_run

    started = time.perf_counter()
    data, truth = load_data(config.data, seed=config.seed)
    titles = read_titles(config.data.titles) if config.data.titles else {}
    split = Split(data)
    featured = any(needs_features(name) for name in config.retrain.baselines)
    features = load_features(config.data, data, truth) if featured else None
    weights, chosen_by = None, {"method": "fixed"}
    architecture = full_architecture(config.model)
    if config.retrain.architecture == "searched":
        architecture, copied = load_search(workdir / "search", space_of(config))
        chosen_by = read_json(workdir / "search" / "architecture.json")["chosen_by"]
        weights = copied if config.retrain.weights == "copied" else None
    parts = ("data", "model", "retrain", "evaluate", "seed")
    open_run(folder, config, parts=parts, resume=arguments.resume, overwrite=arguments.overwrite)
    described = describe_architecture(architecture, config, data.num_items, chosen_by)
    print("".join(f"data: {note}\n" for note in data.notes), end="")
    print(
        f"training {architecture.describe()}: {described['flops'] / 1e6:.1f} MFLOPs a request, {described['parameters']:,} parameters"
    )
    log = MetricsLog(folder / "metrics.jsonl")
    with Progress("retrain", log) as progress:
        done = retrain(
            architecture, weights, config, split, checkpoints=Checkpoints(folder / "checkpoints"),
            resume=arguments.resume, on_step=progress.step, on_epoch=progress.epoch,
        )  # fmt: skip
    if done is None:
        fail(f"interrupted; the checkpoint in {folder} is good: --resume continues")
    results = {
        "data": data_counts(config, split), "architecture": described, "best_epoch": done.fitted.epoch,
        "seconds": round(time.perf_counter() - started, 1), **machine(), "validation": done.validation, "test": done.test,
    }  # fmt: skip
    rows = {"EASRec" if config.retrain.architecture == "searched" else "this model": results}
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


if __name__ == "__main__":
    main(command)
