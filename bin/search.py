"""Search an architecture: CONFIG.py -> WORKDIR/search/ (architecture.json, supernet.npz, metrics.jsonl, search.png)."""

import json
import time

from easrec_jax.runs.cli import Progress, describe_data, fail, machine, main, run_arguments


def command() -> None:
    arguments, workdir = run_arguments(__doc__ or "")
    config, folder = arguments.config, workdir / "search"

    from easrec_jax.data.load import load_data
    from easrec_jax.data.split import Split
    from easrec_jax.evaluate.latency import latency_table
    from easrec_jax.files import write_text
    from easrec_jax.models.cost import cost_table
    from easrec_jax.runs.figures import draw_search
    from easrec_jax.runs.retrain import describe_architecture, make_evaluator, make_samples
    from easrec_jax.runs.workdir import MetricsLog, open_run
    from easrec_jax.search.search import check_strategy
    from easrec_jax.search.strategies import find_strategy
    from easrec_jax.search.wide import search_any
    from easrec_jax.serving.artifact import save_tree
    from easrec_jax.space import SearchSpace, space_of
    from easrec_jax.train.loop import Checkpoints

    started = time.perf_counter()
    data, _ = load_data(config.data, seed=config.seed)
    split, space = Split(data), space_of(config)
    evaluator = make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    samples = make_samples(config, split)
    strategy, costs = find_strategy(config.search.strategy), cost_table(space, data.num_items, config.search.cost)
    check_strategy(strategy, costs, config.search)
    parts = ("data", "model", "search", "evaluate", "seed")
    owner = open_run(folder, config, data, parts=parts, resume=arguments.resume, overwrite=arguments.overwrite)
    print(describe_data(data, samples.num_targets), flush=True)
    log = MetricsLog(folder / "metrics.jsonl")
    options: dict = {"costs": costs}
    if isinstance(space, SearchSpace):  # a wide one has a strategy of its own and counts FLOPs alone
        options["strategy"] = strategy
        if config.search.cost == "latency":
            seconds = latency_table(space, data.num_items, folder / "latency.json")
            options["costs"] = seconds / seconds.max()
    with Progress("search", log) as progress:
        found = search_any(
            space, samples, evaluator, settings=config.search, dropout=config.model.dropout, seed=config.seed,
            checkpoints=Checkpoints(folder / "checkpoints"), resume=arguments.resume,
            on_step=progress.step, on_epoch=progress.epoch, **options,
        )  # fmt: skip
    if not found.finished:
        fail(f"interrupted after {found.epochs} whole epochs; the checkpoint in {folder} is good: --resume continues")
    last = log.records()[-1]
    chosen_by = {
        "method": config.search.strategy,
        "epochs": found.epochs,
        "cost": config.search.cost,
        "budget": config.search.budget,
        "cost_weight": config.search.cost_weight,
        "seed": config.seed,
    }
    chosen_by |= {key: last[key] for key in ("p", "q", "shares", "expected_cost", "temperature") if key in last}
    chosen_by["finalists"] = found.finalists
    described = describe_architecture(found.architecture, config, data.num_items, chosen_by)
    if found.weights is not None:
        save_tree(folder / "supernet.npz", found.weights)
        write_text(folder / "items.json", json.dumps({"ids": data.item_ids.to_json()}))  # of the rows of its item table
    write_text(folder / "architecture.json", json.dumps(described, indent=2) + "\n")
    draw_search(log.records(), config, folder / "search.png")
    print(f"found {found.architecture.describe()}")
    print(
        f"  {described['flops'] / 1e6:.1f} MFLOPs a request: {described['flops_over_largest']:.1%} of the largest network's, "
        f"{described['flops_over_sasrec']:.1%} of SASRec's; {described['parameters']:,} parameters\n"
        f"  {described['flops_all'] / 1e6:.1f} MFLOPs with all layers at all positions: "
        f"{described['flops_all_over_largest']:.1%} of the largest network's, {described['flops_all_over_sasrec']:.1%} of SASRec's"
    )
    print(f"  {time.perf_counter() - started:.0f} s, {machine()['peak_memory_mb']} MB at most; written to {folder}")
    owner.close()


if __name__ == "__main__":
    main(command)
