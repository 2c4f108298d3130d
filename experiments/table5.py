"""The paper's Table V, and what it left out: each row one thing changed, tested against the first of its group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from easrec_jax.architecture import Architecture, full_architecture
from easrec_jax.config import Config
from easrec_jax.data.split import Split
from experiments.cells import Cells, Job, JobOf
from experiments.compare import METRICS, PROTOCOL, TESTS, Comparison, Row, compare, corrected
from experiments.models import EASREC_CELL, SEARCHED, cell_name, for_strategy, models, table3_config
from experiments.paper import TABLE5
from experiments.show import FLOPS_HEAD, FLOPS_NOTE, NAMES, beside, markdown, plus_minus, show_mflops, show_p
from experiments.training import alone_cell, searched_cell

BY_PRICE = "Under lambda a search compares its finalists by cross entropy plus lambda R, otherwise by NDCG@10."


class Ablation(NamedTuple):
    """A row: its cells are `CELL-seedN`, shared with other tables where they would be the same; `after` names the cell
    that must be finished before, of the same seed."""

    label: str
    cell: str
    job: JobOf
    after: str = ""


def run_table5(cells: Cells, *, seeds: int, dataset: str, rows: tuple[str, ...] = ()) -> str:
    """Ablations, validation items by pop100; table5.json, .csv, .md."""
    config, groups = cells.config, ablations(cells)
    everything = [v for variants in groups.values() for v in variants]
    cell_of = {v.label: v.cell for v in everything}
    wanted = cells.shown_rows(cell_of, rows, lambda row: [f"{cell_of[row]}-seed{seed}" for seed in range(seeds)])
    groups = {group: [v for v in variants if v.label in wanted] for group, variants in groups.items()}
    seeded = [dataclasses.replace(config, seed=seed) for seed in range(seeds)]

    def jobs(variants: list[Ablation]) -> dict[str, Job]:
        return {f"{v.cell}-seed{c.seed}": v.job(c) for c in seeded for v in variants}

    chosen = [v for v in everything if v.label in wanted]
    first = {v.after for v in chosen}
    cells.run_all(jobs([v for v in everything if v.cell in first]))
    cells.run_all(jobs(chosen))
    found = {
        group: [Row.finished(v.label, cells, [f"{v.cell}-seed{seed}" for seed in range(seeds)]) for v in variants]
        for group, variants in groups.items()
    }
    pairs = [(group, row, mine[0]) for group, mine in found.items() for row in mine]
    against = [(row, first) for _, row, first in pairs if row is not first]
    tests = corrected([compare(row, first, "validation", "ndcg@10") for row, first in against])
    tested = {id(row): test for (row, _), test in zip(against, tests, strict=True)}
    fields, lines, published = [], [], TABLE5.get(dataset, {})
    known = bool(published)
    for group, row, first in pairs:
        paper, test = published.get(row.label), tested.get(id(row))
        lines.append([group if row is first else "", *_line(row, test, paper, known)])
        fields.append({"group": group} | _fields(row, first, test, paper))
    head = ["what", "variant"]
    for metric in METRICS:
        head += [NAMES[metric]]
    head += [*["paper's NDCG@10 (ours relative to it)"] * known, *FLOPS_HEAD]
    head += ["p over seeds", "p over users", "p of both", "verdict"]
    text = (
        f"{markdown(head, lines)}\n\n{dataset}, validation items, {PROTOCOL}, {seeds} seed{'s' * (seeds > 1)}. p and win, "
        f"tie or loss: NDCG@10 against the first row of the group. {TESTS} {FLOPS_NOTE} All rows train "
        f"at EASRec's rate ({config.retrain.learning_rate:g}), DARTS' alone at the rivals' "
        f"({config.retrain.of_baselines().learning_rate:g}): a lower one suits softmax better. {BY_PRICE}"
    )
    return cells.write("table5", {"rows": fields}, fields, text, seeds=seeds)


def _line(row: Row, test: Comparison | None, paper: Any, known: bool) -> list[str]:
    ndcg = float(np.mean(row.values("validation", "ndcg@10")))
    ps = [""] * 4
    if test is not None:
        ps = [*(show_p(p) for p in (test.over_seeds, test.over_users, test.p)), test.verdict]
    figures = [plus_minus(row.values("validation", metric)) for metric in METRICS]
    theirs = [beside(ndcg, paper and paper[2])] * known
    return [row.label, *figures, *theirs, *(show_mflops(flops) for flops in (row.flops, row.flops_all)), *ps]


def _fields(row: Row, first: Row, test: Comparison | None, paper: Any) -> dict[str, Any]:
    fields = row.as_fields()
    if paper:
        fields |= {f"validation {metric} paper": value for metric, value in zip(METRICS, paper, strict=True)}
    if test is not None:
        fields |= {"against": first.label} | test.as_fields()
    return fields


def ablations(cells: Cells) -> dict[str, list[Ablation]]:
    """All rows by group; the first of a group is what the others are tested against."""
    config, split = cells.config, cells.split
    groups = {
        "gates": _gates(config, split),
        "constraint": _constraints(config, split),
        "alpha of the inner size (a wide space)": _alphas(split),
        "weights at the start of retraining": _weights(cells, "EASRec"),
        "the same of DARTS + SASRec": _weights(cells, "DARTS + SASRec", "DARTS, "),
        f"attention ({_two_layers(config).describe()}, no search)": _attentions(config, split),
    }
    if config.data.targets == "all":
        groups["bidirectional or causal (small, no search)"] = _small(config, split)
    return groups


def _searched(split: Split, change: Callable[[Config], Config]) -> JobOf:
    return lambda config: Job(partial(searched_cell, split), change(for_strategy(config, "easrec")))


def _gates(config: Config, split: Split) -> list[Ablation]:
    def with_gates(layers: Any) -> JobOf:
        return _searched(
            split, lambda c: dataclasses.replace(c, model=dataclasses.replace(c.model, gate_layers=layers))
        )

    labels = {2: "2 layers", 1: "1 layer", 0: "no gates"}
    own = config.model.gate_layers
    return [
        Ablation(label, EASREC_CELL if layers == own else f"table5-gates{layers}", with_gates(layers))
        for layers, label in labels.items()
    ]


def _alphas(split: Split) -> list[Ablation]:
    """The inner size apart from the width, by one distribution for each layer or one for all."""

    def wide(per_layer: bool) -> JobOf:
        def change(config: Config) -> Config:
            sizes = dataclasses.replace(config.search, inner_prune=config.search.prune, per_layer=per_layer)
            return dataclasses.replace(config, search=sizes)

        return _searched(split, change)

    return [Ablation("shared", "table5-shared", wide(False)), Ablation("per layer", "table5-per-layer", wide(True))]


def _constraints(config: Config, split: Split) -> list[Ablation]:
    """Dynamic, static, none; they only act without a budget, so the recipe's own budget is a row of its own."""
    weight = config.search.easrec.cost_weight

    def priced(weight: float, dynamic: bool) -> JobOf:
        return _searched(split, lambda c: without_budget(c, weight, dynamic=dynamic))

    rows = [
        Ablation(f"dynamic, lambda {weight:g}", priced_cell(config, weight), priced(weight, True)),
        Ablation(f"static, lambda {weight:g}", "table5-static", priced(weight, False)),
        Ablation("none (lambda 0)", priced_cell(config, 0.0), priced(0.0, True)),
    ]
    if config.search.budget is not None:
        rows.append(Ablation(f"a budget of {config.search.budget:g}", EASREC_CELL, _searched(split, lambda c: c)))
    return rows


