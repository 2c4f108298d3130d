"""The paper's Tables III and IV, in this package's own runs, beside the paper's figures."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.data.features import ItemFeatures
from easrec_jax.evaluate.latency import BULK_USERS, measure_latency
from easrec_jax.models.network import Network
from easrec_jax.models.rivals.fdsa import FDSA
from easrec_jax.models.rivals.sasrecf import SASRecF
from easrec_jax.runs.cli import machine
from experiments.cells import Cells, Job, markdown, plus_minus
from experiments.compare import (
    LEVEL,
    METRICS,
    PARTS,
    PROTOCOL,
    Row,
    against_each,
    beside,
    best_of,
    compare,
    corrected,
    show_mflops,
    show_p,
    tally,
)
from experiments.models import FLOOR_ROWS, cell_name, models, paper_label
from experiments.paper import TABLE3, TABLE4

FLOPS_HEAD = ("MFLOPs", "MFLOPs, all positions")
FLOPS_NOTE = "MFLOPs are those of a request, whose last layer runs at the last position alone; all positions: every layer at each (Eq. 15)."
TESTS = (
    "p: two-sided t-tests, over seeds Welch's, over users paired, each averaged over the seeds; of both: the users' variance "
    f"and that between seeds together, corrected for the tests of the table (Holm), and a win or a loss is this p < {LEVEL}. With "
    "one seed no test knows the noise of training: it takes a lucky run for a better model."
)
ROWS_NOTE = (
    "Finalists are this package's, for every search that leaves more than one. Causal LinRec is this package's form, the "
    "paper's is bidirectional; RecNAS-like follows an abstract, as no code is published."
)
NAMES = {"recall@10": "Recall@10", "mrr@10": "MRR@10", "ndcg@10": "NDCG@10"}


def table3_rows(cells: Cells, *, seeds: int, only: tuple[str, ...] = (), floors: bool = True) -> list[Row]:
    """The rows of Table III (those of the names `only`, if given, and finished ones), their cells run if they are not finished.

    Without `floors`, networks alone.
    """
    known = models(cells.config, cells.split, cells.features)
    known = {label: make for label, make in known.items() if floors or label not in FLOOR_ROWS}
    wanted = cells.shown_rows(known, only, lambda row: [f"{cell_name(row)}-seed{seed}" for seed in range(seeds)])
    jobs: dict[str, Job] = {}
    for seed in range(seeds):
        seeded = dataclasses.replace(cells.config, seed=seed)
        jobs |= {f"{cell_name(label)}-seed{seed}": known[label](seeded) for label in wanted}
    cells.run_all(jobs)
    return [Row.finished(label, cells, [f"{cell_name(label)}-seed{seed}" for seed in range(seeds)]) for label in wanted]


def run_table3(cells: Cells, *, seeds: int, dataset: str, rows: tuple[str, ...] = ()) -> str:
    """Accuracy of every model beside the paper's, and EASRec tested against its rivals; table3.json, .csv, .md."""
    found = table3_rows(cells, seeds=seeds, only=rows)
    ours = next((row for row in found if row.label == "EASRec"), None)
    rivals = [row for row in found if row is not ours]
    texts = [f"{part.capitalize()} items, {PROTOCOL}.\n\n{_accuracy(found, part, dataset)}" for part in reversed(PARTS)]
    against = _against_the_best(ours, rivals) if ours is not None and rivals else []
    if ours is not None and rivals:
        texts += [_significance(against), _rivals(ours, rivals)]
    texts.append(f"Test NDCG@10 by all protocols.\n\n{_protocols(found, cells.config.evaluate.protocols)}")
    runs = f"{seeds} seeds, mean ± standard deviation" if seeds > 1 else "1 seed"
    text = "\n\n".join([*texts, f"{dataset}, {runs}. {FLOPS_NOTE} {ROWS_NOTE}"])
    fields = [row.as_fields() | _paper_fields(row, dataset) for row in found]
    if ours is not None:
        lines = {id(row): line for row, line in zip(found, fields, strict=True)}
        for row, tests in zip(rivals, against_each(ours, rivals), strict=True):
            said = tests["ndcg@10"].as_fields() | tally(tests)
            lines[id(row)] |= {f"easrec {name}": value for name, value in said.items()}
    results = {"rows": fields, "best rival": against}
    return cells.write("table3", results, fields, text, seeds=seeds)


