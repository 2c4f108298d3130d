"""Rows of a table against each other: tests over seeds and over users, wins, ties and losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from easrec_jax.evaluate.metrics import compare as compare_users
from easrec_jax.evaluate.metrics import compare_seeds, gains, holm
from easrec_jax.files import read_json
from experiments.cells import Cells, kept_ranks
from experiments.show import markdown, show_p

PROTOCOL = "pop100"  # the paper's
METRICS = ("recall@10", "mrr@10", "ndcg@10")
PARTS = ("validation", "test")
LEVEL = 0.05

TESTS = (
    "p: two-sided t-tests, over seeds Welch's, over users paired, each averaged over the seeds; of both: the users' variance "
    f"and that between seeds together, corrected for the tests of the table (Holm), and a win or a loss is this p < {LEVEL}. With "
    "one seed no test knows the noise of training: it takes a lucky run for a better model."
)

Verdict = Literal["win", "tie", "loss"]


class Row(NamedTuple):
    """The finished cells of one model or variant, one a seed, and each user's ranks (None: the cell kept none)."""

    label: str
    cells: list[dict]
    ranks: list[dict[str, np.ndarray] | None]

    @classmethod
    def finished(cls, label: str, cells: Cells, names: list[str]) -> Row:
        """The row of cells that have been run."""
        return cls(label, [cells.used[name] for name in names], [cells.ranks(name) for name in names])

    def values(self, part: str, metric: str, protocol: str = PROTOCOL) -> list[float]:
        """A figure of each seed."""
        return [cell[part][protocol][metric] for cell in self.cells]

    def of_users(self, part: str, metric: str, protocol: str = PROTOCOL) -> np.ndarray | None:
        """float64 [seeds users]: the same of each user; None where a cell kept no ranks."""
        key = f"{part}/{protocol}"
        kept = [gains(ranks[key])[metric] for ranks in self.ranks if ranks is not None and key in ranks]
        return np.stack(kept) if len(kept) == len(self.ranks) else None

    @property
    def flops(self) -> float | None:
        """Of a request, averaged over seeds; None for what is no network."""
        return self._of_architecture("flops")

    @property
    def flops_all(self) -> float | None:
        """The same with all layers at all positions."""
        return self._of_architecture("flops_all")

    def _of_architecture(self, name: str) -> float | None:
        if "architecture" not in self.cells[0]:
            return None
        return float(np.mean([cell["architecture"][name] for cell in self.cells]))

    def as_fields(self) -> dict[str, Any]:
        """The row of a CSV file: means and standard deviations over seeds."""
        fields: dict[str, Any] = {"model": self.label, "seeds": len(self.cells)}
        fields |= {"flops": self.flops, "flops_all": self.flops_all}
        for part in PARTS:
            for metric in METRICS:
                values = self.values(part, metric)
                fields[f"{part} {metric}"] = float(np.mean(values))
                fields[f"{part} {metric} sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return fields


class Comparison(NamedTuple):
    """One row against another in one figure."""

    difference: float  # of the means
    over_seeds: float  # p of `welch` over seeds; nan where it says nothing
    over_users: float  # of `metrics.compare` (paired), users averaged over seeds; nan where cells kept no ranks
    p: float  # of `metrics.compare_seeds`, users and seeds together; that over seeds where cells kept no ranks
    verdict: Verdict  # by `p`: win or loss below LEVEL

    def as_fields(self) -> dict[str, Any]:
        """As JSON: nan becomes None."""
        return {name: None if value != value else value for name, value in self._asdict().items()}


def compare(first: Row, second: Row, part: str, metric: str, protocol: str = PROTOCOL) -> Comparison:
    """`first` against `second`; a win is the first one's."""
    ours, theirs = first.values(part, metric, protocol), second.values(part, metric, protocol)
    difference = float(np.mean(ours) - np.mean(theirs))
    p = over_seeds = welch(ours, theirs)
    over_users = float("nan")
    mine, others = first.of_users(part, metric, protocol), second.of_users(part, metric, protocol)
    if mine is not None and others is not None:
        over_users, p = compare_users(mine.mean(0), others.mean(0))["p"], compare_seeds(mine, others)["p"]
    return Comparison(difference, over_seeds, over_users, p, _verdict(difference, p))


def _verdict(difference: float, p: float) -> Verdict:
    return "tie" if not p < LEVEL else "win" if difference > 0 else "loss"


def corrected(tests: list[Comparison]) -> list[Comparison]:
    """The same with `p` and verdict corrected for being tests of one table (Holm); single p's stay as they are."""
    ps = holm([test.p for test in tests])
    return [test._replace(p=p, verdict=_verdict(test.difference, p)) for test, p in zip(tests, ps, strict=True)]


def against_each(first: Row, rivals: list[Row]) -> list[dict[str, Comparison]]:
    """`first` against each rival in the three metrics on test items (validation items have chosen networks and epochs), all
    `corrected` together."""
    tests = corrected([compare(first, rival, "test", metric) for rival in rivals for metric in METRICS])
    count = len(METRICS)
    return [dict(zip(METRICS, tests[count * n : count * (n + 1)], strict=True)) for n in range(len(rivals))]


def best_of(rows: list[Row], part: str, metric: str) -> Row:
    """The row of the highest mean."""
    return max(rows, key=lambda row: np.mean(row.values(part, metric)))


def tally(tests: dict[str, Comparison]) -> dict[Verdict, int]:
    """Wins, ties and losses of one of `against_each`."""
    verdicts = [test.verdict for test in tests.values()]
    return {"win": verdicts.count("win"), "tie": verdicts.count("tie"), "loss": verdicts.count("loss")}


def welch(first: Any, second: Any) -> float:
    """p of Welch's two-sided t-test: seed k of one model has nothing in common with seed k of another, so no pairs. nan for a
    single seed a side, and where neither side varies."""
    if min(len(first), len(second)) < 2 or not np.ptp(first) + np.ptp(second):
        return float("nan")
    from scipy.stats import ttest_ind_from_stats

    sides = [(np.mean(side), np.std(side, ddof=1), len(side)) for side in (first, second)]
    result: Any = ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False)
    return float(result.pvalue)


