"""Pictures of what a run wrote, by matplotlib (extra `plot`): a search, a training, models beside each other."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.config import Config
from easrec_jax.files import write_bytes
from easrec_jax.runs.searched import factors

COSTS = {"flops": "FLOPs", "flops_all": "FLOPs at all positions", "latency": "latency"}


def draw_search(records: list[dict], config: Config, path: Path | BytesIO) -> None:
    """A search as a PNG: what happened to the shares of every choice, expected and picked cost, and validation NDCG.

    `records` are the lines of metrics.jsonl. Where networks were trained alone: their validation NDCG over cost.
    """
    if "expected_cost" not in records[0]:
        _save(_over_cost(records, config)[0], path)
        return
    known = factors(config)
    panels = len(known) + 2
    rows = -(-panels // 4)
    figure, axes = new_figure(rows, 4, (15.0, 3.1 * rows if rows > 1 else 3.4))
    axes = axes.ravel()
    epochs = [record["epoch"] for record in records]
    for axis, factor in zip(axes, known, strict=False):
        for label, values in zip(factor.labels, zip(*map(factor.shares, records), strict=True), strict=True):
            axis.plot(epochs, values, label=label, **_style(records))
        _finish(axis, factor.title)
    _costs(axes[panels - 2], records, config)
    accuracy = axes[panels - 1]
    accuracy.plot(
        epochs, [r["ndcg@10"] for r in records], color="tab:green", label="the pick, cut out", **_style(records)
    )
    _finish(accuracy, f"validation NDCG@10 ({config.evaluate.select_by})", room=False)
    for axis in axes[panels:]:
        axis.set_axis_off()
    _save(figure, path)


def _style(records: list[dict]) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3} if len(records) < 40 else {}


def _costs(axis: Any, records: list[dict], config: Config) -> None:
    """Expected and picked cost, and the budget."""
    epochs = [record["epoch"] for record in records]
    axis.plot(epochs, [r["expected_cost"] for r in records], label="expected", **_style(records))
    picked = [r["pick"]["cost"] for r in records]
    axis.plot(epochs, picked, label="the pick", drawstyle="steps-post", **_style(records))
    if config.search.budget is not None:
        axis.axhline(config.search.budget, color="grey", linestyle="--", label="budget")
    _finish(axis, f"{COSTS[config.search.cost]} / largest network")


def _finish(axis: Any, title: str, *, room: bool = True) -> None:
    """Title, grid and legend of an axis over epochs; with `room`, the legend's lines have one of their own above the curves."""
    axis.set(title=title, xlabel="epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    if room:
        axis.set_ylim(0, (1.05 + 0.1 * len(axis.get_lines())) * axis.get_ylim()[1])
    axis.legend(fontsize=8, loc="upper left" if room else "best")


def draw_front(networks: list[dict], config: Config, path: Path | BytesIO) -> None:
    """The networks of front.json over their cost, and the front, as a PNG."""
    figure, axis = _over_cost([network | {"architecture": network} for network in networks], config)
    best = [(network["cost"], network["ndcg@10"]) for network in networks if network["front"]]
    axis.step(*zip(*best, strict=True), where="post", color="black", linewidth=1, linestyle=":", label="front")
    axis.set_title("one elastic network, each slice as it stands", fontsize=10)
    axis.set_xscale("log")
    bounds = axis.get_xlim()
    axis.set_xticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0], ["1 %", "2 %", "5 %", "10 %", "20 %", "50 %", "100 %"])
    axis.set_xticks([], minor=True)
    axis.set_xlim(bounds)
    axis.legend(fontsize=8)
    _save(figure, path)


def _over_cost(records: list[dict], config: Config) -> tuple[Any, Any]:
    """(figure, axis): validation NDCG of networks over cost, those of a width in one colour."""
    figure, axis = new_figure(1, 1, (5.0, 3.6))
    for width in sorted({r["architecture"]["width"] for r in records}, reverse=True):
        mine = sorted((r for r in records if r["architecture"]["width"] == width), key=lambda r: r["cost"])
        by_depth = len({r["architecture"]["depth"] for r in mine}) == len(mine)  # otherwise no line joins what is alike
        points = [r["cost"] for r in mine], [r["ndcg@10"] for r in mine]
        axis.plot(*points, marker="o", linestyle="-" if by_depth else "", label=f"width {width}")
    if config.search.budget is not None:
        axis.axvline(config.search.budget, color="grey", linestyle="--", label="budget")
    accuracy = f"validation NDCG@10 ({config.evaluate.select_by})"
    axis.set(xlabel=f"{COSTS[config.search.cost]} / largest network", ylabel=accuracy)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure, axis


def training_figure(records: list[dict], path: Path | BytesIO, *, select_by: str) -> None:
    """Training loss and validation NDCG of a retraining over its epochs, as a PNG."""
    figure, axes = new_figure(1, 2, (8.0, 3.4))
    epochs = [r["epoch"] for r in records]
    axes[0].plot(epochs, [r.get("loss", float("nan")) for r in records], marker="o", markersize=3)  # none of epoch 0
    axes[1].plot(epochs, [r["ndcg@10"] for r in records], marker="o", markersize=3, color="tab:green")
    for axis, title in zip(axes, ("training loss", f"validation NDCG@10 ({select_by})"), strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    _save(figure, path)


def comparison_figure(
    points: list[tuple[str, float, float | None, float | None]], path: Path | BytesIO, *, title: str
) -> None:
    """Models as (name, accuracy, FLOPs, milliseconds) over both costs, as a PNG; without a cost, a model is a line across.

    Milliseconds that nobody measured have no panel.
    """
    names, accuracies, flops, milliseconds = zip(*points, strict=True)
    mega = [None if count is None else count / 1e6 for count in flops]
    panels = [(mega, "MFLOPs a request")] + [(milliseconds, "ms a request, median")] * any(milliseconds)
    figure, axes = new_figure(1, len(panels), (6.0 * len(panels), 4.2))
    axes = np.atleast_1d(axes)
    for axis, (costs, label) in zip(axes, panels, strict=True):
        for number, (name, accuracy, cost) in enumerate(zip(names, accuracies, costs, strict=True)):
            if cost:
                axis.plot(cost, accuracy, "o", color=f"C{number % 10}", label=name)
            elif flops[number] is None:
                axis.axhline(accuracy, color=f"C{number % 10}", linestyle="--", linewidth=1, label=name)
        axis.set(title=title, xlabel=label)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[1]:
            legend = axis.legend(fontsize=8)
            for text in legend.get_texts():
                text.set_parse_math(False)  # a name is no formula
    if any(flops):
        axes[0].set_xscale("log")
    _save(figure, path)


def _save(figure: Any, path: Path | BytesIO) -> None:
    buffer = BytesIO() if isinstance(path, Path) else path
    figure.savefig(buffer, dpi=110)
    if isinstance(path, Path):
        write_bytes(path, buffer.getvalue())


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """(figure, its axes) without a display; `size` in inches. Raises `ImportError` where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "easrec_jax[plot]"') from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns)
