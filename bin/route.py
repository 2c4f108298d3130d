"""Train a router over the networks of an elastic search: WORKDIR/search/ -> WORKDIR/route/ (route.json, router.npz).

The search is one with --search.training sandwich and --search.ranking measured; its weights stay as they are.
"""

import time

from easrec_jax.runs.cli import Progress, describe_data, fail, main, run_arguments


def command() -> None:
    arguments, workdir = run_arguments(__doc__ or "")
    config, folder = arguments.config, workdir / "route"

    from easrec_jax.data.load import load_data
    from easrec_jax.data.split import Split
    from easrec_jax.files import file_digest
    from easrec_jax.nas.routing import outcomes, router_of, train_router
    from easrec_jax.runs.route_folder import load_elastic, write_route
    from easrec_jax.runs.workdir import MetricsLog, open_run
    from easrec_jax.train.checkpoint import Checkpoints
    from easrec_jax.train.loop import Run
    from easrec_jax.train.task import make_evaluator

    started = time.perf_counter()
    data, _ = load_data(config.data, seed=config.seed)
    split, elastic = Split(data), load_elastic(workdir / "search", config, data)
    parts = ("data", "model", "route", "evaluate", "seed")
    start = file_digest(workdir / "search" / "supernet.npz")
    owner = open_run(
        folder, config, data, parts=parts, start=start, resume=arguments.resume, overwrite=arguments.overwrite
    )
    print(describe_data(data, data.num_users), flush=True)
    evaluator = make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    with Progress("route", MetricsLog(folder / "metrics.jsonl")) as progress:
        run = Run(Checkpoints(folder / "checkpoints"), arguments.resume, progress.step, progress.epoch)
        found = outcomes(elastic, router_of(elastic, config.route), evaluator, progress.step)
        routed = train_router(elastic, split, found, settings=config.route, seed=config.seed, run=run)
    if not routed.finished:
        fail(f"interrupted; the checkpoint in {folder} is good: --resume continues")
    described = write_route(folder, elastic, routed, config, split)
    for one, network in zip(described["networks"], routed.networks, strict=True):
        print(f"{one['share']:6.1%}  {network.describe()}, {one['cost']:.3f} of the largest network's FLOPs")
    for name, figures in described["test"].items():
        largest = described["largest"]["test"][name]["ndcg@10"]
        print(f"{name}: NDCG@10 {figures['ndcg@10']:.4f}, the largest network {largest:.4f}")
    print(
        f"{described['cost']['test']:.3f} of its FLOPs a request, the router included; test items, looked at once; "
        f"{time.perf_counter() - started:.0f} s; written to {folder}"
    )
    owner.close()


if __name__ == "__main__":
    main(command)
