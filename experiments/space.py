"""The whole space: every network trained alone, and what each strategy picked of it, at what price."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from easrec_jax.search.search import Found, search
from easrec_jax.search.strategies import STRATEGIES

from easrec_jax.config import Config
from easrec_jax.data.split import Split
from easrec_jax.evaluate.latency import space_latency
from easrec_jax.models.cost import all_positions_flops, request_flops
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.supernet import extract
from easrec_jax.space import SearchSpace, search_space
from easrec_jax.train.task import make_evaluator, samples_of
from experiments.cells import Cells, Job, markdown
from experiments.compare import Row, compare, corrected, pareto, show_p
from experiments.effort import alone_flops, batch_shapes, epochs_run, search_flops, steps_made
from experiments.models import alone_cell, for_strategy
from experiments.pictures import space_figure
from experiments.tables import FLOPS_HEAD, FLOPS_NOTE

SUPERNETS = tuple(name for name, strategy in STRATEGIES.items() if strategy.choose is None)
CHOSEN_ALONE = tuple(
    name for name in STRATEGIES if name not in SUPERNETS
)  # they train networks alone, without a supernet


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
    space = search_space(config)
    flops = np.array([[request_flops(n, split.data.num_items) for n in row] for row in networks(space)], np.float64)
    jobs: dict[str, Job] = {}
    for seed in range(seeds):
        seeded = dataclasses.replace(config, seed=seed)
        for i, row in enumerate(networks(space)):
            for j, network in enumerate(row, 1):
                alone = partial(alone_cell, network, split)
                jobs[f"network-{i}x{j}-seed{seed}"] = Job(alone, seeded, network)
        for name in SUPERNETS:
            if name in strategies:
                jobs[f"search-{name}-seed{seed}"] = Job(partial(search_cell, space, split), for_strategy(seeded, name))
    cells.run_all(jobs)
    alone = [
        [[cells.used[f"network-{i}x{j}-seed{seed}"] for j in range(1, len(row) + 1)] for i, row in enumerate(flops)]
        for seed in range(seeds)
    ]
    searches = [
        {"strategy": name, "seed": seed} | cells.used[f"search-{name}-seed{seed}"]
        for seed in range(seeds)
        for name in strategies
        if name in SUPERNETS
    ]
    add_flops(alone, searches, space, config, split)
    seconds = Job(lambda *_: {"latency_s": space_latency(space, split.data.num_items).tolist()}, config)
    latency = cells.run("latency", seconds)
    results = analyse(alone, searches, flops, np.array(latency["latency_s"]), config)
    for row in results["networks"]:
        architecture = space.architecture(row["candidate"], row["depth"])
        row["flops_all"] = all_positions_flops(architecture, split.data.num_items)
    results["picks"] = [pick for pick in results["picks"] if pick["what"] in strategies]
    add_significance(results, cells, seeds)
    text = report(results, space, config)
    lines = [{k: v for k, v in r.items() if not isinstance(v, list)} for r in [*results["networks"], *results["picks"]]]
    space_figure(results, space, cells.folder / "space.png", select_by=config.evaluate.select_by)
    return cells.write("space", results, lines, text, seeds=seeds)


def networks(space: SearchSpace) -> list[list[Any]]:
    """The architectures of a space, [candidates][depths]."""
    return [[space.architecture(i, j) for j in range(1, space.num_layers + 1)] for i in range(space.num_candidates)]


def search_cell(space: SearchSpace, split: Split, config: Config, callbacks: dict) -> dict | None:
    """One search, and the score of every network as it stands in the supernet; no test item is touched.

    The seconds are those of the search: its price has no part in the scores.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    evaluator = make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    samples, dropout = samples_of(config, split), config.model.dropout
    found: Found = search(
        space, samples, evaluator, settings=config.search, dropout=dropout, seed=config.seed, **callbacks
    )
    if not found.finished:
        return None
    spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    shapes, counts = batch_shapes(samples, config.model.max_length, config.search), found.computed or {}
    steps = steps_made(config.search, shapes.total(), found.epochs)

    def score(architecture: Any) -> float:
        network: Any = Network(architecture, split.data.num_items)
        figures = evaluator(network_scores(network), extract(found.weights or {}, space, architecture))
        return figures[evaluator.protocols[0]]["ndcg@10"]

    likeliest = found.finalists[0]
    return {
        "pick": list(space.locate(found.architecture)),
        "likeliest": [likeliest["candidate"], likeliest["depth"]],
        "finalists": found.finalists,
        "drawn": {kind: {"steps": steps[kind], "blocks": np.asarray(counts[kind]).tolist()} for kind in steps},
        "supernet_scores": [[score(n) for n in row] for row in networks(space)],
    } | spent


