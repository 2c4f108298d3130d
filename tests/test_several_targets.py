"""Several targets a user: ranks and every metric against brute force over all orders of what scores the same."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import numpy as np
import pytest
from test_evaluate import by_last_item, constant
from tiny import SPLIT, TINY

from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator, parse_protocol, sample_negatives
from easrec_jax.evaluate.metrics import gains, metrics
from easrec_jax.models.rivals.popularity import popularity_scores
from easrec_jax.runs.retrain import evaluate_both
from easrec_jax.train.task import task_of

N, KS = 6, (1, 3, 10)
PROTOCOLS = ("full", "full_unseen", "uni5", "uni5_unseen", "pop7", "pop7_unseen")


@pytest.fixture(scope="module")
def several(data) -> Split:
    """Histories of which the last third is held out, one to seven targets a user; some have none."""
    lengths, begin = data.lengths, data.offsets[:-1]
    first, second = np.maximum(lengths * 3 // 5, 1), np.maximum(lengths * 4 // 5, 2)
    second = np.select([np.arange(40) % 5 == 0, np.arange(40) % 5 == 1], [first, lengths], second)
    ends = begin[:, None] + np.stack([first, second], 1)
    return Split(dataclasses.replace(data, part_ends=ends))


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """Coarse scores: many items score alike, targets among them."""
    return np.random.default_rng(1).integers(0, 12, (31, 31)).astype(np.float32)


def of_list(places: list[int], k: int) -> np.ndarray:
    """recall, hit, mrr, map and ndcg of targets at these places of a list (0: first), by the definitions."""
    places = sorted(places)
    top = [place for place in places if place < k]
    most = min(k, len(places))
    precision = [(number + 1) / (place + 1) for number, place in enumerate(top)]
    ideal = sum(1 / np.log2(place + 2) for place in range(most))
    return np.array(
        [
            len(top) / len(places), bool(top), 1 / (top[0] + 1) if top else 0.0, sum(precision) / most,
            sum(1 / np.log2(place + 2) for place in top) / ideal,
        ]
    )  # fmt: skip


NAMES = ("recall", "hit", "mrr", "map", "ndcg")


def ranked_items(split: Split, part: str, row: int, user: int, name: str, negatives) -> tuple[set, set]:
    """(targets, items that they are ranked among) of a user, by hand."""
    begin, end = int(split.history_end(part)[row]), int(split.known_end(part)[user])
    targets = set(split.data.items[begin:end].tolist())
    ranked = set(range(1, 31)) if name.startswith("full") else set(negatives[row].tolist()) - {0}
    ranked -= set(split.data.items[split.start[user] : end].tolist()) if name.endswith("_unseen") else set()
    return targets, ranked - targets


def scores_of(split: Split, part: str, row: int, user: int, weights) -> np.ndarray:
    seen = split.data.items[split.start[user] : split.history_end(part)[row]][-N:]
    return weights[seen[-1]] + 0.25 * (seen[0] % 3)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_ranks_are_brute_force(several, weights, part):
    evaluators = [Evaluator(several, part, N, PROTOCOLS, KS, ties, 7, 3, 2) for ties in ("expected", "pessimistic")]
    expected, pessimistic = (evaluator.ranks(by_last_item, weights) for evaluator in evaluators)
    users = several.evaluated(part)
    assert several.target_sets(part).shape[1] > 1 and (np.diff(users) > 1).any()
    for name in PROTOCOLS:
        protocol = parse_protocol(name)
        negatives = sample_negatives(several, part, protocol, seed=3) if protocol.negatives else None
        for row, user in enumerate(users):
            targets, others = ranked_items(several, part, row, user, name, negatives)
            scores = scores_of(several, part, row, user, weights)
            want = sorted(
                (sum(scores[o] > scores[t] for o in others), sum(scores[o] == scores[t] for o in others))
                for t in targets
            )
            got = expected[name][row]
            assert sorted(map(tuple, got.T[got[0] >= 0].tolist())) == want
            assert (got[:, (got[0] < 0)] == -1).all()
            worst = pessimistic[name][row]
            assert sorted(worst[0][worst[0] >= 0].tolist()) == sorted(above + tied for above, tied in want)


def places_of(above: list[int], equal: list[int], order) -> list[int]:
    """Places of targets with these counts where `order` decides among equal ones: a list of True (target) a group."""
    groups = sorted(set(zip(above, equal, strict=True)))
    places, before = [], 0
    for group, marks in zip(groups, order, strict=True):
        places += [group[0] + before + at for at, is_target in enumerate(marks) if is_target]
        before += sum(marks)
    return places


@pytest.mark.parametrize(
    ("above", "equal"),
    [
        ([0], [0]), ([2], [3]), ([0, 0], [0, 0]), ([1, 1], [2, 2]), ([0, 4], [1, 0]), ([1, 1, 3], [2, 2, 2]), ([0, 0, 2], [0, 1, 0]),
        ([5, 5, 5], [1, 1, 1]), ([11, 0], [0, 2]), ([9, 9], [3, 3]), ([0, 0, 0, 0, 6], [0, 0, 2, 2, 0]),
    ],
)  # fmt: skip
def test_metrics_are_the_mean_over_all_orders_of_the_ties(above, equal):
    """Every order of each group, targets marked, once."""
    groups = sorted(set(zip(above, equal, strict=True)))
    count = [sum(pair == group for pair in zip(above, equal, strict=True)) for group in groups]
    orders = [[]]
    for (_, tied), targets in zip(groups, count, strict=True):
        each = sorted(set(permutations([True] * targets + [False] * tied)))
        orders = [[*before, marks] for before in orders for marks in each]
    ranks = np.array([[[*above, -1, -1], [*equal, -1, -1]]])
    found = gains(ranks, KS)
    for k in KS:
        want = np.mean([of_list(places_of(above, equal, order), k) for order in orders], 0)
        np.testing.assert_allclose([found[f"{name}@{k}"][0] for name in NAMES], want, atol=1e-12)


@pytest.mark.parametrize("name", ["full", "uni5_unseen"])
def test_figures_of_whole_lists(several, weights, name):
    """Without ties: the list is sorted, the metrics are read off it."""
    strict = weights + np.linspace(0, 0.2, 31, dtype=np.float32)[None, :]
    found = Evaluator(several, "test", N, (name,), KS, seed=3)(by_last_item, strict)[name]
    protocol = parse_protocol(name)
    negatives = sample_negatives(several, "test", protocol, seed=3) if protocol.negatives else None
    rows = {k: [] for k in KS}
    for row, user in enumerate(several.evaluated("test")):
        targets, others = ranked_items(several, "test", row, user, name, negatives)
        scores = scores_of(several, "test", row, user, strict)
        ranking = sorted(targets | others, key=lambda item: -scores[item])
        for k in KS:
            rows[k].append(of_list([ranking.index(item) for item in targets], k))
    for k in KS:
        np.testing.assert_allclose([found[f"{metric}@{k}"] for metric in NAMES], np.mean(rows[k], 0), atol=1e-9)


def test_with_one_target_nothing_changes(split, weights):
    """A user's one target as a set of one: the same gains; and data of one target a user give the ranks that they always gave."""
    data = split.data
    ends = np.stack([data.offsets[1:] - 2, data.offsets[1:] - 1], 1)
    explicit = Split(dataclasses.replace(data, part_ends=ends))
    for part in ("validation", "test"):
        one, other = (
            Evaluator(s, part, N, PROTOCOLS, KS, seed=3).ranks(by_last_item, weights) for s in (split, explicit)
        )
        for name in PROTOCOLS:
            assert one[name].shape == (40, 2)
            np.testing.assert_array_equal(one[name], other[name])
    ranks = np.stack([np.arange(30) % 12, np.arange(30) % 4], 1)
    alone, sets = gains(ranks, KS), gains(ranks[:, :, None], KS)
    for k in KS:
        for mine, same in (("recall", "recall"), ("recall", "hit"), ("mrr", "mrr"), ("mrr", "map"), ("ndcg", "ndcg")):
            np.testing.assert_allclose(sets[f"{same}@{k}"], alone[f"{mine}@{k}"], atol=1e-15)


