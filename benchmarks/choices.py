"""Train one network in several variants and compare their validation figures: what the defaults rest on.

    python benchmarks/choices.py configs/ml100k.py --data.path ml-100k.inter --model.layers 1 --workdir runs/choices
    VARIANTS="recent linrec,softmax" SEEDS=3 python benchmarks/choices.py configs/ml100k.py ...

Each variant is the network of the config's model.* sizes with one thing changed, trained from scratch by retrain.*;
the test items are never looked at. Finished lines in WORKDIR/choices.jsonl are not run again.
"""

import dataclasses
import json
import os
import time

import jax
import numpy as np

from easrec_jax.architecture import full_architecture
from easrec_jax.config import Config
from easrec_jax.data.load import load_data
from easrec_jax.data.split import Split
from easrec_jax.models.cost import request_flops
from easrec_jax.models.network import Network
from easrec_jax.runs.cli import Progress, main, run_arguments
from easrec_jax.train.fit import fit
from easrec_jax.train.loop import Run
from easrec_jax.train.task import task_of

VARIANTS: dict[str, dict] = {
    "recent linrec": {},
    "recent linrec with learned decays": {"model": {"learn_decay": True}},
    "recent linrec without convolution": {"model": {"conv_width": 0}},
    "causal linrec": {"model": {"attention": "causal_linrec"}},
    "softmax": {"model": {"attention": "softmax"}},
    "linrec with one sample a prefix": {"model": {"attention": "linrec"}, "data": {"targets": "last"}},
    "gates of 1 layer": {"model": {"gate_layers": 1}},
    "no gates": {"model": {"gate_layers": 0}},
    "dropout 0.1": {"model": {"dropout": 0.1}},
    "dropout 0.3": {"model": {"dropout": 0.3}},
    "dropout 0.4": {"model": {"dropout": 0.4}},
    "windows: the last alone": {"data": {"windows": "last"}},
}


def changed(config: Config, change: dict) -> Config:
    parts = {name: dataclasses.replace(getattr(config, name), **fields) for name, fields in change.items()}
    return dataclasses.replace(config, **parts)


def train(name: str, config: Config, split: Split) -> dict:
    network = Network(full_architecture(config.model), split.data.num_items, config.model.dropout)
    weights = network.init(jax.random.fold_in(jax.random.key(config.seed), 2))
    begun = time.perf_counter()
    with Progress(name) as progress:
        run = Run(on_step=progress.step, on_epoch=progress.epoch)
        fitted = fit(network, weights, task_of(config, split), settings=config.retrain, run=run)
    flops = request_flops(network.architecture, split.data.num_items)
    return {
        "variant": name, "seed": config.seed, "finished": fitted.finished, "ndcg@10": fitted.ndcg, "epoch": fitted.epoch,
        "mflops": flops / 1e6, "seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip


def command() -> None:
    arguments, workdir = run_arguments(__doc__ or "")
    names = os.environ["VARIANTS"].split(",") if os.environ.get("VARIANTS") else list(VARIANTS)
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise ValueError(f"VARIANTS: expected some of {', '.join(VARIANTS)}; got {', '.join(unknown)}")
    split = Split(load_data(arguments.config.data, seed=arguments.config.seed)[0])
    workdir.mkdir(parents=True, exist_ok=True)
    log = workdir / "choices.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    for seed in range(int(os.environ.get("SEEDS", "1"))):
        for name in names:
            if any(r["variant"] == name and r["seed"] == seed for r in done):
                continue
            record = train(name, dataclasses.replace(changed(arguments.config, VARIANTS[name]), seed=seed), split)
            if not record["finished"]:
                raise SystemExit(130)
            done.append(record)
            with log.open("a") as file:
                file.write(json.dumps(record) + "\n")
    print(f"| variant | validation NDCG@10 ({arguments.config.evaluate.select_by}) | best epoch | MFLOPs | seeds |")
    print("|---|---|---|---|---|")
    for name in names:
        mine = [r for r in done if r["variant"] == name]
        figures = [r["ndcg@10"] for r in mine]
        spread = f" ± {np.std(figures, ddof=1):.4f}" if len(figures) > 1 else ""
        epochs = "/".join(str(r["epoch"]) for r in mine)
        print(f"| {name} | {np.mean(figures):.4f}{spread} | {epochs} | {mine[0]['mflops']:.1f} | {len(mine)} |")


if __name__ == "__main__":
    main(command)