def add_flops(alone: list, searches: list[dict], space: SearchSpace, config: Config, split: Split) -> None:
    """`training_flops` of every cell."""
    samples, length, items = samples_of(config, split), config.model.max_length, split.data.num_items
    every = samples.every_position
    shapes = batch_shapes(samples, length, config.retrain)
    for row in alone:
        for cells, architectures in zip(row, networks(space), strict=True):
            for cell, architecture in zip(cells, architectures, strict=True):
                epoch = alone_flops(architecture, items, shapes, every_position=every)
                cell["training_flops"] = epoch * epochs_run(cell, config.retrain)
    shapes = batch_shapes(samples, length, config.search)
    for cell in searches:
        cell["training_flops"] = search_flops(
            space, items, shapes, cell["drawn"], cell["finalists"], config.search, every_position=every
        )


def add_significance(results: dict, cells: Cells, seeds: int) -> None:
    """`p` of every network's validation figure against the oracle's, users and seeds together, corrected; None: no test."""

    def row(place: dict) -> Row:
        name = f"network-{place['candidate']}x{place['depth']}"
        return Row.finished(name, cells, [f"{name}-seed{seed}" for seed in range(seeds)])

    oracle, others = row(results["oracle"]), {}
    for network in results["networks"]:
        mine = row(network)
        others[network["candidate"], network["depth"]] = compare(
            mine, oracle, "validation", "ndcg@10", results["protocol"]
        )
    del others[results["oracle"]["candidate"], results["oracle"]["depth"]]
    tests = dict(zip(others, corrected(list(others.values())), strict=True))
    for network in results["networks"]:
        test = tests.get((network["candidate"], network["depth"]))
        network["p"] = test and _none_if_nan(test.p)


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def analyse(alone: list, searches: list[dict], flops: np.ndarray, seconds: np.ndarray, config: Config) -> dict:
    """Everything that the tables and the picture show, as plain numbers. `alone` is [seeds][candidates][depths]."""
    by, budget = config.evaluate.select_by, config.search.budget
    validation, test = (figures(alone, part, by) for part in ("validation", "test"))
    mean = validation.mean(0)
    admitted = flops <= (np.inf if budget is None else budget * flops.max())
    prices = {key: of_cells(alone, lambda cell, key=key: cell[key]) for key in ("cpu_seconds", "training_flops")}
    front = pareto(flops, mean)
    rows = []
    for (i, j), _ in np.ndenumerate(mean):
        rows.append(
            {
                "what": "network", "candidate": i, "depth": j + 1, "flops": flops[i, j], "latency_ms": 1e3 * seconds[i, j],
                "validation": mean[i, j], "validation_sd": spread(validation[:, i, j]), "test": test[:, i, j].mean(),
                "test_sd": spread(test[:, i, j]), "front": bool(front[i, j]),
            } | {key: price[:, i, j].mean() for key, price in prices.items()}
        )  # fmt: skip
    picks = []
    for cell in searches:
        i, j = cell["pick"]
        pickable = admitted if STRATEGIES[cell["strategy"]].keeps_budget else np.ones_like(admitted)
        scores = np.array(cell["supernet_scores"])
        picks.append(
            pick_row(cell["strategy"], cell["seed"], (i, j), mean, test, flops)
            | {"likeliest": cell["likeliest"], "finalists": cell["finalists"]}
            | dict(
                zip(
                    ("kendall", "kendall_p"), kendall(scores[pickable], validation[cell["seed"]][pickable]), strict=True
                )
            )
            | over_exhaustive({key: cell[key] for key in prices}, prices, cell["seed"], untrained=(i, j))
        )
    for seed in range(len(alone)):
        for name, chosen in chosen_alone(flops / flops.max(), config, seed).items():
            best = max(chosen, key=lambda pair: validation[seed, pair[0], pair[1] - 1])
            spent = {key: float(sum(price[seed, i, j - 1] for i, j in chosen)) for key, price in prices.items()}
            picks.append(pick_row(name, seed, best, mean, test, flops) | over_exhaustive(spent, prices, seed))
    best = np.unravel_index(np.argmax(np.where(admitted, mean, -1.0)), mean.shape)
    oracle = {"candidate": int(best[0]), "depth": int(best[1]) + 1, "validation": mean[best], "flops": flops[best]}
    random = random_expected(validation, mean, admitted, prices["training_flops"])
    about = {"seeds": len(alone), "protocol": by, "budget": budget, "oracle": oracle, "random": random}
    ceilings = {"ceiling": tau_between_seeds(validation[:, admitted]), "ceiling_all": tau_between_seeds(validation)}
    return about | ceilings | {"networks": rows, "picks": picks}


