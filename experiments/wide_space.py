"""What a wide space buys over the paper's: picks of both within the same FLOPs, and within fewer; and a random search there."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.models.cost import request_flops
from experiments.cells import Cells, Job
from experiments.compare import PARTS, TESTS, Row, compare, corrected
from experiments.models import EASREC_CELL, for_strategy
from experiments.show import FLOPS_HEAD, FLOPS_NOTE, markdown, plus_minus, show_mflops, show_p
from experiments.spaces import wide_extent
from experiments.training import searched_cell


class WideSearch(NamedTuple):
    """A search, in the paper's space or the wide one: a row of the table, a cell a seed."""

    cell: str
    label: str
    level: float  # most FLOPs of its pick, over those of the pick in the paper's space
    strategy: str = "easrec"


PAPERS = WideSearch(EASREC_CELL, "the paper's space", 1.0)
SEARCHES = (
    *(WideSearch(f"wide-{level:g}", f"wide, at most {level:.0%} of its FLOPs", level) for level in (1.0, 0.75, 0.5)),
    WideSearch("wide-random", "wide, at most 100% of its FLOPs, random search", 1.0, "random"),
)


def run_wide(cells: Cells, *, seeds: int, rows: tuple[str, ...] = ()) -> str:
    """Search, retrain and evaluate in the paper's space and by each of `SEARCHES` in the wide one; wide.json, .csv, .md.

    The first wide budget is the FLOPs of the same seed's pick in the paper's space, so that row asks what the wide space
    buys at equal FLOPs; the next ask what accuracy fewer FLOPs still reach. Random search, the control, trains as many
    networks within the first budget as a search has finalists (`search.finalists`, `search.epochs` each).

    `rows` are labels of `SEARCHES` (all, if none is named); the paper's space is always there, as their budgets are of it.
    """
    config, split = cells.config, cells.split
    names = {v: [f"{v.cell}-seed{seed}" for seed in range(seeds)] for v in (PAPERS, *SEARCHES)}
    known = {v.label: mine for v, mine in names.items() if v != PAPERS}
    wanted = cells.shown_rows(known, rows, known.__getitem__)
    searches = [v for v in SEARCHES if v.label in wanted]
    names = {v: names[v] for v in (PAPERS, *searches)}
    largest, networks = wide_extent(widened(config, 1.0))
    seeded = [for_strategy(dataclasses.replace(config, seed=seed), "easrec") for seed in range(seeds)]

    def job(config: Config) -> Job:
        return Job(partial(searched_cell, split), config)

    cells.run_all({name: job(c) for name, c in zip(names[PAPERS], seeded, strict=True)})
    most = request_flops(largest, split.data.num_items)
    shares = [cells.used[name]["architecture"]["flops"] / most for name in names[PAPERS]]
    cells.run_all(
        {
            names[v][k]: job(widened(c, v.level * share, v.strategy))
            for k, (share, c) in enumerate(zip(shares, seeded, strict=True))
            for v in searches
        }
    )
    rows_of = {v: Row.finished(v.label, cells, mine) for v, mine in names.items()}
    by = config.evaluate.select_by
    pairs = [(v, part) for v in rows_of if v != PAPERS for part in PARTS]
    tests = corrected([compare(rows_of[v], rows_of[PAPERS], part, "ndcg@10", by) for v, part in pairs])
    p: dict[WideSearch, dict[str, float]] = {v: {} for v, _ in pairs}
    for (v, part), test in zip(pairs, tests, strict=True):
        p[v][part] = test.p
    found = {v: [cells.used[name] for name in mine] for v, mine in names.items()}
    fields = [_fields(v, mine, found[PAPERS], p.get(v, {}), by) for v, mine in found.items()]
    text = f"{_table(found, fields, p, by)}\n\n{_note(config, networks, seeds)}"
    return cells.write("wide", {"rows": fields, "networks": networks}, fields, text, seeds=seeds)


