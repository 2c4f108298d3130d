"""Rows against each other: users are paired and averaged over seeds, a verdict needs both sides' users."""

from __future__ import annotations

import numpy as np
import pytest

from easrec_jax.metrics import compare as compare_users
from easrec_jax.metrics import gains, metrics
from easrec_jax.reproduce.compare import Row, beside, best_of, compare, show_p, tally, welch

USERS = 400


def row(label: str, ranks: list[np.ndarray], *, kept: bool = True) -> Row:
    """A row of one cell a seed, validation and test alike."""
    keys = ("validation/pop100", "test/pop100")
    cells = [
        {"validation": {"pop100": metrics(r)}, "test": {"pop100": metrics(r)}, "architecture": {"flops": 10}}
        for r in ranks
    ]
    return Row(label, cells, [dict.fromkeys(keys, r) if kept else None for r in ranks])


@pytest.fixture(scope="module")
def ranks() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 30, USERS)


def test_gains_are_what_the_metrics_are_means_of(ranks):
    each = gains(np.array([0, 3, 10]))
    np.testing.assert_allclose(each["ndcg@10"], [1.0, 1 / np.log2(5), 0.0])
    np.testing.assert_allclose(each["mrr@10"], [1.0, 0.25, 0.0])
    np.testing.assert_allclose(each["recall@10"], [1.0, 1.0, 0.0])
    assert metrics(ranks) == {name: pytest.approx(values.mean()) for name, values in gains(ranks).items()}


def test_one_seed_is_tested_over_users_in_pairs(ranks):
    """A small gain of the same users is certain where they are paired, and invisible where they are not."""
    better = np.maximum(ranks - (ranks < 12), 0)
    found = compare(row("ours", [better]), row("theirs", [ranks]), "test", "ndcg@10")
    ours, theirs = gains(better)["ndcg@10"], gains(ranks)["ndcg@10"]
    assert found.over_users == compare_users(ours, theirs)["p"] and found.over_users < 1e-4
    assert found.difference == pytest.approx((ours - theirs).mean()) and np.isnan(found.over_seeds)
    assert found.verdict == "win"
    assert compare(row("theirs", [ranks]), row("ours", [better]), "test", "ndcg@10").verdict == "loss"
    other = np.random.default_rng(1).permutation(better)
    assert compare(row("ours", [other]), row("theirs", [ranks]), "test", "ndcg@10").verdict == "tie"


def test_users_are_averaged_over_seeds_and_without_their_ranks_seeds_decide(ranks):
    rng = np.random.default_rng(2)
    seeds = [np.maximum(ranks + rng.integers(-2, 3, USERS), 0) for _ in range(3)]
    lower = [r + 1 for r in seeds]
    found = compare(row("ours", seeds), row("theirs", lower), "validation", "mrr@10")
    ours, theirs = (np.mean([gains(r)["mrr@10"] for r in rows], 0) for rows in (seeds, lower))
    assert found.over_users == compare_users(ours, theirs)["p"]
    kept_none = compare(row("ours", seeds, kept=False), row("theirs", lower, kept=False), "validation", "mrr@10")
    assert np.isnan(kept_none.over_users) and kept_none.over_seeds == found.over_seeds < 0.05
    assert kept_none.verdict == "win" and kept_none.as_fields()["over_users"] is None


def test_the_same_row_ties_in_all_figures_of_the_test_items(ranks):
    same = row("a", [ranks])
    assert compare(same, row("b", [ranks]), "test", "ndcg@10").over_users == 1.0
    assert tally(same, row("b", [ranks])) == {"win": 0, "tie": 3, "loss": 0}
    assert tally(same, row("b", [ranks + 3])) == {"win": 3, "tie": 0, "loss": 0}
    assert best_of([row("b", [ranks + 3]), same, row("c", [ranks + 1])], "test", "ndcg@10") is same


def test_figures_for_people():
    assert beside(0.5, 0.4) == "0.4000 (+25.0%)" and beside(0.5, None) == "-"
    assert np.isnan(welch([0.1], [0.2])) and np.isnan(welch([0.1, 0.1], [0.2, 0.2]))
    first, second = [0.10, 0.20, 0.31], [0.20, 0.31, 0.40]  # seeds are no pairs: their order does not matter
    assert welch(first, second) == pytest.approx(welch(first, second[::-1])) and welch(first, second) > 0.2
    assert welch([0.10, 0.11, 0.12], [0.5, 0.5, 0.5]) < 0.001
    assert (show_p(float("nan")), show_p(0.0004), show_p(0.0421)) == ("-", "< 0.001", "0.042")
