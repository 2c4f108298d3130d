"""What is computed from the finished cells of `canet`, as JSON, CSV and Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.data.split import Split
from easrec_jax.evaluate.metrics import compare_seeds, gains, holm
from experiments.canet_rivals import EXITS, LENGTH, PARTS, STATIC
from experiments.show import markdown, plus_minus, show_p

ROUTER, FULL, RANDOM, ORACLE = "router", "full", "random", "oracle"
LABELS = {
    ROUTER: "the router", FULL: "the full network", STATIC: "best slice at its FLOPs", RANDOM: "its histogram at random",
    LENGTH: "by history length alone", EXITS: "early exit by confidence", ORACLE: "oracle (validation items known)",
}  # fmt: skip
QUARTERS = 4  # of history lengths
SAVED, LOST, FASTER, LEVEL = 0.55, 0.005, 2.0, 0.05  # the goal

Finished = list[tuple[dict, dict[str, np.ndarray]]]  # a cell and its arrays, one a seed


def canet_tables(found: Finished, config: Config, split: Split, dataset: str) -> tuple[dict, list[dict], str]:
    """(the content of canet.json, the lines of canet.csv, the Markdown)."""
    ways, slices = _ways(found), _slices(found)
    shares = _shares(found, config, split)
    goal = _goal(ways, found)
    about = (
        f"{dataset}, {config.evaluate.select_by}, {len(found)} seed{'s' * (len(found) > 1)}. FLOPs are means over users, over the "
        "full network's, the router's own included; validation items set every choice, the test items were looked at once. p: "
        "two-sided, paired over users, users' and seeds' variance together, corrected (Holm). Random: the exact mean over all draws. "
        "Users/s are measured on this machine, alone and grouped as they are served."
    )
    text = "\n\n".join([_ways_table(ways), _slices_table(slices), _shares_table(shares), _goal_text(goal), about])
    lines = [{"what": LABELS[way["way"]]} | {k: v for k, v in way.items() if k != "way"} for way in ways]
    lines += [{"what": one["network"]} | {k: v for k, v in one.items() if k != "network"} for one in slices]
    return {"ways": ways, "slices": slices, "shares": shares, "goal": goal}, lines, text


def _gains(arrays: dict[str, np.ndarray], part: str) -> np.ndarray:
    """NDCG@10, float64 [users networks]."""
    return np.stack([gains(ranks)["ndcg@10"] for ranks in arrays[f"{part}/ranks"]], 1)


def _of_way(way: str, cell: dict, arrays: dict[str, np.ndarray], part: str) -> tuple[np.ndarray, float]:
    """(NDCG@10 of each user, mean cost)."""
    worth, costs = _gains(arrays, part), np.array(cell["costs"])
    if way == FULL:
        return worth[:, -1], float(costs[-1])
    if way == RANDOM:
        share = np.bincount(arrays[f"{part}/choice/{ROUTER}"], minlength=len(costs)) / len(worth)
        return worth @ share, float(share @ costs)
    choice = arrays[f"{part}/choice/{way}"]
    mine = worth[np.arange(len(worth)), choice]
    if way == EXITS:
        by_network = dict(zip(cell["exits"], cell["exit_costs"], strict=True))
        return mine, float(np.mean([by_network[n] for n in choice.tolist()]))
    return mine, float(costs[choice].mean() + (cell["router"]["cost"] if way == ROUTER else 0.0))


def _ways(found: Finished) -> list[dict[str, Any]]:
    """Each way to choose: means over seeds, and the router's test NDCG@10 less its."""
    rows, users = [], {}
    for way in LABELS:
        row: dict[str, Any] = {"way": way}
        for part in PARTS if way != ORACLE else PARTS[:1]:
            each = [_of_way(way, cell, arrays, part) for cell, arrays in found]
            users[way, part] = np.stack([worth for worth, _ in each])
            row |= {f"{part} ndcg@10": users[way, part].mean(1).tolist(), f"{part} cost": [cost for _, cost in each]}
        speeds = {
            ROUTER: [cell["users_per_second"]["router"] for cell, _ in found],
            FULL: [cell["users_per_second"]["networks"][-1] for cell, _ in found],
            STATIC: [
                cell["users_per_second"]["networks"][arrays[f"test/choice/{STATIC}"][0]] for cell, arrays in found
            ],
        }
        rows.append(row | ({"users_per_second": float(np.mean(speeds[way]))} if way in speeds else {}))
    rivals = [row for row in rows if row["way"] not in (ROUTER, ORACLE)]
    tests = [compare_seeds(users[ROUTER, "test"], users[row["way"], "test"]) for row in rivals]
    for row, test, p in zip(rivals, tests, holm([test["p"] for test in tests]), strict=True):
        row |= {"difference": test["difference"], "p": p}
    return rows