def random_expected(
    validation: np.ndarray, mean: np.ndarray, admitted: np.ndarray, price: np.ndarray
) -> list[dict[str, Any]]:
    """Random search over all its draws, for 1, 2, ... networks drawn: the expected figure of its pick, and its price.

    A seed picks by its own validation figures and is judged by the `mean` over seeds, as every pick. The price is a share
    of training all networks.
    """
    count, found = int(admitted.sum()), []
    own, shares = validation[:, admitted], price[:, admitted] / price.sum((1, 2))[:, None]
    judged = np.take(mean[admitted], np.argsort(own, axis=1))  # [seeds, rank]
    for drawn in range(1, count + 1):
        ways = [comb(rank, drawn - 1) for rank in range(count)]  # draws whose best is the one of that rank
        expected = float((judged @ ways).mean() / comb(count, drawn))
        found.append({"drawn": drawn, "validation": expected, "training_flops": float(drawn * shares.mean())})
    return found


def chosen_alone(costs: np.ndarray, config: Config, seed: int) -> dict[str, list[tuple[int, int]]]:
    """What random search and the exhaustive oracle would train, by their own functions."""
    found = {}
    for name in CHOSEN_ALONE:
        choose = STRATEGIES[name].choose
        assert choose is not None
        found[name] = choose(costs, config.search, seed)
    return found


def pick_row(name: str, seed: int, pair: tuple, mean: np.ndarray, test: np.ndarray, flops: np.ndarray) -> dict:
    """A pick, and what it misses: the best network of at most its FLOPs, by validation figures averaged over seeds.

    `regret` is the difference, `relative_regret` the same over the best one's figure.
    """
    at = pair[0], pair[1] - 1
    best = np.where(flops <= flops[at], mean, -1.0).max()
    return {
        "what": name, "seed": seed, "candidate": pair[0], "depth": pair[1], "flops": flops[at],
        "validation": mean[at], "test": test[:, at[0], at[1]].mean(), "regret": float(best - mean[at]),
        "relative_regret": float(1 - mean[at] / best),
    }  # fmt: skip


def over_exhaustive(
    spent: dict[str, float], prices: dict[str, np.ndarray], seed: int, *, untrained: tuple[int, int] | None = None
) -> dict[str, float]:
    """What a pick cost, and what share of training every network of the space that is, the pick's own training added to it
    where the search has not trained it (`with_pick`)."""
    found = dict(spent)
    for key, value in spent.items():
        price = prices[key][seed]
        own = 0.0 if untrained is None else price[untrained[0], untrained[1] - 1]
        found[f"{key}_over_exhaustive"] = value / price.sum()
        found[f"{key}_over_exhaustive_with_pick"] = (value + own) / price.sum()
    return found


def figures(alone: list, part: str, protocol: str) -> np.ndarray:
    """NDCG@10, [seeds candidates depths]."""
    return of_cells(alone, lambda cell: cell[part][protocol]["ndcg@10"])


def of_cells(alone: list, value: Callable[[dict], float]) -> np.ndarray:
    """A number of each network's cell, [seeds candidates depths]."""
    return np.array([[[value(cell) for cell in row] for row in rows] for rows in alone])


def spread(values: np.ndarray) -> float | None:
    """Standard deviation over seeds, None for one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def kendall(scores: Any, validation: np.ndarray) -> tuple[float | None, float | None]:
    """Kendall's tau between two orders of the networks and its two-sided p, exact without ties; None where one has no order."""
    from scipy.stats import kendalltau

    if np.size(scores) < 2:
        return None, None
    result: Any = kendalltau(np.ravel(scores), np.ravel(validation))
    return _none_if_nan(float(result.statistic)), _none_if_nan(float(result.pvalue))


def tau_between_seeds(validation: np.ndarray) -> float | None:
    """Mean tau between the networks' figures of two seeds, [seeds ...]: no score can agree better with one seed's order."""
    pairs = [kendall(validation[a], validation[b])[0] for a, b in combinations(range(len(validation)), 2)]
    known = [tau for tau in pairs if tau is not None]
    return float(np.mean(known)) if known else None


def _shown(tau: float | None) -> str:
    return "unknown" if tau is None else f"{tau:.2f}"


