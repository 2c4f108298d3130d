"""One elastic network against its networks alone: are slices good as they stand, do they rank, what does it save?"""

from __future__ import annotations

import dataclasses
from functools import partial
from itertools import combinations

import numpy as np

from easrec_jax.config import Config, RetrainConfig, SearchConfig
from easrec_jax.models.cost import request_flops
from easrec_jax.models.network import Network
from easrec_jax.nas.finalists import Finalist
from easrec_jax.nas.front import front
from easrec_jax.nas.search import Found, search
from easrec_jax.space import Space, space_of
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.fit import fit
from easrec_jax.train.loop import Run
from easrec_jax.train.task import task_of
from experiments.cells import Cells, Job
from experiments.effort import alone_flops, elastic_flops
from experiments.training import alone_cell, epoch_shapes

# of the elastic network and of each alone, of its warm-up; on planted data twelve rank networks by when they leave a plateau
EPOCHS = {"planted": (24, 8), "planted-check": (24, 8), "ml-100k": (30, 10), "ml-1m": (16, 5)}
# what is trained, as other settings of the search; "elastic" is the recipe, each other row leaves one thing out or is a control
ROWS: dict[str, dict] = {
    "elastic": {},
    "two_thirds": {},  # of the epochs
    "twice": {},  # as many
    "no_teacher": {"teacher": 0.0},
    "no_warmup": {"warmup_epochs": 0},
    "single": {"training": "single"},  # one network a step, drawn uniformly; corners
    "own": {"training": "single", "sharing": "own"},  # the same with weights of their own
    "easrec": {
        "strategy": "easrec",
        "training": "single",
        "sharing": "own",
    },  # drawn by what alpha and beta have learned
}
EPOCHS_OF = {"two_thirds": (2, 3), "twice": (2, 1)}
ON = 3  # epochs that a slice is trained on alone, at a third of the rate, as one would ship it


def run_elastic(cells: Cells, *, seeds: int, rows: tuple[str, ...] = (), dataset: str = "planted") -> str:
    """All cells that are not finished, then elastic.json, .csv and .md; the Markdown is returned. Choices and tables are of
    validation items. `rows` are some of `ROWS`, and "alone": every network alone."""
    config, split = elastic_config(cells.config, dataset), cells.split
    space = space_of(config)
    shown = cells.shown_rows((*ROWS, "alone"), rows or ("elastic", "alone"), lambda row: _names(row, space, seeds))
    jobs: dict[str, Job] = {}
    for seed in range(seeds):
        seeded = dataclasses.replace(config, seed=seed)
        for row in ROWS:
            if row in shown:
                other = dataclasses.replace(seeded, search=_settings(row, seeded.search))
                jobs[f"{row}-seed{seed}"] = Job(partial(elastic_cell, cells, row), other)
        if "alone" in shown:
            for name, network in alone_names(space, seed).items():
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


