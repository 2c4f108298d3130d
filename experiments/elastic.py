"""One elastic network against its networks alone: are slices good as they stand, do they rank, what does it save?"""

from __future__ import annotations

import dataclasses
from functools import partial
from itertools import combinations

import numpy as np

from easrec_jax.config import Config, RetrainConfig
from easrec_jax.data.split import Split
from easrec_jax.models.cost import request_flops
from easrec_jax.models.network import Network
from easrec_jax.nas.finalists import Finalist
from easrec_jax.nas.front import front
from easrec_jax.nas.search import search
from easrec_jax.space import Space, space_of
from easrec_jax.train.fit import fit
from easrec_jax.train.loop import Run
from easrec_jax.train.task import task_of
from experiments.cells import Cells, Job
from experiments.effort import alone_flops, elastic_flops, epochs_run
from experiments.training import alone_cell, epoch_shapes

# of the elastic network and of each alone, of its warm-up; on planted data twelve rank networks by when they leave a plateau
EPOCHS = {"planted": (24, 8), "planted-check": (24, 8), "ml-100k": (30, 10), "ml-1m": (16, 5)}
ON = 3  # epochs that a slice is trained on alone, at a third of the rate, as one would ship it


def run_elastic(cells: Cells, *, seeds: int, rows: tuple[str, ...] = (), dataset: str = "planted") -> str:
    """All cells that are not finished, then elastic.json, .csv and .md; the Markdown is returned. No test item is touched.

    `rows`: "elastic" alone leaves out the networks alone, "alone" the elastic ones.
    """
    config, split = elastic_config(cells.config, dataset), cells.split
    space = space_of(config)
    shown = cells.shown_rows(("elastic", "alone"), rows, lambda row: _names(row, space, seeds))
    jobs: dict[str, Job] = {}
    for seed in range(seeds):
        seeded = dataclasses.replace(config, seed=seed)
        if "elastic" in shown:
            jobs[f"elastic-seed{seed}"] = Job(partial(elastic_cell, split), seeded)
        if "alone" in shown:
            for name, network in _alone(space, seed).items():
                architecture = space.architecture(network)
                jobs[name] = Job(partial(alone_cell, architecture, split), seeded, architecture)
    cells.run_all(jobs)
    results = analyse(cells, config, space, seeds, shown)
    return cells.write("elastic", results, results["networks"], tables(results), seeds=seeds)