def _accuracy(rows: list[Row], part: str, dataset: str) -> str:
    head, lines, known = ["model"], [], dataset in TABLE3
    for metric in METRICS:
        head += [NAMES[metric], *["paper (ours relative to it)"] * known]
    for row in rows:
        line, paper = [row.label], _paper(dataset, row.label, part)
        for metric in METRICS:
            values = row.values(part, metric)
            line += [plus_minus(values), *[beside(np.mean(values), paper.get(metric))] * known]
        lines.append([*line, *(show_mflops(flops) for flops in (row.flops, row.flops_all))])
    return markdown([*head, *FLOPS_HEAD], lines)


def _paper(dataset: str, label: str, part: str) -> dict[str, float]:
    figures = TABLE3.get(dataset, {}).get(paper_label(label))
    return {} if figures is None else dict(zip(METRICS, figures[PARTS.index(part)], strict=True))


def _paper_fields(row: Row, dataset: str) -> dict[str, float]:
    """The paper's figures and how far ours are from them."""
    fields = {}
    for part in PARTS:
        for metric, value in _paper(dataset, row.label, part).items():
            fields |= {f"{part} {metric} paper": value}
            fields |= {f"{part} {metric} relative": float(np.mean(row.values(part, metric))) / value - 1}
    return fields


def _against_the_best(ours: Row, rivals: list[Row]) -> list[dict]:
    """EASRec against the rival that is best in each figure: the hardest one, since it is chosen with hindsight."""
    figures = [(part, metric) for part in reversed(PARTS) for metric in METRICS]
    best = [best_of(rivals, *figure) for figure in figures]
    tests = corrected([compare(ours, rival, *figure) for rival, figure in zip(best, figures, strict=True)])
    found = []
    for (part, metric), rival, test in zip(figures, best, tests, strict=True):
        means = {name: float(np.mean(row.values(part, metric))) for name, row in (("EASRec", ours), ("rival", rival))}
        found.append({"part": part, "metric": metric, "best rival": rival.label} | means | test.as_fields())
    return found


def _significance(against: list[dict]) -> str:
    lines = [
        [
            f"{r['part']} {NAMES[r['metric']]}", r["best rival"], f"{r['rival']:.4f}", f"{r['EASRec']:.4f}",
            f"{r['EASRec'] / r['rival'] - 1:+.1%}",
            *(show_p(float("nan") if r[k] is None else r[k]) for k in ("over_seeds", "over_users", "p")), r["verdict"],
        ]
        for r in against
    ]  # fmt: skip
    head = [
        "figure",
        "best rival",
        "rival",
        "EASRec",
        "relative",
        "p over seeds",
        "p over users",
        "p of both",
        "verdict",
    ]
    return f"EASRec against the best rival of each figure. {TESTS}\n\n{markdown(head, lines)}"


def _rivals(ours: Row, rivals: list[Row]) -> str:
    lines = []
    for row, tests in zip(rivals, against_each(ours, rivals), strict=True):
        test, counts = tests["ndcg@10"], tally(tests)
        score = " / ".join(str(counts[k]) for k in ("win", "tie", "loss"))
        ps = [show_p(p) for p in (test.over_seeds, test.over_users, test.p)]
        lines.append([row.label, f"{test.difference:+.4f}", *ps, test.verdict, score])
    head = ["rival", "EASRec's test NDCG@10 less its", "p over seeds", "p over users", "p of both", "verdict"]
    head += ["win / tie / loss"]
    return f"EASRec against each rival; the last column counts three figures on test items.\n\n{markdown(head, lines)}"