def _settings(row: str, search: SearchConfig) -> SearchConfig:
    if row in EPOCHS_OF:
        times, over = EPOCHS_OF[row]
        epochs, warmup = (n * times // over for n in (search.epochs, search.warmup_epochs))
        return dataclasses.replace(search, epochs=epochs, warmup_epochs=warmup, patience=epochs)
    return dataclasses.replace(search, **ROWS[row])


def trained_elastic(cells: Cells, row: str, config: Config, run: Run) -> tuple[Found, bool]:
    """(what the search of a row found, whether all of it was trained here): elastic and canet share DATASET-SCALE/elastics/.

    One that was interrupted goes on from its last epoch.
    """
    checkpoints = Checkpoints(cells.folder / "elastics" / f"{row}-seed{config.seed}", keep=1)
    here = checkpoints.latest() is None
    kept = run._replace(checkpoints=checkpoints, resume=True)
    return search(space_of(config), task_of(config, cells.split), settings=config.search, run=kept), here


def elastic_cell(cells: Cells, row: str, config: Config, run: Run) -> dict | None:
    """Every network as it stands in one elastic network, and trained on from there, by validation NDCG@10."""
    task = task_of(config, cells.split)
    found, here = trained_elastic(cells, row, config, run)
    if not found.finished:
        return None
    assert found.supernet is not None
    training = RetrainConfig(
        epochs=ON, learning_rate=config.search.learning_rate / 3, batch_size=config.search.batch_size,
        buckets=config.search.buckets,
    )  # fmt: skip
    on, last = [], []
    for one in found.measured:
        records: list[dict] = []
        network = Network(one.architecture, task.num_items, task.dropout)
        weights = found.supernet.cut(found.weights, one.architecture)
        trained = fit(network, weights, task, settings=training, run=Run(on_step=run.on_step, on_epoch=records.append))
        if not trained.finished:
            return None
        on.append(trained.ndcg)
        last.append(records[-1]["ndcg@10"])
    order = np.argsort([one.network for one in found.measured])
    measured = [found.measured[at] for at in order]
    likeliest = max(range(len(on)), key=lambda at: _probability(found, at))
    return {
        "epochs": found.epochs, "cost": [one.cost for one in measured], "slices": [one.ndcg for one in measured],
        "trained_on": [on[at] for at in order], "trained_on_last": [last[at] for at in order], "likeliest": likeliest, "trained_here": here,
    }  # fmt: skip


def _probability(found: Found, network: int) -> float:
    """Of a network of the paper's space, by the shares of its width and depth."""
    assert found.shares is not None and found.supernet is not None
    width, depth = found.supernet.space.networks[network, :2]
    return found.shares["width"][width] * found.shares["depth"][depth]


def alone_names(space: Space, seed: int, kind: str = "equal") -> dict[str, int]:
    """Row of the space by the cell's name; those of `reproduce.py space` are of the kind "network"."""
    return {
        f"{kind}-{row[0]}x{row[1] + 1}-seed{seed}": number for number, row in enumerate(space.networks[:, :2].tolist())
    }


def _names(row: str, space: Space, seeds: int) -> list[str]:
    if row == "alone":
        return [name for seed in range(seeds) for name in alone_names(space, seed)]
    return [f"{row}-seed{seed}" for seed in range(seeds)]


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
    results: dict = {"protocol": protocol, "seeds": seeds, "epochs": config.search.epochs}
    columns: dict[str, np.ndarray] = {}
    alone = None
    if "alone" in shown:
        kept = [[cells.used[name] for name in alone_names(space, seed)] for seed in range(seeds)]
        alone = np.array([[cell["validation"][protocol]["ndcg@10"] for cell in row] for row in kept])
        columns["alone"] = alone.mean(0)
        each = [alone_flops(space.architecture(n), items, shapes, every_position=True) for n in range(len(flops))]
        results |= {"tau_alone_ceiling": _ceiling(alone), "alone_flops": [config.search.epochs * x for x in each]}
    results["rows"] = []
    for row in (name for name in ROWS if name in shown):
        of_row = [cells.used[f"{row}-seed{seed}"] for seed in range(seeds)]
        results["rows"].append({"row": row} | _of_row(of_row, alone))
        if row == "elastic":
            columns |= {name: np.mean([cell[name] for cell in of_row], 0) for name in ("slices", "trained_on")}
            results["elastic_flops"] = elastic_flops(space, items, shapes, config.search, config.search.epochs)
    if "elastic" in shown:
        best = front([
            Finalist(n, space.architecture(n), flops[n], ndcg=score) for n, score in enumerate(columns["slices"].tolist())
        ])  # fmt: skip
        results["front"] = [one.network for one in best]
    if "elastic" in shown and alone is not None:
        columns["gap"] = columns["slices"] / columns["alone"] - 1
        results["over_alone"] = results["elastic_flops"] / sum(results["alone_flops"])
        results["over_six_alone"] = results["over_alone"] * len(flops) / 6
    results["networks"] = [
        {"network": space.architecture(n).describe(), "mflops": flops[n] / 1e6, "front": n in results.get("front", [])}
        | {name: float(values[n]) for name, values in columns.items()}
        for n in range(len(flops))
    ]
    return results


def _of_row(cells: list[dict], alone: np.ndarray | None) -> dict:
    """One way of training, over its seeds; what is compared with networks alone only where there are such."""
    slices, on = (np.array([cell[name] for cell in cells]) for name in ("slices", "trained_on"))
    seeds, best = np.arange(len(cells)), slices.argmax(1)
    whole = [cell for cell in cells if cell.get("trained_here", True)]  # whose time is that of the training too
    found: dict = {
        "tau_trained_on": float(np.mean([kendall(a, b) for a, b in zip(slices, on, strict=True)])),
        "tau_trained_on_ceiling": _ceiling(on),
        "mean_slice": float(slices.mean()),
        "as_it_stands_over_trained_on": float(np.mean(slices[seeds, best] / on[seeds, best])),
        "cpu_seconds": float(np.mean([cell["cpu_seconds"] for cell in whole])) if whole else None,
    }
    if all(
        "trained_on_last" in cell for cell in cells
    ):  # the best of three epochs is three looks at the validation items
        after = np.array([cell["trained_on_last"] for cell in cells])
        found["as_it_stands_over_last"] = float(np.mean(slices[seeds, best] / after[seeds, best]))
    if alone is None:
        return found
    truth = alone.mean(0)
    gaps = slices.mean(0) / truth - 1
    likeliest = [cell["likeliest"] for cell in cells]
    return found | {
        "tau_alone": float(np.mean([kendall(row, truth) for row in slices])),
        "mean_gap": float(gaps.mean()), "worst_gap": float(gaps.min()),
        "regret": float(truth.max() - truth[best].mean()), "regret_likeliest": float(truth.max() - truth[likeliest].mean()),
    }  # fmt: skip


COLUMNS = {  # of a way of training
    "mean_slice": ("mean slice", "{:.4f}"),
    "mean_gap": ("mean gap", "{:+.1%}"), "worst_gap": ("worst gap", "{:+.1%}"), "tau_trained_on": ("tau, trained on", "{:.2f}"),
    "tau_trained_on_ceiling": ("its ceiling", "{:.2f}"), "tau_alone": ("tau, alone", "{:.2f}"),
    "as_it_stands_over_trained_on": ("pick as it stands / trained on", "{:.3f}"),
    "as_it_stands_over_last": ("/ last of its epochs", "{:.3f}"), "regret": ("regret, measured", "{:.4f}"),
    "regret_likeliest": ("regret, likeliest", "{:.4f}"), "cpu_seconds": ("CPU s", "{:.0f}"),
}  # fmt: skip


def tables(results: dict) -> str:
    """Markdown of the results."""
    titles = {
        "slices": "as it stands", "trained_on": f"trained on, {ON} epochs", "alone": f"alone, {results['epochs']} epochs",
        "gap": "as it stands over alone",
    }  # fmt: skip
    names = [name for name in titles if name in results["networks"][0]]
    lines = [
        f"Validation NDCG@10 by `{results['protocol']}`, mean of {results['seeds']} seeds.", "",
        "| network | MFLOPs | " + " | ".join(titles[name] for name in names) + " |", "|---|---|" + "---|" * len(names),
    ]  # fmt: skip
    for row in results["networks"]:
        shown = [f"{row[name]:+.1%}" if name == "gap" else f"{row[name]:.4f}" for name in names]
        lines.append(f"| {row['network']} | {row['mflops']:.2f} | " + " | ".join(shown) + " |")
    known = [name for name in COLUMNS if any(row.get(name) is not None for row in results["rows"])]
    if results["rows"]:
        lines += [
            "",
            "| trained | " + " | ".join(COLUMNS[name][0] for name in known) + " |",
            "|---|" + "---|" * len(known),
        ]
    for row in results["rows"]:
        figures = ["-" if row.get(name) is None else COLUMNS[name][1].format(row[name]) for name in known]
        lines.append(f"| {row['row']} | " + " | ".join(figures) + " |")
    if results.get("tau_alone_ceiling") is not None:
        lines += ["", f"Tau of networks alone between two seeds: {results['tau_alone_ceiling']:.2f}."]
    if "over_alone" in results:
        lines += [
            "", f"The elastic network's training took {results['over_alone']:.0%} of the FLOPs of all networks alone, "
            f"{results['over_six_alone']:.0%} of six of them.",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"
