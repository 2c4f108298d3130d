"""The whole space: every network trained alone, and what each strategy picked of it, at what price."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

from easrec_jax.config import Config
from easrec_jax.data.split import Split
from easrec_jax.evaluate.latency import measure_latency
from easrec_jax.models.cost import all_positions_flops, request_flops
from easrec_jax.models.network import Network
from experiments.cells import Cells, Job
from experiments.compare import Row, compare, corrected
from experiments.effort import alone_flops, epochs_run, search_flops
from experiments.models import for_strategy
from experiments.space_analysis import analyse, none_if_nan
from experiments.space_picture import draw_space
from experiments.space_tables import space_tables
from experiments.spaces import Grid, paper_grid
from experiments.training import CHOSEN_ALONE, SUPERNETS, alone_cell, epoch_shapes, scored_search_cell


def run_space(cells: Cells, *, seeds: int, rows: tuple[str, ...] = ()) -> str:
    """All cells that are not finished, then space.json, .csv, .md and .png; the Markdown is returned.

    `rows` are strategies (all, if none is named). The oracle, the front and the regret are of validation figures; the
    test items, looked at once by each finished network's cell, are only shown. Random search and the oracle need no
    cells of their own: here they train what they choose as every network is trained alone (`retrain`), where
    `--search.strategy random` goes by `search.epochs` and `search.learning_rate`.
    """
    strategies = cells.shown_rows(
        (*SUPERNETS, *CHOSEN_ALONE),
        rows,
        lambda row: [f"search-{row}-seed{s}" for s in range(seeds) if row in SUPERNETS],
    )
    config, split = cells.config, cells.split
    grid, num_items = paper_grid(config), split.data.num_items
    searched = [name for name in strategies if name in SUPERNETS]
    cells.run_all(_jobs(grid, config, split, searched, seeds))
    alone = [[[cells.used[f"{name}-seed{seed}"] for name in row] for row in _cell_names(grid)] for seed in range(seeds)]
    searches = [
        {"strategy": name, "seed": seed} | cells.used[f"search-{name}-seed{seed}"]
        for seed in range(seeds)
        for name in searched
    ]
    _add_flops(alone, searches, grid, config, split)
    latency = cells.run("latency", Job(lambda *_: {"latency_s": _latency(grid, num_items)}, config))
    flops = np.array([[request_flops(network, num_items) for network in row] for row in grid.networks], np.float64)
    results = analyse(alone, searches, flops, np.array(latency["latency_s"]), config)
    for row in results["networks"]:
        row["flops_all"] = all_positions_flops(grid.networks[row["candidate"]][row["depth"] - 1], num_items)
    results["picks"] = [pick for pick in results["picks"] if pick["what"] in strategies]
    _add_significance(results, cells, seeds)
    lines = [{k: v for k, v in r.items() if not isinstance(v, list)} for r in [*results["networks"], *results["picks"]]]
    draw_space(results, grid, cells.folder / "space.png", select_by=config.evaluate.select_by)
    return cells.write("space", results, lines, space_tables(results, grid), seeds=seeds)


def _cell_names(grid: Grid) -> list[list[str]]:
    """Of the networks alone, without the seed, [candidates][depths]."""
    return [[f"network-{i}x{j}" for j in range(1, len(row) + 1)] for i, row in enumerate(grid.networks)]


def _jobs(grid: Grid, config: Config, split: Split, searched: list[str], seeds: int) -> dict[str, Job]:
    """Every network alone and every search with a supernet, by the name of the cell."""
    jobs: dict[str, Job] = {}
    for seed in range(seeds):
        seeded = dataclasses.replace(config, seed=seed)
        for names, row in zip(_cell_names(grid), grid.networks, strict=True):
            for name, network in zip(names, row, strict=True):
                jobs[f"{name}-seed{seed}"] = Job(partial(alone_cell, network, split), seeded, network)
        for name in searched:
            search = partial(scored_search_cell, grid, split)
            jobs[f"search-{name}-seed{seed}"] = Job(search, for_strategy(seeded, name))
    return jobs


def _latency(grid: Grid, num_items: int) -> list[list[float]]:
    """Seconds of each network, [candidates][depths], measured now."""
    networks = [Network(architecture, num_items) for row in grid.networks for architecture in row]
    return measure_latency(networks).seconds.reshape(len(grid.networks), -1).tolist()


def _add_flops(alone: list, searches: list[dict], grid: Grid, config: Config, split: Split) -> None:
    """`training_flops` of every cell."""
    items, every = split.data.num_items, config.data.targets == "all"
    shapes = epoch_shapes(config, split, config.retrain)
    for row in alone:
        for cells, architectures in zip(row, grid.networks, strict=True):
            for cell, architecture in zip(cells, architectures, strict=True):
                epoch = alone_flops(architecture, items, shapes, every_position=every)
                cell["training_flops"] = epoch * epochs_run(cell, config.retrain)
    shapes = epoch_shapes(config, split, config.search)
    for cell in searches:
        cell["training_flops"] = search_flops(
            grid, items, shapes, cell["drawn"], cell["finalists"], config.search, every_position=every
        )


def _add_significance(results: dict, cells: Cells, seeds: int) -> None:
    """`p` of every network's validation figure against the oracle's, users and seeds together, corrected; None: no test."""

    def row(place: dict) -> Row:
        name = f"network-{place['candidate']}x{place['depth']}"
        return Row.finished(name, cells, [f"{name}-seed{seed}" for seed in range(seeds)])

    oracle, others = row(results["oracle"]), {}
    for network in results["networks"]:
        others[network["candidate"], network["depth"]] = compare(
            row(network), oracle, "validation", "ndcg@10", results["protocol"]
        )
    del others[results["oracle"]["candidate"], results["oracle"]["depth"]]
    tests = dict(zip(others, corrected(list(others.values())), strict=True))
    for network in results["networks"]:
        test = tests.get((network["candidate"], network["depth"]))
        network["p"] = test and none_if_nan(test.p)
