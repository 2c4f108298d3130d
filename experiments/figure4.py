"""The paper's Figure 4: the weight lambda against FLOPs and accuracy, and the budget mode on the same axes."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np

from easrec_jax.models.cost import request_flops
from easrec_jax.runs.figures import new_figure
from experiments.cells import Cells, Job
from experiments.compare import METRICS, PROTOCOL
from experiments.models import EASREC_CELL, for_strategy
from experiments.show import FLOPS_HEAD, FLOPS_NOTE, NAMES, markdown, plus_minus, show_mflops
from experiments.spaces import paper_grid
from experiments.table5 import BY_PRICE, priced_cell, without_budget
from experiments.training import searched_cell

COST_WEIGHTS = (0.0, 0.01, 0.1, 1.0, 10.0)
BUDGETS = (0.05, 0.14, 0.3, 1.0)


def run_figure4(
    cells: Cells,
    *,
    seeds: int,
    dataset: str,
    rows: tuple[str, ...] = (),
    weights: tuple[float, ...] = COST_WEIGHTS,
    budgets: tuple[float, ...] = BUDGETS,
) -> str:
    """EASRec under several lambda without a budget, and within several budgets; figure4.json, .csv, .md, .png.

    The recipe's own budget is a point too. Budgets below the smallest network's cost are left out.
    """
    config, split = cells.config, cells.split
    grid, num_items = paper_grid(config), split.data.num_items
    flops = [request_flops(network, num_items) for row in grid.networks for network in row]
    smallest = min(flops) / request_flops(grid.largest, num_items)
    own = config.search.budget
    admitted = sorted({b for b in (*budgets, own) if b is not None and b >= smallest})
    settings = {f"lambda {w:g}": ("lambda", w, priced_cell(config, w)) for w in weights}
    for b in admitted:
        settings[f"budget {b:g}"] = ("budget", b, EASREC_CELL if b == own else f"figure4-budget{b:g}")
    wanted = cells.shown_rows(settings, rows, lambda row: [f"{settings[row][2]}-seed{seed}" for seed in range(seeds)])
    settings = {row: settings[row] for row in wanted}
    jobs: dict[str, Job] = {}
    for seed in range(seeds):
        seeded = for_strategy(dataclasses.replace(config, seed=seed), "easrec")
        for mode, value, name in settings.values():
            if mode == "lambda":
                mine = without_budget(seeded, value)
            else:
                mine = dataclasses.replace(seeded, search=dataclasses.replace(seeded.search, budget=value))
            jobs[f"{name}-seed{seed}"] = Job(partial(searched_cell, split), mine)
    cells.run_all(jobs)
    points, lines = [], []
    for row, (mode, value, name) in settings.items():
        mine = []
        for seed in range(seeds):
            cell = cells.used[f"{name}-seed{seed}"]
            size = {key: cell["architecture"][key] for key in ("flops", "flops_all", "width", "depth")}
            mine.append({"mode": mode, "value": value, "seed": seed} | size | cell["test"][PROTOCOL])
        points += mine
        picks = ", ".join(f"{point['depth']} x {point['width']}" for point in mine)
        flops = [show_mflops(float(np.mean([point[key] for point in mine]))) for key in ("flops", "flops_all")]
        lines.append([row, picks, *flops, *(plus_minus([point[m] for point in mine]) for m in METRICS)])
    text = markdown(["", "picks", *FLOPS_HEAD, *(NAMES[m] for m in METRICS)], lines)
    text += (
        f"\n\n{dataset}, test items, {PROTOCOL}, {seeds} seed{'s' * (seeds > 1)}; picks are depth x width, one a seed. "
        + f"{FLOPS_NOTE} {BY_PRICE}"
    )
    if left := [f"{b:g}" for b in budgets if b < smallest]:
        text += f" Below the smallest network's cost of {np.ceil(1e3 * smallest) / 1e3:g}: {', '.join(left)}."
    draw_tradeoff(points, cells.folder / "figure4.png")
    return cells.write("figure4", {"rows": points}, points, text, seeds=seeds)


def draw_tradeoff(rows: list[dict], path: Path) -> None:
    """FLOPs of the pick and test NDCG, over lambda and over the budget on the same axes, and one over the other, as a PNG.

    A line of `rows` is one seed's, of `mode` lambda or budget (Figure 4).
    """
    figure, axes = new_figure(1, 3, (14.0, 3.8))
    ticks = list(dict.fromkeys((row["mode"], row["value"]) for row in rows))
    looks = {"lambda": ("C0", "o", 10, "right"), "budget": ("C1", "s", 5, "left")}  # equal points show both
    modes = [mode for mode in looks if any(tick[0] == mode for tick in ticks)]
    measures = (("flops", 1e-6, "MFLOPs of the pick"), ("ndcg@10", 1, "test NDCG@10 (pop100)"))
    for axis, (key, scale, label) in zip(axes, measures, strict=False):
        for mode in modes:
            at = [x for x, tick in enumerate(ticks) if tick[0] == mode]
            values = [[row[key] * scale for row in rows if (row["mode"], row["value"]) == ticks[x]] for x in at]
            axis.plot(at, [np.mean(v) for v in values], marker="o", color=looks[mode][0], label=mode)
            for x, v in zip(at, values, strict=True):
                axis.plot([x] * len(v), v, ".", color="black", markersize=3)
        names = [f"{'λ' if mode == 'lambda' else '≤'}\n{value:g}" for mode, value in ticks]
        axis.set(ylabel=label, xticks=range(len(ticks)), xticklabels=names)
        axis.set_ylim(0, 1.1 * scale * max(row[key] for row in rows))
    for mode in modes:
        colour, mark, size, side = looks[mode]
        mine = [tick for tick in ticks if tick[0] == mode]
        points = [
            [np.mean([row[key] * scale for row in rows if (row["mode"], row["value"]) == tick]) for tick in mine]
            for key, scale, _ in measures
        ]
        axes[2].plot(*points, mark, color=colour, markersize=size, label=mode)
        for tick, x, y in zip(mine, *points, strict=True):
            axes[2].annotate(f"  {tick[1]:g}  ", (x, y), fontsize=8, ha=side, va="center")
    axes[2].margins(x=0.12)
    axes[2].set(xlabel=measures[0][2], ylabel=measures[1][2])
    for axis, place in zip(axes, ("best", "lower left", "best"), strict=True):  # the second axis starts at zero
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc=place)
    figure.savefig(path, dpi=110)
