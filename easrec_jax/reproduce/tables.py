"""The paper's Tables III, IV and V and Figure 4, in this package's own runs, beside the paper's figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.architecture import Architecture, search_space
from easrec_jax.baselines import FDSA, SASRecF
from easrec_jax.cli import machine
from easrec_jax.config import Config
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Split
from easrec_jax.latency import measure_latency
from easrec_jax.network import Network
from easrec_jax.reproduce.cells import Cells, markdown, plus_minus, write_results
from easrec_jax.reproduce.paper import TABLE3, TABLE4, TABLE5
from easrec_jax.reproduce.pictures import cost_weight_figure
from easrec_jax.reproduce.space import for_strategy
from easrec_jax.retrain import baseline, describe_architecture, make_evaluator, make_samples, retrain
from easrec_jax.search import search
from easrec_jax.supernet import extract

METRICS = ("recall@10", "mrr@10", "ndcg@10")
SEARCHED = {
    "EASRec": "easrec",
    "DARTS + SASRec": "darts",
    "ProxylessNAS + SASRec": "proxyless",
    "RecNAS + SASRec": "recnas",
}
TRAINED = {"SASRec": "sasrec", "FDSA": "fdsa", "SASRecF": "sasrecf"}
COST_WEIGHTS = (0.0, 0.01, 0.1, 1.0, 10.0)
BULK_USERS = 128


def searched_cell(config: Config, split: Split, callbacks: dict) -> dict | None:
    """Search, cut the pick out, retrain it; figures of its best epoch, the test items looked at once."""
    space, evaluator = search_space(config), make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    samples, dropout = make_samples(config, split), config.model.dropout
    found = search(space, samples, evaluator, settings=config.search, dropout=dropout, seed=config.seed, **callbacks)
    if not found.finished:
        return None
    copied = extract(found.weights, space, found.architecture) if found.weights is not None else None
    done = retrain(found.architecture, copied, config, split, **callbacks)
    if done is None:
        return None
    chosen = {"method": config.search.strategy, "finalists": found.finalists}
    described = describe_architecture(found.architecture, config, split.data.num_items, chosen)
    return {
        "architecture": described,
        "validation": done.validation,
        "test": done.test,
        "best_epoch": done.fitted.epoch,
    }


def models(config: Config, split: Split, features: ItemFeatures) -> dict[str, Callable[[Config, dict], dict | None]]:
    """The rows of Table III by name: `(config with its seed, callbacks) -> cell`. Rival searches run over SASRec's blocks."""
    backbone = dataclasses.replace(config.model, attention="softmax", gate_layers=0)
    linear = "linrec" if config.data.targets == "last" else "causal_linrec"

    def searched(name: str) -> Callable[[Config, dict], dict | None]:
        def make(config: Config, callbacks: dict) -> dict | None:
            mine = for_strategy(config, name)
            if name != "easrec":
                mine = dataclasses.replace(mine, model=backbone)
            return searched_cell(mine, split, callbacks)

        return make

    def trained(name: str) -> Callable[[Config, dict], dict | None]:
        return lambda config, callbacks: baseline(name, config, split, features, **callbacks)

    rows = {label: searched(name) for label, name in SEARCHED.items()}
    rows |= {label: trained(name) for label, name in TRAINED.items()}
    return rows | {f"{label} + LinRec": trained(f"{name}+{linear}") for label, name in TRAINED.items()}


def table3_cells(
    config: Config, split: Split, features: ItemFeatures, cells: Cells, seeds: int
) -> dict[str, list[dict]]:
    """The finished cells of every row, a seed each."""
    found: dict[str, list[dict]] = {}
    for seed in range(seeds):
        seeded = dataclasses.replace(config, seed=seed)
        for label, make in models(config, split, features).items():
            file = f"table3-{label.replace(' + ', '-').lower()}-seed{seed}"
            cell = cells.run(file, lambda on, make=make, seeded=seeded: make(seeded, on))
            found.setdefault(label, []).append(cell)
    return found


