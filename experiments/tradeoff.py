"""The paper's Figure 4: the weight lambda against FLOPs and accuracy, and the budget mode on the same axes."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

from easrec_jax.models.cost import cost_table
from easrec_jax.space import search_space
from experiments.ablations import BY_PRICE, priced_cell, without_budget
from experiments.cells import Cells, Job, markdown, plus_minus
from experiments.compare import METRICS, PROTOCOL, show_mflops
from experiments.models import EASREC_CELL, for_strategy, searched_cell
from experiments.pictures import tradeoff_figure
from experiments.tables import FLOPS_HEAD, FLOPS_NOTE, NAMES

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
    smallest = float(cost_table(search_space(config), split.data.num_items).min())
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
    tradeoff_figure(points, cells.folder / "figure4.png")
    return cells.write("figure4", {"rows": points}, points, text, seeds=seeds)
