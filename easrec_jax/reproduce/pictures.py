"""The pictures of the experiments."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from easrec_jax.architecture import SearchSpace
from easrec_jax.report import new_figure

MARKS = {"easrec": "*", "darts": "s", "proxyless": "^", "recnas": "v", "random": "x", "exhaustive": "P"}


def space_figure(results: dict, space: SearchSpace, path: Path, *, select_by: str) -> None:
    """Validation NDCG of every network over FLOPs and over latency, the front, and the picks of each strategy, as a PNG."""
    figure, axes = new_figure(1, 2, (13.0, 4.8))
    networks = results["networks"]
    at = {(r["candidate"], r["depth"]): r for r in networks}
    for axis, key, scale, label in (
        (axes[0], "flops", 1e-6, "MFLOPs a request"),
        (axes[1], "latency_ms", 1, "ms for 16 users"),
    ):
        for i, (width, inner) in enumerate(space.sizes):
            mine = [r for r in networks if r["candidate"] == i]
            axis.errorbar(
                [r[key] * scale for r in mine], [r["validation"] for r in mine], [r["validation_sd"] for r in mine],
                marker="o", capsize=3, linewidth=0.8, alpha=0.7, label=f"width {width}, inner {inner}", color=f"C{i}",
            )  # fmt: skip
            for r in mine:
                axis.annotate(f" {r['depth']}", (r[key] * scale, r["validation"]), fontsize=8, va="top")
        cost, value = (np.array([r[k] for r in networks]) for k in (key, "validation"))
        order = np.argsort(cost, kind="stable")
        best = np.maximum.accumulate(value[order])
        on_front = order[np.concatenate([[True], best[1:] > best[:-1]])]
        axis.plot(
            cost[on_front] * scale, value[on_front], "k--", linewidth=1, label="Pareto front", drawstyle="steps-post"
        )
        low, high = axis.get_ylim()
        for number, (name, mark) in enumerate(MARKS.items()):
            picked = [at[r["candidate"], r["depth"]] for r in results["picks"] if r["what"] == name]
            shift = (number + 1) * 0.025 * (high - low)  # one above the other: picks often coincide
            axis.plot(
                [r[key] * scale for r in picked], [r["validation"] + shift for r in picked],
                mark, color="black", markerfacecolor="none", markersize=8, label=f"picked by {name}",
            )  # fmt: skip
        axis.set(xscale="log", xlabel=label, ylabel=f"validation NDCG@10 ({select_by})")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7, ncols=2)
    figure.suptitle(
        f"every network trained alone, mean ± sd of {results['seeds']} seeds; numbers are depths", fontsize=10
    )
    figure.savefig(path, dpi=110)


def cost_weight_figure(rows: list[dict], path: Path) -> None:
    """FLOPs of the pick and test NDCG over lambda (Figure 4), as a PNG; a line of `rows` is one seed's."""
    figure, axes = new_figure(1, 2, (9.0, 3.6))
    weights = sorted({row["lambda"] for row in rows})
    for axis, key, scale, label in (
        (axes[0], "flops", 1e-6, "MFLOPs of the pick"),
        (axes[1], "ndcg@10", 1, "test NDCG@10 (pop100)"),
    ):
        values = [[row[key] * scale for row in rows if row["lambda"] == w] for w in weights]
        axis.plot(range(len(weights)), [np.mean(v) for v in values], marker="o")
        for x, v in enumerate(values):
            axis.plot([x] * len(v), v, "k.", markersize=3)
        axis.set(xlabel="lambda", ylabel=label, xticks=range(len(weights)), xticklabels=[f"{w:g}" for w in weights])
        axis.set_ylim(0, 1.1 * max(map(max, values)))
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