def report(results: dict, space: SearchSpace, config: Config) -> str:
    """Two tables: the networks in order of FLOPs, the strategies with their seeds averaged."""
    by, seeds = results["protocol"], results["seeds"]

    def figure(mean: float, sd: float | None) -> str:
        return f"{mean:.4f}" if sd is None else f"{mean:.4f} ± {sd:.4f}"

    head = [
        "network",
        *FLOPS_HEAD,
        "ms / 16 users",
        f"validation NDCG@10 ({by})",
        "test NDCG@10",
        "p against the oracle",
        "on the front",
        "CPU s",
        "TFLOPs",
    ]
    rows = [
        [
            f"{r['depth']} x {space.sizes[r['candidate']][0]}/{space.sizes[r['candidate']][1]}", f"{r['flops'] / 1e6:.2f}",
            f"{r['flops_all'] / 1e6:.2f}", f"{r['latency_ms']:.2f}", figure(r["validation"], r["validation_sd"]),
            figure(r["test"], r["test_sd"]), show_p(float("nan") if r["p"] is None else r["p"]),
            "yes" if r["front"] else "", f"{r['cpu_seconds']:.0f}",
            f"{r['training_flops'] / 1e12:.3g}",
        ]
        for r in sorted(results["networks"], key=lambda r: r["flops"])
    ]  # fmt: skip
    first = markdown(head, rows)
    head = [
        "strategy",
        "picks",
        "likeliest",
        "MFLOPs",
        "validation",
        "test",
        "regret at its FLOPs",
        "relative",
        "below the oracle",
        "CPU s / all networks",
        "FLOPs / all networks",
        "with the pick trained",
        "Kendall tau",
        "its p, one a seed",
    ]
    rows = []
    for name in dict.fromkeys(r["what"] for r in results["picks"]):
        mine = [r for r in results["picks"] if r["what"] == name]
        names = [f"{r['depth']} x {space.sizes[r['candidate']][0]}" for r in mine]
        likeliest = [
            f"{depth} x {space.sizes[i][0]}" for i, depth in (r["likeliest"] for r in mine if "likeliest" in r)
        ]
        tau = [r["kendall"] for r in mine if r.get("kendall") is not None]
        tau_p = [show_p(r["kendall_p"]) for r in mine if r.get("kendall_p") is not None]
        average = {
            key: np.mean([r[key] for r in mine])
            for key in (
                "flops",
                "validation",
                "test",
                "regret",
                "relative_regret",
                "cpu_seconds_over_exhaustive",
                "training_flops_over_exhaustive",
                "training_flops_over_exhaustive_with_pick",
            )
        }
        rows.append(
            [
                name, ", ".join(names), ", ".join(likeliest) or "-", f"{average['flops'] / 1e6:.2f}", f"{average['validation']:.4f}",
                f"{average['test']:.4f}", f"{average['regret']:.4f}", f"{average['relative_regret']:.1%}",
                f"{results['oracle']['validation'] - average['validation']:.4f}", f"{average['cpu_seconds_over_exhaustive']:.2f}",
                f"{average['training_flops_over_exhaustive']:.2f}",
                f"{average['training_flops_over_exhaustive_with_pick']:.2f}", f"{np.mean(tau):.2f}" if tau else "-",
                ", ".join(tau_p) or "-",
            ]
        )  # fmt: skip
    budget = "" if results["budget"] is None else f"; budget {results['budget']} of the largest network's FLOPs"
    free = " and ".join(name for name, strategy in STRATEGIES.items() if not strategy.keeps_budget)
    note = (
        f"{seeds} seed{'s' * (seeds > 1)}{budget}; {free} keep none. Prices are shares of training all networks "
        "of the space, FLOPs of training by the closed form of experiments/effort.py; the last one adds the training "
        "of the pick, which random and exhaustive have trained already. A network's CPU seconds include its evaluation. "
        "p: two-sided t-test by the variance of users and of seeds together, corrected for the table (Holm), "
        "on validation items, the oracle chosen on the same, so with hindsight. The oracle is the best within the budget"
        f"{' by this one seed, so that exhaustive is right by definition' * (seeds == 1)}. The likeliest is what a search would "
        "pick by its probabilities alone, without training finalists. Kendall's tau is between a network's score in the supernet "
        "and alone, over those that the search may pick, with the exact p of each seed; its ceiling is the mean tau between two "
        f"seeds of the networks alone: {_shown(results['ceiling'])} over those within the budget, {_shown(results['ceiling_all'])} over "
        f"all. recnas is RecNAS-like: no code of it is published. {FLOPS_NOTE}"
    )
    if not any(r["what"] == "random" for r in results["picks"]):
        return f"{first}\n\n{markdown(head, rows)}\n\n{note}"
    lines = [
        [
            str(r["drawn"]),
            f"{r['validation']:.4f}",
            f"{results['oracle']['validation'] - r['validation']:.4f}",
            f"{r['training_flops']:.2f}",
        ]
        for r in results["random"]
    ]
    draws = markdown(
        ["random search over all its draws of", "validation", "below the oracle", "FLOPs / all networks"], lines
    )
    return f"{first}\n\n{markdown(head, rows)}\n\n{note}\n\n{draws}"
