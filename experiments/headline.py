"""One network against one network: the pick of EASRec, and SASRec of one and of two layers, all from scratch, equally long.

A search, copied weights and a second layer could each explain a lead; here none of them is in it. The pick is the widest
candidate with one layer, which EASRec's search ends with on MovieLens. The rate of SASRec with one layer is chosen out of
`RATES` by the validation NDCG@10 of its first seed, and then gets all seeds.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import numpy as np

from easrec_jax.architecture import Architecture, full_architecture, sasrec_architecture
from easrec_jax.config import Config
from easrec_jax.files import read_json
from experiments.cells import Cells, Job
from experiments.compare import METRICS, TESTS, Row, compare, corrected
from experiments.show import FLOPS_HEAD, FLOPS_NOTE, markdown, plus_minus, show_mflops, show_p
from experiments.spaces import paper_grid
from experiments.training import alone_cell

EPOCHS = 26
RATES = (0.001, 0.002, 0.003)  # of SASRec with one layer
PICK, ONE, TWO = "EASRec's pick", "SASRec, 1 layer", "SASRec, 2 layers"


class Contender(NamedTuple):
    """A row: its cells are `CELL-seedN`."""

    cell: str
    architecture: Architecture
    rate: float


def run_headline(
    cells: Cells,
    *,
    seeds: int,
    dataset: str,
    rows: tuple[str, ...] = (),
    epochs: int = EPOCHS,
    rates: tuple[float, ...] = RATES,
) -> str:
    """Train each contender, and the pick tested against the others; headline.json, .csv, .md."""
    config, seeded = cells.config, partial(_names, seeds=seeds)
    one = {rate: Contender(f"headline-sasrec-1-rate{rate:g}", one_layer_sasrec(config), rate) for rate in rates}
    fixed = {
        PICK: Contender("headline-easrec", pick(config), config.retrain.learning_rate),
        TWO: Contender(
            "headline-sasrec", sasrec_architecture(config.model), config.retrain.of_baselines().learning_rate
        ),
    }

    def needed(label: str) -> list[str]:
        if label in fixed:
            return seeded(fixed[label])
        first = [name for contender in one.values() for name in _names(contender, seeds=1)]
        if not all(cells.path(name).is_file() for name in first):
            return first
        return seeded(_best(one, {name: read_json(cells.path(name)) for name in first}, config))

    shown = cells.shown_rows((PICK, ONE, TWO), rows, needed)
    contenders = {label: fixed[label] for label in shown if label in fixed}
    if ONE in shown:
        cells.run_all(_jobs(cells, list(one.values()), epochs, 1))
        contenders[ONE] = _best(one, cells.used, config)
    contenders = {label: contenders[label] for label in shown}
    cells.run_all(_jobs(cells, list(contenders.values()), epochs, seeds))
    found = {label: Row.finished(label, cells, seeded(contender)) for label, contender in contenders.items()}
    fields = [_fields(row, contenders[label], config) for label, row in found.items()]
    against = _against(found, config)
    text = "\n\n".join(
        [_figures(found, contenders, config), *([_differences(against, config)] if against else [])]
        + [
            f"{dataset}, test items, {seeds} seed{'s' * (seeds > 1)}, mean ± standard deviation, {epochs} epochs from scratch, the best "
            f"one by validation {config.evaluate.select_by}. The rate of SASRec with one layer is the best of "
            f"{', '.join(f'{rate:g}' for rate in rates)} by the validation NDCG@10 of its first seed. {FLOPS_NOTE}"
            + f" {TESTS}"
            * bool(against)
        ]
    )
    return cells.write("headline", {"rows": fields, "against": against}, fields, text, seeds=seeds)


def one_layer_sasrec(config: Config) -> Architecture:
    """SASRec of the config's width with one softmax layer, no gates."""
    return full_architecture(dataclasses.replace(config.model, layers=1, attention="softmax", gate_layers=0))