def _slices(found: Finished) -> list[dict[str, Any]]:
    """Every slice alone, means over seeds."""
    rows = []
    for number, tree in enumerate(found[0][0]["networks"]):
        row: dict[str, Any] = {"network": Architecture.from_json(tree).describe()}
        row |= {"cost": found[0][0]["costs"][number], "parameters": found[0][0]["parameters"][number]}
        row |= {f"{part} ndcg@10": [float(_gains(a, part)[:, number].mean()) for _, a in found] for part in PARTS}
        speed = np.mean([cell["users_per_second"]["networks"][number] for cell, _ in found])
        rows.append(row | {"users_per_second": float(speed)})
    return rows


def _shares(found: Finished, config: Config, split: Split) -> list[dict[str, Any]]:
    """Whom the router gives what: the share of each slice among the users of each quarter of history lengths, on test histories."""
    lengths = np.minimum(split.history_lengths("test"), config.model.max_length)
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, QUARTERS + 1)[1:-1]))
    quarter = np.searchsorted(edges, lengths)
    rows = []
    for place in np.unique(quarter).tolist():
        mine, networks = quarter == place, len(found[0][0]["networks"])
        each = [np.bincount(a[f"test/choice/{ROUTER}"][mine], minlength=networks) / mine.sum() for _, a in found]
        ends = [int(lengths[mine].min()), int(lengths[mine].max())]
        rows.append({"lengths": ends, "users": int(mine.sum()), "shares": np.mean(each, 0).tolist()})
    return rows


def _goal(ways: list[dict], found: Finished) -> dict[str, Any]:
    """What was asked of the router and what came out, by test figures."""
    by = {row["way"]: row for row in ways}
    mean = {way: float(np.mean(by[way]["test ndcg@10"])) for way in (ROUTER, FULL)}
    saved, lost = 1 - float(np.mean(by[ROUTER]["test cost"])), 1 - mean[ROUTER] / mean[FULL]
    faster = by[ROUTER]["users_per_second"] / by[FULL]["users_per_second"]
    better = {way: by[way]["difference"] > 0 and by[way]["p"] < LEVEL for way in (STATIC, RANDOM)}
    return {
        "flops saved": saved, "ndcg lost": lost, "times the users/s": faster,
        "reached": {"flops": saved >= SAVED, "ndcg": lost <= LOST, "speed": faster >= FASTER}
        | {f"better than {way}": bool(value) for way, value in better.items()},
    }  # fmt: skip


def _ways_table(ways: list[dict]) -> str:
    lines = []
    for row in ways:
        test = plus_minus(row["test ndcg@10"]) if "test ndcg@10" in row else "-"
        cost = f"{np.mean(row['test cost']):.3f}" if "test cost" in row else f"{np.mean(row['validation cost']):.3f}"
        difference = f"{row['difference']:+.4f} (p {show_p(row['p'])})" if "p" in row else "-"
        speed = f"{row['users_per_second']:,.0f}" if "users_per_second" in row else "-"
        lines.append([LABELS[row["way"]], cost, plus_minus(row["validation ndcg@10"]), test, difference, speed])
    return markdown(["", "FLOPs", "validation NDCG@10", "test NDCG@10", "the router less it", "users/s"], lines)


def _slices_table(slices: list[dict]) -> str:
    lines = [
        [one["network"], f"{one['cost']:.3f}", f"{one['parameters']:,}"]
        + [plus_minus(one[f"{part} ndcg@10"]) for part in PARTS]
        + [f"{one['users_per_second']:,.0f}"]
        for one in slices
    ]
    return markdown(["slice", "FLOPs", "parameters", "validation NDCG@10", "test NDCG@10", "users/s"], lines)


def _shares_table(shares: list[dict]) -> str:
    head = ["events", "users", *(f"slice {n}" for n in range(1, len(shares[0]["shares"]) + 1))]
    lines = [
        ["{} to {}".format(*row["lengths"]), str(row["users"]), *(f"{share:.0%}" for share in row["shares"])]
        for row in shares
    ]
    return markdown(head, lines)


def _goal_text(goal: dict) -> str:
    reached = ", ".join(f"{name}: {'yes' if value else 'no'}" for name, value in goal["reached"].items())
    return (
        f"FLOPs saved {goal['flops saved']:.1%} (goal {SAVED:.0%}), NDCG@10 lost {goal['ndcg lost']:.2%} of the full network's "
        f"(goal {LOST:.1%}), {goal['times the users/s']:.2f} times its users/s (goal {FASTER:g}). Reached: {reached}."
    )
