"""The tables of the whole space in Markdown: its networks, the strategies, random search over all its draws."""

from __future__ import annotations

import numpy as np

from experiments.show import FLOPS_HEAD, FLOPS_NOTE, markdown, show_mflops, show_p
from experiments.spaces import Grid
from experiments.training import FREE

AVERAGED = (  # over the seeds of a strategy's picks
    "flops", "validation", "test", "regret", "relative_regret", "cpu_seconds_over_exhaustive",
    "training_flops_over_exhaustive", "training_flops_over_exhaustive_with_pick",
)  # fmt: skip


def space_tables(results: dict, grid: Grid) -> str:
    """The networks in order of FLOPs, the strategies with their seeds averaged, a note, and the draws of random search."""
    parts = [_networks(results, grid), _strategies(results, grid), _note(results)]
    if any(pick["what"] == "random" for pick in results["picks"]):
        parts.append(_draws(results))
    return "\n\n".join(parts)


def _networks(results: dict, grid: Grid) -> str:
    def figure(mean: float, sd: float | None) -> str:
        return f"{mean:.4f}" if sd is None else f"{mean:.4f} ± {sd:.4f}"

    head = ["network", *FLOPS_HEAD, "ms / 16 users", f"validation NDCG@10 ({results['protocol']})", "test NDCG@10"]
    head += ["p against the oracle", "on the front", "CPU s", "TFLOPs"]
    rows = []
    for row in sorted(results["networks"], key=lambda row: row["flops"]):
        width, inner = grid.sizes[row["candidate"]]
        size = [show_mflops(row["flops"]), show_mflops(row["flops_all"]), f"{row['latency_ms']:.2f}"]
        figures = [figure(row["validation"], row["validation_sd"]), figure(row["test"], row["test_sd"])]
        judged = [show_p(float("nan") if row["p"] is None else row["p"]), "yes" if row["front"] else ""]
        spent = [f"{row['cpu_seconds']:.0f}", f"{row['training_flops'] / 1e12:.3g}"]
        rows.append([f"{row['depth']} x {width}/{inner}", *size, *figures, *judged, *spent])
    return markdown(head, rows)


def _strategies(results: dict, grid: Grid) -> str:
    head = ["strategy", "picks", "likeliest", "MFLOPs", "validation", "test", "regret at its FLOPs", "relative"]
    head += ["below the oracle", "CPU s / all networks", "FLOPs / all networks", "with the pick trained"]
    head += ["Kendall tau", "its p, one a seed"]
    names = dict.fromkeys(pick["what"] for pick in results["picks"])
    mine = {name: [pick for pick in results["picks"] if pick["what"] == name] for name in names}
    best = results["oracle"]["validation"]
    return markdown(head, [[name, *_strategy(picks, grid, best)] for name, picks in mine.items()])


def _strategy(picks: list[dict], grid: Grid, best: float) -> list[str]:
    """A line: the picks of one strategy, one a seed; `best` is the oracle's validation figure."""

    def name(candidate: int, depth: int) -> str:
        return f"{depth} x {grid.sizes[candidate][0]}"

    mean = {key: float(np.mean([pick[key] for pick in picks])) for key in AVERAGED}
    likeliest = [name(*pick["likeliest"]) for pick in picks if "likeliest" in pick]
    tau = [pick["kendall"] for pick in picks if pick.get("kendall") is not None]
    tau_p = [show_p(pick["kendall_p"]) for pick in picks if pick.get("kendall_p") is not None]
    return [
        ", ".join(name(pick["candidate"], pick["depth"]) for pick in picks),
        ", ".join(likeliest) or "-",
        show_mflops(mean["flops"]),
        f"{mean['validation']:.4f}",
        f"{mean['test']:.4f}",
        f"{mean['regret']:.4f}",
        f"{mean['relative_regret']:.1%}",
        f"{best - mean['validation']:.4f}",
        f"{mean['cpu_seconds_over_exhaustive']:.2f}",
        f"{mean['training_flops_over_exhaustive']:.2f}",
        f"{mean['training_flops_over_exhaustive_with_pick']:.2f}",
        f"{np.mean(tau):.2f}" if tau else "-",
        ", ".join(tau_p) or "-",
    ]


def _draws(results: dict) -> str:
    best = results["oracle"]["validation"]
    lines = [
        [str(r["drawn"]), f"{r['validation']:.4f}", f"{best - r['validation']:.4f}", f"{r['training_flops']:.2f}"]
        for r in results["random"]
    ]
    head = ["random search over all its draws of", "validation", "below the oracle", "FLOPs / all networks"]
    return markdown(head, lines)


def _note(results: dict) -> str:
    """What the figures of both tables are."""

    def shown(tau: float | None) -> str:
        return "unknown" if tau is None else f"{tau:.2f}"

    seeds = results["seeds"]
    budget = "" if results["budget"] is None else f"; budget {results['budget']} of the largest network's FLOPs"
    free = " and ".join(FREE)
    return (
        f"{seeds} seed{'s' * (seeds > 1)}{budget}; {free} keep none. Prices are shares of training all networks "
        "of the space, FLOPs of training by the closed form of experiments/effort.py; the last one adds the training "
        "of the pick, which random and exhaustive have trained already. A network's CPU seconds include its evaluation. "
        "p: two-sided t-test by the variance of users and of seeds together, corrected for the table (Holm), "
        "on validation items, the oracle chosen on the same, so with hindsight. The oracle is the best within the budget"
        f"{' by this one seed, so that exhaustive is right by definition' * (seeds == 1)}. The likeliest is what a search would "
        "pick by its probabilities alone, without training finalists. Kendall's tau is between a network's score in the supernet "
        "and alone, over those that the search may pick, with the exact p of each seed; its ceiling is the mean tau between two "
        f"seeds of the networks alone: {shown(results['ceiling'])} over those within the budget, {shown(results['ceiling_all'])} over "
        f"all. recnas is RecNAS-like: no code of it is published. {FLOPS_NOTE}"
    )
