"""Train a router over the sizes of an elastic model: WORKDIR/model/ -> the same with route.json and router.npz.

The model is one that `retrain --retrain.architecture elastic` made; its weights stay as they are. --per_user of recommend and
serve then answers each user by the size that the router chooses.
"""

from __future__ import annotations

import time

from easrec_jax.runs.cli import Progress, describe_data, fail, run_arguments


def command() -> None:
    """Train the router and add it to the model."""
    arguments, workdir = run_arguments(__doc__ or "")
    config, folder = arguments.config, workdir / "route"

    from easrec_jax.data.load import load_data
    from easrec_jax.data.split import Split
    from easrec_jax.nas.routing import outcomes, router_of, train_router
    from easrec_jax.runs.route_folder import add_route, load_elastic
    from easrec_jax.runs.workdir import MetricsLog, open_run
    from easrec_jax.train.checkpoint import Checkpoints
    from easrec_jax.train.loop import Run
    from easrec_jax.train.task import make_evaluator

    started = time.perf_counter()
    data, _ = load_data(config.data, seed=config.seed, times=config.model.times != "no")
    split, target = Split(data), workdir / "model"
    elastic, model = load_elastic(target, data)
    parts = ("data", "model", "route", "evaluate", "seed")
    owner = open_run(
        folder,
        config,
        data,
        parts=parts,
        start=model.fingerprint,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
    )
    print(describe_data(data, data.num_users), flush=True)
    evaluator = make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    with Progress("route", MetricsLog(folder / "metrics.jsonl")) as progress:
        run = Run(Checkpoints(folder / "checkpoints"), arguments.resume, progress.step, progress.epoch)
        found = outcomes(elastic, router_of(elastic, config.route), evaluator, progress.step)
        routed = train_router(elastic, split, found, settings=config.route, seed=config.seed, run=run)
    if not routed.finished:
        fail(f"interrupted; the checkpoint in {folder} is good: --resume continues")
    described = add_route(target, model, elastic, routed, config, split)
    for one, network in zip(described["networks"], routed.networks, strict=True):
        print(f"{one['share']:6.1%}  {network.describe()}, {one['cost']:.3f} of the largest network's FLOPs")
    for name, figures in described["test"].items():
        largest = described["largest"]["test"][name]["ndcg@10"]
        print(f"{name}: NDCG@10 {figures['ndcg@10']:.4f}, the largest network {largest:.4f}")
    print(
        f"{described['cost']['test']:.3f} of its FLOPs a request, the router included; test items, looked at once; "
        f"{time.perf_counter() - started:.0f} s; model in {target}"
    )
    owner.close()