def run_table3(config: Config, split: Split, folder: Path, *, seeds: int, dataset: str, features: ItemFeatures) -> str:
    """Accuracy of every model on the test items by pop100, beside the paper's; table3.json, .csv, .md."""
    found = table3_cells(config, split, features, Cells(folder, config), seeds)
    rows, lines = [], []
    ours = [cell["test"]["pop100"]["ndcg@10"] for cell in found["EASRec"]]
    for label, seeds_of in found.items():
        paper = TABLE3.get(dataset, {}).get(label)
        row: dict[str, Any] = {
            "model": label,
            "seeds": seeds,
            "flops": np.mean([c["architecture"]["flops"] for c in seeds_of]),
        }
        line = [label]
        for number, metric in enumerate(METRICS):
            values = [cell["test"]["pop100"][metric] for cell in seeds_of]
            row |= {metric: float(np.mean(values)), f"{metric} sd": float(np.std(values, ddof=1)) if seeds > 1 else 0.0}
            if paper is not None:
                row |= {f"{metric} paper": paper[number], f"{metric} relative": np.mean(values) / paper[number] - 1}
            line += [plus_minus(values), beside(np.mean(values), paper and paper[number])]
        row["p"] = paired(ours, [cell["test"]["pop100"]["ndcg@10"] for cell in seeds_of])
        rows.append(row)
        lines.append([*line, f"{row['flops'] / 1e6:.1f}", "-" if np.isnan(row["p"]) else f"{row['p']:.3f}"])
    head = ["model"]
    for name in ("Recall@10", "MRR@10", "NDCG@10"):
        head += [name, "paper (ours relative to it)"]
    text = markdown([*head, "MFLOPs", "p against EASRec (NDCG, paired t)"], lines)
    text += f"\n\n{dataset}, test items, pop100, {seeds} seeds."
    write_results(folder, "table3", {"rows": rows, "cells": found}, rows, text)
    return text


def run_table4(config: Config, split: Split, folder: Path, *, seeds: int, dataset: str, features: ItemFeatures) -> str:
    """Inference time and memory of the networks of Table III (seed 0), as ratios beside the paper's; table4.json, .csv, .md."""
    found = table3_cells(config, split, features, Cells(folder, config), seeds)
    networks = []
    for label, cells in found.items():
        architecture = Architecture.from_json(cells[0]["architecture"])
        kind = {"FDSA": FDSA, "SASRecF": SASRecF}.get(label.removesuffix(" + LinRec"))
        size: Any = {"num_items": split.data.num_items}
        networks.append(kind(architecture, features, **size) if kind else Network(architecture, **size))
    measured = measure_latency(networks, rows=BULK_USERS, repeats=7)
    per_user = measured.seconds / BULK_USERS
    rows, lines = [], []
    for number, label in enumerate(found):
        ratio = per_user[number] / per_user[0]
        memory = measured.temporary_bytes[number] / measured.temporary_bytes[0]
        paper, base = (TABLE4.get(dataset, {}).get(name) for name in (label, "EASRec"))
        row = {
            "model": label, "ms_per_user": 1e3 * per_user[number], "temporary_mb": measured.temporary_bytes[number] / 2**20,
            "time_over_easrec": ratio, "memory_over_easrec": memory,
        }  # fmt: skip
        line = [label, f"{row['ms_per_user']:.3f}", f"{row['temporary_mb']:.1f}"]
        for value, index in ((ratio, 0), (memory, 1)):
            line += [f"{value:.2f}", beside(value, paper[index] / base[index] if paper and base else None, digits=2)]
        rows.append(row)
        lines.append(line)
    head = ["model", "ms a user", "MB of temporaries", "time / EASRec", "paper", "memory / EASRec", "paper"]
    text = (
        markdown(head, lines) + f"\n\n{machine()['device']}, batches of {BULK_USERS} users of N events, seed 0's picks."
    )
    write_results(folder, "table4", {"rows": rows, "device": machine()["device"]}, rows, text)
    return text


