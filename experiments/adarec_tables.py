"""The tables of `reproduce.py adarec`: what each row reached and costs, and the tests behind the claims."""

from __future__ import annotations

from typing import Any

import numpy as np

from easrec_jax.config import EvaluateConfig
from experiments.compare import Row, compare, corrected
from experiments.show import FLOPS_HEAD, markdown, plus_minus, show_mflops, show_p

MAPPINGS = ("left", "right", "left_jump", "right_jump", "random")
LABELS = {
    "nextitnet": "NextItNet, the teacher", "sasrec": "SASRec of the teacher's size", "student": "student: searched, fine-tuned",
    "emd": "its cell, fresh, with the teacher", "alone": "its cell, fresh, labels alone",
    "scores": "its cell, fresh, the teacher's scores alone", "share_8": "its cell, fresh, teacher's share .8",
    **{name: f"its cell, fresh, mapping {name}" for name in MAPPINGS},
    "random_cells": "random cells of equal cost, fresh, labels alone", "wide": "adarec_wide: EASRec's search with the teacher",
    "wide_sasrec": "the same, SASRec its teacher", "easrec": "EASRec's search", "sasrec_1": "SASRec, 1 layer",
}  # fmt: skip
PAIRS = (  # (row, against whom)
    ("student", "nextitnet"), ("student", "alone"), ("emd", "alone"), ("scores", "alone"), ("emd", "scores"), ("share_8", "emd"),
    *(("emd", name) for name in MAPPINGS), ("student", "emd"), ("wide", "nextitnet"), ("wide", "easrec"),
    ("wide_sasrec", "sasrec"), ("wide_sasrec", "easrec"), ("student", "sasrec_1"),
)  # fmt: skip
METRICS = {"ndcg@10": "NDCG@10", "recall@10": "Recall@10"}


def adarec_tables(found: dict[str, Row], settings: EvaluateConfig, dataset: str) -> tuple[dict, list[dict], str]:
    """(adarec.json, the lines of adarec.csv, adarec.md)."""
    select_by = settings.select_by
    protocols = list(dict.fromkeys([select_by, *(name for name in ("full", "pop100") if name in settings.protocols)]))
    fields = [_fields(row, protocols) for row in found.values()]
    tests = _tests(found, select_by)
    seeds = max(line["seeds"] for line in fields)
    parts = [_figures(found, protocols), *([_shown(tests, select_by)] if tests else []), *_of_random(found, select_by)]
    parts.append(
        f"{dataset}, test items, up to {seeds} seed{'s' * (seeds > 1)}, mean ± standard deviation; the best epoch by validation "
        f"{select_by}. ms: a user of a batch, the fastest of nine calls; beside it over that of SASRec of two layers, called in turn. "
        "CPU s: of the cell, compilation included, the teacher's training not. p of both: users, paired, and seeds together, corrected "
        "for the tests of the table (Holm); of one seed no test knows the noise of training."
    )
    return {"protocol": select_by, "rows": fields, "tests": tests}, fields, "\n\n".join(parts)


def _fields(row: Row, protocols: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"row": row.label, "seeds": 1 if row.label == "random_cells" else len(row.cells)}
    found |= {"flops": row.flops, "flops_all": row.flops_all}
    found["parameters"] = float(np.mean([cell["architecture"]["parameters"] for cell in row.cells]))
    for name in ("ms", "ms_over_sasrec", "cpu_seconds"):
        found[name] = float(np.mean([cell[name] for cell in row.cells]))
    for part in ("validation", "test"):
        for protocol in protocols:
            for metric in METRICS:
                found[f"{part} {protocol} {metric}"] = float(np.mean(row.values(part, metric, protocol)))
    return found


def _figures(found: dict[str, Row], protocols: list[str]) -> str:
    columns = [(protocol, metric) for protocol in protocols for metric in METRICS]
    head = ["row", *(f"{METRICS[metric]} {protocol}" for protocol, metric in columns), *FLOPS_HEAD]
    lines = []
    for name, row in found.items():
        of = _fields(row, protocols)
        figures = [plus_minus(row.values("test", metric, protocol)) for protocol, metric in columns]
        size = [show_mflops(row.flops), show_mflops(row.flops_all), f"{of['parameters']:,.0f}"]
        spent = [f"{of['ms']:.3f} ({of['ms_over_sasrec']:.2f})", f"{of['cpu_seconds']:.0f}"]
        lines.append([LABELS[name], *figures, *size, *spent])
    return markdown([*head, "parameters", "ms (over SASRec)", "CPU s"], lines)


def _tests(found: dict[str, Row], protocol: str) -> list[dict]:
    """Test NDCG@10 of the pairs that are there, all corrected together."""
    pairs = [(first, second) for first, second in PAIRS if first in found and second in found]
    tests = corrected([compare(found[first], found[second], "test", "ndcg@10", protocol) for first, second in pairs])
    lines = []
    for (first, second), test in zip(pairs, tests, strict=True):
        over = test.difference / float(np.mean(found[second].values("test", "ndcg@10", protocol)))
        lines.append({"row": first, "against": second, "relative": over} | test.as_fields())
    return lines


def _shown(tests: list[dict], protocol: str) -> str:
    lines = [
        [
            LABELS[test["row"]], LABELS[test["against"]], f"{test['difference']:+.4f}", f"{test['relative']:+.1%}",
            *(show_p(float("nan") if test[name] is None else test[name]) for name in ("over_seeds", "over_users", "p")),
            test["verdict"],
        ]
        for test in tests
    ]  # fmt: skip
    head = [f"NDCG@10 {protocol} of", "less that of", "difference", "relative"]
    return markdown([*head, "p over seeds", "p over users", "p of both", "verdict"], lines)


def _of_random(found: dict[str, Row], protocol: str) -> list[str]:
    """Where the searched cell stands among the random ones, trained alike, by its first seed."""
    if "random_cells" not in found or "alone" not in found:
        return []
    mine = found["alone"].values("test", "ndcg@10", protocol)[0]
    others = found["random_cells"].values("test", "ndcg@10", protocol)
    better = sum(other > mine for other in others)
    return [
        f"Of {len(others)} random cells of equal cost {better} are better than the searched one ({mine:.4f}), the best {max(others):.4f}, "
        f"the worst {min(others):.4f}, as test items have it."
    ]