def pick(config: Config) -> Architecture:
    """The widest candidate with one layer."""
    return paper_grid(config).networks[0][0]


def _names(contender: Contender, *, seeds: int) -> list[str]:
    return [f"{contender.cell}-seed{seed}" for seed in range(seeds)]


def _jobs(cells: Cells, contenders: list[Contender], epochs: int, seeds: int) -> dict[str, Job]:
    jobs = {}
    for seed in range(seeds):
        for contender in contenders:
            retrain = dataclasses.replace(cells.config.retrain, epochs=epochs, learning_rate=contender.rate)
            config: Config = dataclasses.replace(cells.config, retrain=retrain, seed=seed)
            make = partial(alone_cell, contender.architecture, cells.split)
            jobs[f"{contender.cell}-seed{seed}"] = Job(make, config, contender.architecture)
    return jobs


def _best(one: dict[float, Contender], finished: dict[str, dict], config: Config) -> Contender:
    """By the validation NDCG@10 of the first seed."""
    by = config.evaluate.select_by
    return max(one.values(), key=lambda c: finished[f"{c.cell}-seed0"]["validation"][by]["ndcg@10"])


def _fields(row: Row, contender: Contender, config: Config) -> dict:
    """A row as plain numbers, means over seeds."""
    known = row.cells[0]["architecture"]
    fields = {
        "model": row.label, "network": contender.architecture.describe(), "rate": contender.rate, "seeds": len(row.cells),
        "flops": row.flops, "flops_all": row.flops_all, "parameters": known["parameters"],
        "cpu_seconds": float(np.mean([cell["cpu_seconds"] for cell in row.cells])),
    }  # fmt: skip
    for protocol in config.evaluate.protocols:
        for metric in METRICS:
            values = row.values("test", metric, protocol)
            fields[f"{protocol} {metric}"] = float(np.mean(values))
            fields[f"{protocol} {metric} sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return fields


def _figures(found: dict[str, Row], contenders: dict[str, Contender], config: Config) -> str:
    head = ["", "network", "rate", *(f"{p} R / MRR / NDCG @10" for p in config.evaluate.protocols)]
    lines = []
    for label, row in found.items():
        figures = [
            " / ".join(plus_minus(row.values("test", metric, protocol)) for metric in METRICS)
            for protocol in config.evaluate.protocols
        ]
        size = [show_mflops(row.flops), show_mflops(row.flops_all), f"{row.cells[0]['architecture']['parameters']:,}"]
        spent = f"{np.mean([cell['cpu_seconds'] for cell in row.cells]):.0f}"
        about = contenders[label]
        lines.append([label, about.architecture.describe(), f"{about.rate:g}", *figures, *size, spent])
    return markdown([*head, *FLOPS_HEAD, "parameters", "CPU s"], lines)


def _against(found: dict[str, Row], config: Config) -> list[dict]:
    """The pick's test NDCG@10 less each other's by protocol, all corrected together; none without the pick."""
    others = [row for label, row in found.items() if label != PICK] if PICK in found else []
    places = [(row, protocol) for row in others for protocol in config.evaluate.protocols]
    tests = corrected([compare(found[PICK], row, "test", "ndcg@10", protocol) for row, protocol in places])
    return [
        {"rival": row.label, "protocol": protocol} | test.as_fields()
        for (row, protocol), test in zip(places, tests, strict=True)
    ]


def _differences(against: list[dict], config: Config) -> str:
    lines = []
    for label in dict.fromkeys(test["rival"] for test in against):
        mine = [test for test in against if test["rival"] == label]
        ps = [show_p(float("nan") if test["p"] is None else test["p"]) for test in mine]
        lines.append([label, *(f"{test['difference']:+.4f} (p {p})" for test, p in zip(mine, ps, strict=True))])
    return markdown([f"NDCG@10 of {PICK} less that of", *config.evaluate.protocols], lines)