def elastic_config(config: Config, dataset: str) -> Config:
    """The elastic search of a recipe, by its retraining's rate and batches, and networks alone of as many epochs."""
    training = config.retrain
    epochs, warmup = EPOCHS.get(dataset, (training.epochs, training.epochs // 3))
    if training.epochs < 10:  # smoke
        epochs, warmup = training.epochs, 1
    return dataclasses.replace(
        config,
        search=dataclasses.replace(
            config.search, strategy="untrained", sharing="corners", training="sandwich", ranking="measured", finalists=1,
            schedule="cosine", epochs=epochs, warmup_epochs=warmup, patience=epochs, budget=None,
            learning_rate=training.learning_rate, batch_size=training.batch_size, buckets=training.buckets,
        ),
        retrain=dataclasses.replace(training, epochs=epochs, patience=epochs),
    )  # fmt: skip


def elastic_cell(split: Split, config: Config, run: Run) -> dict | None:
    """Every network as it stands in one elastic network, and trained on from there, by validation NDCG@10."""
    task = task_of(config, split)
    found = search(space_of(config), task, settings=config.search, run=run)
    if not found.finished:
        return None
    assert found.supernet is not None
    training = RetrainConfig(
        epochs=ON, learning_rate=config.search.learning_rate / 3, batch_size=config.search.batch_size,
        buckets=config.search.buckets,
    )  # fmt: skip
    on = []
    for one in found.measured:
        network = Network(one.architecture, task.num_items, task.dropout)
        weights = found.supernet.cut(found.weights, one.architecture)
        trained = fit(network, weights, task, settings=training, run=Run(on_step=run.on_step))
        if not trained.finished:
            return None
        on.append(trained.ndcg)
    order = np.argsort([one.network for one in found.measured])
    measured = [found.measured[at] for at in order]
    return {
        "epochs": found.epochs, "cost": [one.cost for one in measured], "slices": [one.ndcg for one in measured],
        "trained_on": [on[at] for at in order],
    }  # fmt: skip


def _alone(space: Space, seed: int) -> dict[str, int]:
    """Row of the space by the cell's name."""
    return {
        f"equal-{row[0]}x{row[1] + 1}-seed{seed}": number for number, row in enumerate(space.networks[:, :2].tolist())
    }


def _names(row: str, space: Space, seeds: int) -> list[str]:
    of = {"elastic": lambda seed: [f"elastic-seed{seed}"], "alone": lambda seed: list(_alone(space, seed))}[row]
    return [name for seed in range(seeds) for name in of(seed)]


def kendall(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-a of two scores of the same networks."""
    pairs = list(combinations(range(len(a)), 2))
    return float(np.mean([np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in pairs]))


def _ceiling(scores: np.ndarray) -> float | None:
    """Mean tau between two seeds, of [seeds networks]; None of one seed."""
    pairs = list(combinations(range(len(scores)), 2))
    return float(np.mean([kendall(scores[a], scores[b]) for a, b in pairs])) if pairs else None


def analyse(cells: Cells, config: Config, space: Space, seeds: int, shown: list[str]) -> dict:
    """All figures of the finished cells."""
    protocol, items = config.evaluate.select_by, cells.split.data.num_items
    shapes = epoch_shapes(config, cells.split, config.retrain)
    flops = [request_flops(space.architecture(n), items) for n in range(len(space.networks))]
    found: dict[str, np.ndarray] = {}
    results: dict = {"protocol": protocol, "seeds": seeds, "epochs": config.search.epochs}
    if "elastic" in shown:
        kept = [cells.used[f"elastic-seed{seed}"] for seed in range(seeds)]
        found |= {name: np.array([cell[name] for cell in kept]) for name in ("slices", "trained_on")}
        results |= _of_slices(found, kept, flops, space)
        results["elastic_flops"] = elastic_flops(space, items, shapes, config.search, kept[0]["epochs"])
    if "alone" in shown:
        kept = [[cells.used[name] for name in _alone(space, seed)] for seed in range(seeds)]
        found["alone"] = np.array([[cell["validation"][protocol]["ndcg@10"] for cell in row] for row in kept])
        results["tau_alone_ceiling"] = _ceiling(found["alone"])
        each = [
            alone_flops(space.architecture(n), items, shapes, every_position=True) * epochs_run(cell, config.retrain)
            for n, cell in enumerate(kept[0])
        ]
        results["alone_flops"] = each
    if len(shown) == 2:
        results |= _beside(found, results)
    results["networks"] = [
        {"network": space.architecture(n).describe(), "mflops": flops[n] / 1e6}
        | {name: float(scores.mean(0)[n]) for name, scores in found.items()}
        | ({"gap": float((found["slices"].mean(0) / found["alone"].mean(0) - 1)[n])} if len(shown) == 2 else {})
        for n in range(len(flops))
    ]
    return results


def _of_slices(found: dict, kept: list[dict], flops: list[int], space: Space) -> dict:
    slices, on = found["slices"], found["trained_on"]
    best = slices.argmax(1)
    seeds = np.arange(len(slices))
    networks = [
        Finalist(n, space.architecture(n), flops[n], ndcg=score) for n, score in enumerate(slices.mean(0).tolist())
    ]
    return {
        "tau_trained_on": float(np.mean([kendall(a, b) for a, b in zip(slices, on, strict=True)])),
        "tau_trained_on_ceiling": _ceiling(on),
        "pick_without_over_with_training": float(np.mean(slices[seeds, best] / on[seeds, best])),
        "front": [one.network for one in front(networks)],
        "cpu_seconds": [cell.get("cpu_seconds") for cell in kept],
    }


def _beside(found: dict, results: dict) -> dict:
    slices, alone = found["slices"], found["alone"]
    gaps = slices.mean(0) / alone.mean(0) - 1
    each = np.array(results["alone_flops"])
    return {
        "tau_alone": float(np.mean([kendall(row, alone.mean(0)) for row in slices])),
        "mean_gap": float(gaps.mean()), "worst_gap": float(gaps.min()),
        "elastic_over_six_alone": results["elastic_flops"] / float(6 * each.mean()),
        "elastic_over_all_alone": results["elastic_flops"] / float(each.sum()),
    }  # fmt: skip


def tables(results: dict) -> str:
    """Markdown of the results."""
    names = [name for name in ("slices", "trained_on", "alone", "gap") if name in results["networks"][0]]
    titles = {
        "slices": "as it stands", "trained_on": f"trained on, {ON} epochs", "alone": f"alone, {results['epochs']} epochs",
        "gap": "as it stands against alone",
    }  # fmt: skip
    lines = [
        f"Validation NDCG@10 by `{results['protocol']}`, mean of {results['seeds']} seeds.", "",
        "| network | MFLOPs | " + " | ".join(titles[name] for name in names) + " |", "|---|---|" + "---|" * len(names),
    ]  # fmt: skip
    for row in results["networks"]:
        shown = [f"{row[name]:+.1%}" if name == "gap" else f"{row[name]:.4f}" for name in names]
        lines.append(f"| {row['network']} | {row['mflops']:.2f} | " + " | ".join(shown) + " |")
    known = {
        "tau_trained_on": "tau, slices with the same trained on", "tau_trained_on_ceiling": "its ceiling, seed to seed",
        "tau_alone": "tau, slices with networks alone (mean of seeds)", "tau_alone_ceiling": "its ceiling, seed to seed",
        "mean_gap": "mean gap of slices to networks alone", "worst_gap": "worst gap",
        "pick_without_over_with_training": "the pick as it stands over the pick trained on",
        "elastic_over_six_alone": "training FLOPs over six networks alone",
        "elastic_over_all_alone": "training FLOPs over all networks alone",
    }  # fmt: skip
    lines += ["", "| | |", "|---|---|"]
    for name, title in known.items():
        if results.get(name) is not None:
            lines.append(f"| {title} | {results[name]:+.3f} |")
    return "\n".join(lines) + "\n"