def _protocols(rows: list[Row], protocols: tuple[str, ...]) -> str:
    lines = [[row.label, *(plus_minus(row.values("test", "ndcg@10", p)) for p in protocols)] for row in rows]
    return markdown(["model", *protocols], lines)


def run_table4(cells: Cells, *, seeds: int, dataset: str, rows: tuple[str, ...] = ()) -> str:
    """Inference time and memory of Table III's networks as ratios to SASRec, beside the paper's; table4.json, .csv, .md."""
    if rows and "SASRec" not in rows:
        raise ValueError("rows: expected SASRec among them, table4 gives ratios to it")
    found = table3_rows(cells, seeds=seeds, only=rows, floors=False)
    measured = _measure(found, cells.features, cells.split.data.num_items)
    sasrec = next(row for row in found if row.label == "SASRec")
    base = measured["SASRec"] | {"flops": sasrec.flops, "flops_all": sasrec.flops_all}
    paper, fields, lines = TABLE4.get(dataset, {}), [], []
    for row in found:
        mine: dict[str, Any] = measured[row.label] | {"flops": row.flops, "flops_all": row.flops_all}
        field = {
            "model": row.label,
            "ms_per_user": 1e3 * mine["time"] / BULK_USERS,
            "temporary_mb": mine["memory"] / 2**20,
        }
        line = [row.label, f"{field['ms_per_user']:.3f}", f"{field['temporary_mb']:.1f}"]
        for number, name in enumerate(("time", "memory", "flops", "flops_all")):
            field[f"{name}_over_sasrec"] = ratio = mine[name] / base[name]
            line.append(f"{ratio:.2f}")
            if name in ("time", "memory"):
                figures = paper.get(paper_label(row.label))
                theirs = None if figures is None else figures[number] / paper["SASRec"][number]
                field |= {} if theirs is None else {f"{name}_over_sasrec paper": theirs}
                line += [beside(ratio, theirs, digits=2)] * bool(paper)
        fields.append(field)
        lines.append(line)
    column = ["paper"] * bool(paper)
    head = [
        "model",
        "ms a user",
        "MB of temporaries",
        "time / SASRec",
        *column,
        "memory / SASRec",
        *column,
        "FLOPs / SASRec",
        "FLOPs at all positions / SASRec",
    ]
    device = machine()["device"]
    text = (
        f"{markdown(head, lines)}\n\n{dataset}, measured on {device}, commit {cells.commit}: batches of {BULK_USERS} users of "
        f"{cells.config.model.max_length} events, the fastest of 7 calls in turn, "
        f"averaged over the picks of {seeds} seed{'s' * (seeds > 1)}. Memory is "
        "what XLA allots beside weights, input and scores. The paper gives seconds for its test set and GB of the GPU, so "
        "ratios alone compare."
    )
    return cells.write("table4", {"rows": fields, "device": device}, fields, text, seeds=seeds)


def _measure(rows: list[Row], features: ItemFeatures | None, num_items: int) -> dict[str, dict[str, float]]:
    """`time` in seconds and `memory` in bytes of a batch, by label; each network is measured once, seeds are averaged."""
    networks: dict[tuple[str, Architecture], Any] = {}
    wanted = []
    for row in rows:
        kind = row.label.partition(" + ")[0]
        kind = kind if kind in ("FDSA", "SASRecF") else ""
        for cell in row.cells:
            key = kind, Architecture.from_json(cell["architecture"])
            if key not in networks:
                size: Any = {"num_items": num_items}
                rival = {"FDSA": FDSA, "SASRecF": SASRecF}.get(kind)
                networks[key] = rival(key[1], features, **size) if rival else Network(key[1], **size)
            wanted.append((row.label, key))
    measured = measure_latency(list(networks.values()), rows=BULK_USERS, repeats=7)
    places = {key: place for place, key in enumerate(networks)}
    found = {}
    for row in rows:
        at = [places[key] for label, key in wanted if label == row.label]
        time, memory = measured.seconds[at], measured.temporary_bytes[at]
        found[row.label] = {"time": float(time.mean()), "memory": float(memory.mean())}
    return found