def priced_cell(config: Config, weight: float) -> str:
    """The cell of EASRec under that lambda without a budget: the recipe's own, where it says the same."""
    easrec = config.search.easrec
    own = config.search.budget is None and easrec.dynamic and easrec.cost_weight == weight
    return EASREC_CELL if own else f"figure4-lambda{weight:g}"


def without_budget(config: Config, weight: float, *, dynamic: bool = True) -> Config:
    """EASRec with the constraint as a price in the loss."""
    easrec = dataclasses.replace(config.search.easrec, cost_weight=weight, dynamic=dynamic)
    return dataclasses.replace(config, search=dataclasses.replace(config.search, budget=None, easrec=easrec))


def _weights(cells: Cells, label: str, prefix: str = "") -> list[Ablation]:
    """A searched row of Table III, and its pick of each seed trained from scratch."""
    cell, strategy = cell_name(label), SEARCHED[label]
    copied = models(cells.config, cells.split, cells.features)[label]

    def fresh(config: Config) -> Job:
        pick = Architecture.from_json(cells.used[f"{cell}-seed{config.seed}"]["architecture"])
        return Job(partial(alone_cell, pick, cells.split), table3_config(config, strategy), pick)

    own = "table5-fresh" if cell == EASREC_CELL else f"table5-{strategy}-fresh"
    return [
        Ablation(f"{prefix}copied from the supernet", cell, copied),
        Ablation(f"{prefix}fresh", own, fresh, after=cell),
    ]