def widened(config: Config, budget: float, strategy: str = "easrec") -> Config:
    """The same effort in a wide space around the config's, which it contains: inner sizes up to twice as large, widths in
    between, all free.

    `budget` is a fraction of the FLOPs of the wide space's largest network, whose inner size is twice the config's.
    """
    model = dataclasses.replace(config.model, inner=2 * config.model.inner)
    inner = tuple(sorted({0.0, *((1 + pruned) / 2 for pruned in config.search.prune), 0.75}))
    middle = [(a + b) / 2 for a, b in zip(config.search.prune, config.search.prune[1:], strict=False)]
    attentions = ("recent_linrec", "causal_linrec") if config.data.targets == "all" else ("recent_linrec", "linrec")
    search = dataclasses.replace(
        config.search, strategy=strategy, prune=tuple(sorted({*config.search.prune, *middle})), inner_prune=inner,
        heads=tuple(h for h in (model.heads // 2, model.heads) if h), gate_layers=(0, 1, 2), attentions=attentions,
        budget=min(1.0, budget * (1 + 1e-9)),
    )  # fmt: skip
    return dataclasses.replace(config, model=model, search=search)


def _ndcg(cells: list[dict], part: str, by: str) -> np.ndarray:
    return np.array([cell[part][by]["ndcg@10"] for cell in cells])


def _flops(cells: list[dict], name: str = "flops") -> np.ndarray:
    return np.array([cell["architecture"][name] for cell in cells], np.float64)


def _fields(search: WideSearch, cells: list[dict], base: list[dict], p: dict[str, float], by: str) -> dict:
    """A row as plain numbers; `base` are the cells of the paper's space, `p` is by part."""
    mine = {part: _ndcg(cells, part, by) for part in ("validation", "test")}
    change = {f"{part}_change": float(np.mean(ndcg / _ndcg(base, part, by) - 1)) for part, ndcg in mine.items()}
    return (
        {
            "space": search.label,
            "picks": "; ".join(Architecture.from_json(cell["architecture"]).describe() for cell in cells),
            "flops": float(_flops(cells).mean()),
            "flops_all": float(_flops(cells, "flops_all").mean()),
            "flops_saved": float(np.mean(1 - _flops(cells) / _flops(base))),
        }
        | {part: float(ndcg.mean()) for part, ndcg in mine.items()}
        | change
        | {f"{part}_p": None if np.isnan(value) else value for part, value in p.items()}
        | {"cpu_seconds": float(np.mean([cell["cpu_seconds"] for cell in cells]))}
    )


def _table(
    found: dict[WideSearch, list[dict]], rows: list[dict], p: dict[WideSearch, dict[str, float]], by: str
) -> str:
    """A line a search; `p` by search and part."""
    lines = []
    for (search, cells), row in zip(found.items(), rows, strict=True):
        size = [show_mflops(row["flops"]), show_mflops(row["flops_all"]), f"{row['flops_saved']:+.0%}"]
        figures = []
        for part in PARTS:
            tested = show_p(p[search][part]) if search in p else ""
            figures += [plus_minus(_ndcg(cells, part, by)), f"{row[f'{part}_change']:+.1%}", tested]
        lines.append([search.label, row["picks"], *size, *figures, f"{row['cpu_seconds']:.0f}"])
    head = [
        "space and budget",
        "picks, one per seed",
        *FLOPS_HEAD,
        "saved",
        f"validation NDCG@10 ({by})",
        "change",
        "p",
    ]
    return markdown([*head, "test NDCG@10", "change", "p", "CPU s"], lines)


def _note(config: Config, networks: int, seeds: int) -> str:
    paper_networks = len(config.search.prune) * config.model.layers
    return (
        f"{seeds} seed{'s' * (seeds > 1)}; {paper_networks} networks in the paper's space, {networks:,} in "
        "the wide one; saved and change are relative to the paper's space, seed by seed. The p shown is that of both. "
        f"{TESTS} {FLOPS_NOTE} Random search trains {config.search.finalists} networks drawn within the budget, "
        f"{config.search.epochs} epochs each, and its best one anew as every pick."
    )
