"""The picture of the whole space."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from easrec_jax.runs.figures import new_figure
from experiments.compare import pareto
from experiments.spaces import Grid

MARKS = {
    "easrec": "*",
    "darts": "s",
    "proxyless": "^",
    "recnas": "v",
    "untrained": "D",
    "random": "x",
    "exhaustive": "P",
}


def draw_space(results: dict, grid: Grid, path: Path, *, select_by: str) -> None:
    """Validation NDCG of every network over FLOPs and over latency, the front, and the picks of each strategy, as a PNG."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure, axes = new_figure(1, 2, (13.0, 5.4))
    networks = results["networks"]
    at = {(r["candidate"], r["depth"]): r for r in networks}
    for axis, key, scale, label in (
        (axes[0], "flops", 1e-6, "MFLOPs a request"),
        (axes[1], "latency_ms", 1, "ms for 16 users"),
    ):
        for i, (width, inner) in enumerate(grid.sizes):
            mine = [r for r in networks if r["candidate"] == i]
            axis.errorbar(
                [r[key] * scale for r in mine], [r["validation"] for r in mine], [r["validation_sd"] or 0.0 for r in mine],
                marker="o", capsize=3, linewidth=0.8, alpha=0.7, label=f"width {width}, inner {inner}", color=f"C{i}",
            )  # fmt: skip
            for r in mine:
                axis.annotate(f" {r['depth']}", (r[key] * scale, r["validation"]), fontsize=8, va="top")
        cost, value = (np.array([r[k] for r in networks]) for k in (key, "validation"))
        order = np.argsort(cost, kind="stable")
        on_front = order[pareto(cost, value)[order]]
        axis.plot(
            cost[on_front] * scale, value[on_front], "k--", linewidth=1, label="Pareto front", drawstyle="steps-post"
        )
        low, high = axis.get_ylim()
        shown = {name: mark for name, mark in MARKS.items() if any(r["what"] == name for r in results["picks"])}
        for number, (name, mark) in enumerate(shown.items()):
            picked = [at[r["candidate"], r["depth"]] for r in results["picks"] if r["what"] == name]
            shift = (number + 1) * 0.035 * (high - low)  # one above the other: picks often coincide
            axis.plot(
                [r[key] * scale for r in picked], [r["validation"] + shift for r in picked],
                mark, color="black", markerfacecolor="none", markersize=8, label=f"picked by {name}",
            )  # fmt: skip
        axis.set(xscale="log", xlabel=label, ylabel=f"validation NDCG@10 ({select_by})")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    if results["budget"] is not None:
        limit = results["budget"] * max(r["flops"] for r in networks) * 1e-6
        axes[0].axvline(limit, color="black", linewidth=1, linestyle=":", label="budget")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8, ncols=6)
    several = f", mean ± sd of {results['seeds']} seeds" if results["seeds"] > 1 else ""
    figure.suptitle(
        f"every network trained alone{several}; numbers are depths; picks stand above their network", fontsize=10
    )
    figure.savefig(path, dpi=110)
