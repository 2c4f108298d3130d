"""Rows against each other: users are paired and averaged over seeds, a verdict needs both sides' users."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from easrec_jax.evaluate.metrics import compare as compare_users
from easrec_jax.evaluate.metrics import compare_seeds, gains, holm, metrics
from experiments.compare import Row, against_each, best_of, compare, corrected, tally, welch
from experiments.show import beside, show_p

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
    assert kept_none.p == kept_none.over_seeds and found.p > found.over_users


def test_a_verdict_knows_the_variance_of_users_and_of_seeds(ranks):
    """The same users gain a little with every seed, but seeds scatter more than that: no win."""
    gain, rng = gains(ranks)["ndcg@10"], np.random.default_rng(3)
    first, second = ([np.maximum(ranks + shift, 0) for shift in shifts] for shifts in ((-2, 0, 1), (-1, 0, 2)))
    found = compare(row("ours", first), row("theirs", second), "test", "ndcg@10")
    assert found.over_users < 1e-3 < 0.3 < found.p and found.verdict == "tie"
    ours, theirs = (np.array([gains(r)["ndcg@10"] for r in rows]) for rows in (first, second))
    each = np.std(ours.mean(0) - theirs.mean(0), ddof=1) ** 2 / USERS
    parts = [each, *(np.var(side.mean(1), ddof=1) / 3 for side in (ours, theirs))]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (USERS - 1) + parts[1] ** 2 / 2 + parts[2] ** 2 / 2)
    expected = 2 * t.sf(abs(ours.mean() - theirs.mean()) / sum(parts) ** 0.5, freedom)
    assert found.p == pytest.approx(expected)
    one = compare_seeds(gain[None], np.roll(gain, 1)[None])
    assert one == compare_users(gain, np.roll(gain, 1))  # of one seed a side the variance between seeds is not known
    null = rng.normal(size=(2, 300, 3, 50)) + rng.normal(size=(2, 300, 3, 1))  # models that differ by noise alone
    wrong = np.mean([compare_seeds(a, b)["p"] < 0.05 for a, b in zip(*null, strict=True)])
    assert wrong < 0.08


def test_several_tests_of_a_table_are_corrected_by_holm(ranks):
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    some = holm([0.02, float("nan"), 0.9])
    assert some[0] == 0.04 and np.isnan(some[1]) and some[2] == 0.9
    tests = [compare(row("a", [ranks]), row("b", [ranks + shift]), "test", "ndcg@10") for shift in (0, 1, 1)]
    found = corrected(tests)
    assert found[1].p == pytest.approx(3 * tests[1].p) and found[0].p == 1.0
    barely = tests[1]._replace(p=0.03, verdict="win")
    assert [test.verdict for test in corrected([barely] * 2)] == ["tie"] * 2


def test_the_same_row_ties_in_all_figures_of_the_test_items(ranks):
    same = row("a", [ranks])
    assert compare(same, row("b", [ranks]), "test", "ndcg@10").over_users == 1.0
    tests = against_each(same, [row("b", [ranks]), row("c", [ranks + 3])])
    assert [tally(of) for of in tests] == [{"win": 0, "tie": 3, "loss": 0}, {"win": 3, "tie": 0, "loss": 0}]
    assert best_of([row("b", [ranks + 3]), same, row("c", [ranks + 1])], "test", "ndcg@10") is same


def test_figures_for_people():
    assert beside(0.5, 0.4) == "0.4000 (+25.0%)" and beside(0.5, None) == "-"
    assert np.isnan(welch([0.1], [0.2])) and np.isnan(welch([0.1, 0.1], [0.2, 0.2]))
    first, second = [0.10, 0.20, 0.31], [0.20, 0.31, 0.40]  # seeds are no pairs: their order does not matter
    assert welch(first, second) == pytest.approx(welch(first, second[::-1])) and welch(first, second) > 0.2
    assert welch([0.10, 0.11, 0.12], [0.5, 0.5, 0.5]) < 0.001
    assert (show_p(float("nan")), show_p(0.0004), show_p(0.0421)) == ("-", "< 0.001", "0.042")
