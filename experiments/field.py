"""The published field on sparse data: the recipe of configs/sparse.py, each thing it does left out or changed, and rivals' figures.

A row is the recipe with other settings; all are one network from scratch. What is kept is chosen by validation items. The test
items of a cell are looked at once, by its best epoch.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

from easrec_jax.architecture import full_architecture
from easrec_jax.config import Config
from easrec_jax.config_files import load_config
from experiments.cells import Cells, Job
from experiments.compare import Row
from experiments.show import FLOPS_NOTE, markdown, plus_minus, show_mflops
from experiments.training import alone_cell

SPARSE = Path(__file__).parents[1] / "configs" / "sparse.py"
PROTOCOL = "full_unseen"
METRICS = ("recall@10", "ndcg@10")
RECIPE = "recipe"
# what is other than in the recipe, by part of the config
ROWS: dict[str, dict[str, dict[str, Any]]] = {
    RECIPE: {},
    "eight epochs": {"retrain": {"epochs": 8, "batch_size": 24, "learning_rate": 0.002}},
    # cheaper steps, for catalogues beyond some 10^5 items
    "sampled": {
        "retrain": {"loss": "sampled", "negatives": 1024, "epochs": 12, "batch_size": 24, "learning_rate": 0.003}
    },
    "width 64": {"model": {"width": 64, "inner": 128, "heads": 2}},
    "no gates": {"model": {"gate_layers": 0}},
}
# Recall@10 and NDCG@10 on the same file, seen items removed or nearly so; where they were read is in docs/results/field.md
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "beauty": {
        "SASRec, sampled softmax, as transformer_benchmark ran it": (0.0921, 0.0531),
        "eSASRec": (0.0928, 0.0523),
        "BSARec": (0.1008, 0.0611),
        "BSARec, a third party's run": (0.0985, 0.0599),
    },
    "video-games": {"SASRec, as LRURec ran it": (0.1091, 0.05829), "LRURec": (0.11337, 0.06198)},
}


def run_field(cells: Cells, *, seeds: int, dataset: str, rows: tuple[str, ...] = ()) -> str:
    """All cells that are not finished, then field.json, .csv and .md; the Markdown is returned. `rows` are some of `ROWS`."""
    config = field_config(cells.config)
    shown = cells.shown_rows(ROWS, rows or (RECIPE,), partial(_names, seeds=seeds))
    jobs: dict[str, Job] = {}
    for label in shown:
        changed = changed_config(config, ROWS[label])
        network = full_architecture(changed.model)
        for seed, name in enumerate(_names(label, seeds)):
            jobs[name] = Job(
                partial(alone_cell, network, cells.split), dataclasses.replace(changed, seed=seed), network
            )
    cells.run_all(jobs)
    found = {label: Row.finished(label, cells, _names(label, seeds)) for label in shown}
    fields = [_fields(row, changed_config(config, ROWS[label])) for label, row in found.items()]
    published = PUBLISHED.get(dataset, {})
    text = "\n\n".join([_table(found, fields, published), _note(dataset, seeds, config)])
    return cells.write("field", {"rows": fields, "published": published}, fields, text, seeds=seeds)


def field_config(config: Config) -> Config:
    """The recipe of configs/sparse.py on a config's data; a smoke config keeps its sizes and its effort."""
    recipe = load_config(SPARSE)
    if config.retrain.epochs < 10:  # smoke
        effort = ("epochs", "batch_size", "buckets", "warmup_steps")
        kept = {name: getattr(config.retrain, name) for name in effort}
        sizes = {name: getattr(config.model, name) for name in ("width", "inner", "heads", "max_length")}
        recipe = changed_config(recipe, {"model": sizes, "retrain": kept})
    evaluate = dataclasses.replace(recipe.evaluate, protocols=(PROTOCOL, "full"), select_by=PROTOCOL)
    return dataclasses.replace(
        config, model=recipe.model, search=recipe.search, retrain=recipe.retrain, evaluate=evaluate
    )


def changed_config(config: Config, changes: dict[str, dict[str, Any]]) -> Config:
    """The config with other settings, by part."""
    parts = {part: dataclasses.replace(getattr(config, part), **fields) for part, fields in changes.items()}
    return dataclasses.replace(config, **parts)


def _names(label: str, seeds: int) -> list[str]:
    return [f"field-{label.replace(' ', '-')}-seed{seed}" for seed in range(seeds)]


def _fields(row: Row, config: Config) -> dict:
    """A row as plain numbers, means over seeds."""
    network = full_architecture(config.model).describe()
    fields: dict[str, Any] = {"row": row.label, "network": network, "seeds": len(row.cells)}
    for part in ("validation", "test"):
        for metric in METRICS:
            fields[f"{part} {metric}"] = sum(row.values(part, metric, PROTOCOL)) / len(row.cells)
    return fields | {
        "best_epochs": [cell["best_epoch"] for cell in row.cells],
        "flops": row.flops, "parameters": row.cells[0]["architecture"]["parameters"],
        "cpu_seconds": sum(cell["cpu_seconds"] for cell in row.cells) / len(row.cells),
    }  # fmt: skip


def _table(found: dict[str, Row], fields: list[dict], published: dict[str, tuple[float, float]]) -> str:
    head = [
        "",
        "network",
        "validation R@10 / NDCG@10",
        "test R@10 / NDCG@10",
        "best epoch",
        "MFLOPs",
        "parameters",
        "CPU min",
    ]
    lines = []
    for row, known in zip(found.values(), fields, strict=True):
        figures = [
            " / ".join(plus_minus(row.values(part, metric, PROTOCOL)) for metric in METRICS)
            for part in ("validation", "test")
        ]
        best = ", ".join(map(str, known["best_epochs"]))
        size = [show_mflops(known["flops"]), f"{known['parameters']:,}", f"{known['cpu_seconds'] / 60:.1f}"]
        lines.append([row.label, known["network"], *figures, best, *size])
    lines += [[f"published: {name}", "", "-", f"{r:.4f} / {n:.4f}", *["-"] * 4] for name, (r, n) in published.items()]
    return markdown(head, lines)


def _note(dataset: str, seeds: int, config: Config) -> str:
    return (
        f"{dataset}, `{PROTOCOL}`, {seeds} seed{'s' * (seeds > 1)}, from scratch, the recipe {config.retrain.epochs} epochs, the best "
        f"one by validation NDCG@10. {FLOPS_NOTE}"
    )