def test_a_perfect_scorer_gets_one(several):
    sets = several.target_sets("test")
    ranks = np.where(sets[:, None, :] > 0, 0, -1).repeat(2, 1)
    found = metrics(ranks, (10,))
    assert sets.shape[1] < 10 and all(value == pytest.approx(1.0) for value in found.values())


def test_a_constant_scorer_gets_chance(several):
    found = Evaluator(several, "test", N, ("full",), (3,))(constant, None)
    assert found["full"]["recall@3"] == pytest.approx(3 / 30)


def test_a_sample_of_users_is_a_part_of_all(several, weights):
    whole, some = (Evaluator(several, "validation", N, PROTOCOLS, seed=3, sample=n) for n in (0, 9))
    at = np.searchsorted(whole.users, some.users)
    assert len(set(some.users.tolist())) == 9 and (whole.users[at] == some.users).all()
    all_ranks, ranks = (evaluator.ranks(by_last_item, weights) for evaluator in (whole, some))
    for name in PROTOCOLS:
        np.testing.assert_array_equal(ranks[name], all_ranks[name][at])
    last = [evaluator.of_users(lambda items: items.sum(1)) for evaluator in (whole, some)]
    np.testing.assert_array_equal(last[1], last[0][at])
    again, other = (Evaluator(several, "validation", N, seed=seed, sample=9).users.tolist() for seed in (3, 4))
    assert again == some.users.tolist() != other
    assert len(Evaluator(several, "validation", N, sample=1000).users) == len(whole.users)


def test_a_sample_chooses_and_final_figures_are_of_all():
    few = dataclasses.replace(TINY, evaluate=dataclasses.replace(TINY.evaluate, users=9))
    assert len(task_of(few, SPLIT).evaluator.users) == 9 and len(task_of(TINY, SPLIT).evaluator.users) == 60
    popularity = SPLIT.popularity().astype(np.float32)
    some, every = (evaluate_both(config, SPLIT, popularity_scores, popularity) for config in (few, TINY))
    assert some[:2] == every[:2] and all(len(ranks) == 60 for ranks in some[2].values())