def compare_cells(folder: Path, names: tuple[str, ...], seeds: int) -> str:
    """The first of two models' kept cells (`folder/cells/NAME-seedN`) against the second: NDCG@10 by part and protocol.

    Raises `ValueError` unless there are two names, `FileNotFoundError` where a cell or its ranks are not kept.
    """
    if len(names) != 2:
        raise ValueError(f"rows: expected two cells without their seed, as table3-easrec table3-sasrec, got {names}")
    rows = []
    for name in names:
        paths = [folder / "cells" / f"{name}-seed{seed}.json" for seed in range(seeds)]
        for path in paths:
            if not path.is_file() or not path.with_suffix(".npz").is_file():
                raise FileNotFoundError(f"{path}: expected a finished cell with its ranks (.npz) beside it")
        rows.append(Row(name, [read_json(path) for path in paths], [kept_ranks(path) for path in paths]))
    first, second = rows
    places = [(part, protocol) for part in PARTS for protocol in first.cells[0][part]]
    tests = corrected([compare(first, second, part, "ndcg@10", protocol) for part, protocol in places])
    lines = []
    for (part, protocol), test in zip(places, tests, strict=True):
        means = [float(np.mean(row.values(part, "ndcg@10", protocol))) for row in rows]
        lines.append(
            [f"{part} {protocol}", *(f"{mean:.4f}" for mean in means), f"{test.difference:+.4f}"]
            + [show_p(test.over_seeds), show_p(test.over_users), show_p(test.p)]
        )
    return markdown(["NDCG@10", *names, "difference", "p over seeds", "p over users", "p of both (Holm)"], lines)


def pareto(cost: np.ndarray, value: np.ndarray) -> np.ndarray:
    """bool, same shape: no other network costs at most as much and is worth as much or more, one of the two strictly."""
    cheaper = cost.ravel()[:, None] <= cost.ravel()
    better = value.ravel()[:, None] >= value.ravel()
    strictly = (cost.ravel()[:, None] < cost.ravel()) | (value.ravel()[:, None] > value.ravel())
    return np.logical_not((cheaper & better & strictly).any(0)).reshape(cost.shape)