def _two_layers(config: Config) -> Architecture:
    """The network that attentions are compared in: the config's width and gates, as deep as SASRec."""
    model = dataclasses.replace(config.model, layers=2, attention="recent_linrec")
    return dataclasses.replace(full_architecture(model), learn_decay=False)


def _attentions(config: Config, split: Split) -> list[Ablation]:
    """Decay and convolution together, each alone, neither; decays learned; softmax. Bidirectional linrec where it may train."""
    base = _two_layers(config)
    changes: dict[str, dict[str, Any]] = {
        "recent linrec (decay and convolution)": {},
        "decays learned": {"learn_decay": True},
        "decay without convolution": {"conv_width": 0},
        "convolution without decay": {"attention": "causal_linrec"},
        "causal linrec (neither)": {"attention": "causal_linrec", "conv_width": 0},
        "softmax": {"attention": "softmax", "conv_width": 0},
    }
    if config.data.targets == "last":
        changes["bidirectional linrec"] = {"attention": "linrec", "conv_width": 0}
    names = ("recent", "learned", "decay", "convolution", "causal", "softmax", "linrec")
    return [
        Ablation(label, f"table5-{name}", _alone(dataclasses.replace(base, **change), split, lambda c: c))
        for (label, change), name in zip(changes.items(), names, strict=False)
    ]


def _alone(architecture: Architecture, split: Split, change: Callable[[Config], Config]) -> JobOf:
    return lambda config: Job(partial(alone_cell, architecture, split), change(config), architecture)


def _small(config: Config, split: Split) -> list[Ablation]:
    """Bidirectional linrec needs one sample a prefix, the whole history for one target: two layers, at most 50 events.

    In one layer the two are the same function, since only the last position is asked.
    """
    model = dataclasses.replace(
        config.model, width=min(64, config.model.width), inner=min(128, config.model.inner), layers=2,
        max_length=min(50, config.model.max_length), attention="causal_linrec",
    )  # fmt: skip
    few = max(1, config.retrain.epochs // 5)

    def prefixes(config: Config) -> Config:
        retrain = dataclasses.replace(config.retrain, epochs=few, batch_size=256)
        return dataclasses.replace(
            config, model=model, retrain=retrain, data=dataclasses.replace(config.data, targets="last")
        )

    def positions(config: Config) -> Config:
        return dataclasses.replace(config, model=model)

    causal = full_architecture(model)
    both_ways = dataclasses.replace(causal, attention="linrec")
    epochs = f"{few} epoch{'s' * (few > 1)}"
    return [
        Ablation(
            f"bidirectional linrec, one sample per prefix, {epochs}", "table5-small-linrec", _alone(both_ways, split, prefixes)
        ),
        Ablation(f"causal linrec, one sample per prefix, {epochs}", "table5-small-causal", _alone(causal, split, prefixes)),
        Ablation(
            f"causal linrec, a loss at every position, {config.retrain.epochs} epochs", "table5-small-positions",
            _alone(causal, split, positions),
        ),
    ]  # fmt: skip