def run_table5(config: Config, split: Split, folder: Path, *, seeds: int, dataset: str) -> str:
    """Gates of 2, 1 and 0 layers: search and retrain, validation items by pop100; table5.json, .csv, .md."""
    cells, rows, lines, found = Cells(folder, config), [], [], {}
    for layers, paper in TABLE5.items():
        model = dataclasses.replace(config.model, gate_layers=layers)  # type: ignore[arg-type]
        found[layers] = [
            cells.run(f"table5-gates{layers}-seed{seed}", lambda on, c=c: searched_cell(c, split, on))
            for seed in range(seeds)
            for c in [dataclasses.replace(config, model=model, seed=seed)]
        ]
        paper = paper if dataset == "ml-1m" else None
        row: dict[str, Any] = {"gate_layers": layers, "seeds": seeds}
        line = [str(layers)]
        for number, metric in enumerate(METRICS):
            values = [cell["validation"]["pop100"][metric] for cell in found[layers]]
            row |= {metric: float(np.mean(values))}
            line += [plus_minus(values), beside(np.mean(values), paper and paper[number])]
        row["p"] = paired(*([c["validation"]["pop100"]["ndcg@10"] for c in found[k]] for k in (2, layers)))
        rows.append(row)
        lines.append([*line, "-" if np.isnan(row["p"]) else f"{row['p']:.3f}"])
    head = ["gate layers"]
    for name in ("Recall@10", "MRR@10", "NDCG@10"):
        head += [name, "paper (ours relative to it)"]
    text = markdown([*head, "p against 2 (NDCG, paired t)"], lines)
    text += f"\n\n{dataset}, validation items, pop100, {seeds} seeds."
    write_results(folder, "table5", {"rows": rows}, rows, text)
    return text


def run_figure4(config: Config, split: Split, folder: Path, *, seeds: int, dataset: str) -> str:
    """EASRec without a budget under several lambda: FLOPs of the pick and its accuracy; figure4.json, .csv, .md, .png."""
    cells, rows, lines = Cells(folder, config), [], []
    for weight in COST_WEIGHTS:
        settings = dataclasses.replace(config.search, strategy="easrec", budget=None, cost_weight=weight)
        for seed in range(seeds):
            mine = dataclasses.replace(config, search=settings, seed=seed)
            cell = cells.run(f"figure4-lambda{weight:g}-seed{seed}", lambda on, c=mine: searched_cell(c, split, on))
            test, size = cell["test"]["pop100"], cell["architecture"]
            rows.append(
                {"lambda": weight, "seed": seed, "flops": size["flops"], "width": size["width"], "depth": size["depth"]}
                | test
            )
        mine = [row for row in rows if row["lambda"] == weight]
        picks = ", ".join(f"{row['depth']} x {row['width']}" for row in mine)
        flops = f"{np.mean([row['flops'] for row in mine]) / 1e6:.1f}"
        lines.append([f"{weight:g}", picks, flops, *(plus_minus([row[m] for row in mine]) for m in METRICS)])
    text = markdown(["lambda", "picks", "MFLOPs", "Recall@10", "MRR@10", "NDCG@10"], lines)
    text += f"\n\n{dataset}, test items, pop100, {seeds} seeds."
    write_results(folder, "figure4", {"rows": rows}, rows, text)
    cost_weight_figure(rows, folder / "figure4.png")
    return text


def beside(value: Any, paper: float | None, digits: int = 4) -> str:
    """The paper's figure and how far ours is from it; "-" where it has none."""
    return "-" if paper is None else f"{paper:.{digits}f} ({value / paper - 1:+.1%})"


def paired(first: list[float], second: list[float]) -> float:
    """p of a two-sided paired t-test over seeds; nan for a single seed or for no difference at all."""
    if len(first) < 2 or np.allclose(first, second):
        return float("nan")
    from scipy.stats import ttest_rel

    result: Any = ttest_rel(first, second)
    return float(result.pvalue)
