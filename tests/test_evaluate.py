"""The evaluation protocols against brute force, their ties, their negatives, and what may never reach selection."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.config import EvaluateConfig
from easrec_jax.data.batches import scoring_samples, training_samples
from easrec_jax.data.interactions import Interactions
from easrec_jax.data.split import Split
from easrec_jax.evaluate import evaluator
from easrec_jax.evaluate.evaluator import Evaluator, parse_protocol, sample_negatives
from easrec_jax.evaluate.metrics import compare, gains, gains_of_seeds, metrics
from easrec_jax.evaluate.protocols import seen_keys
from easrec_jax.models.rivals.popularity import popularity_scores

N = 6
PROTOCOLS = ("full", "full_unseen", "uni5", "uni5_unseen", "pop7", "pop7_unseen")
TIES = np.arange(31) // 4 % 5  # coarse scores: many items score alike


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """scores[item] = weights[last item, item], a few of them equal."""
    drawn = np.random.default_rng(1).integers(0, 12, (31, 31)).astype(np.float32)
    return drawn + TIES


def by_last_item(weights, items):
    """Scores that hang on the last and the first event in sight."""
    last = jnp.take_along_axis(items, jnp.maximum(jnp.sum(items > 0, 1, keepdims=True) - 1, 0), 1)[:, 0]
    return weights[last] + 0.25 * (items[:, :1] % 3)


def constant(weights, items):
    return jnp.zeros((len(items), 31))


def oracle(split, part, name, negatives, weights) -> tuple[np.ndarray, np.ndarray]:
    """(items above, items that score the same) of each user, one by one."""
    found = []
    for user in range(split.data.num_users):
        history = split.data.history(user)
        end = len(history) - (1 if part == "test" else 2)
        seen = history[:end][-N:]
        scores, target = weights[seen[-1]] + 0.25 * (seen[0] % 3), history[end]
        ranked = set(range(1, 31)) if name.startswith("full") else set(negatives[user].tolist()) - {0}
        ranked -= set(history[: end + 1].tolist()) if name.endswith("_unseen") else set()
        ranked -= {target}
        gaps = [scores[item] - scores[target] for item in ranked]
        found.append((sum(gap > 0 for gap in gaps), sum(gap == 0 for gap in gaps)))
    return tuple(np.array(found).T)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_ranks_and_metrics_are_brute_force(split, weights, part):
    ks = (1, 5, 10)
    expected, pessimistic = (
        Evaluator(split, part, N, PROTOCOLS, ks, ties, batch_size=7, seed=3, buckets=2)
        for ties in ("expected", "pessimistic")
    )
    both, ranks = (evaluator.ranks(by_last_item, weights) for evaluator in (expected, pessimistic))
    averages, results = (evaluator(by_last_item, weights) for evaluator in (expected, pessimistic))
    for name in PROTOCOLS:
        protocol = parse_protocol(name)
        negatives = sample_negatives(split, part, protocol, seed=3) if protocol.negatives else None
        above, equal = oracle(split, part, name, negatives, weights)
        np.testing.assert_array_equal(ranks[name], np.stack([above + equal, 0 * equal], 1), err_msg=name)
        np.testing.assert_array_equal(both[name], np.stack([above, equal], 1), err_msg=name)
        assert (equal > 0).any()
        for k in ks:
            worst = [places_gain([rank + tied], k) for rank, tied in zip(above, equal, strict=True)]
            order = [places_gain(range(r, r + tied + 1), k) for r, tied in zip(above, equal, strict=True)]
            for number, metric in enumerate(("recall", "mrr", "ndcg")):
                assert results[name][f"{metric}@{k}"] == pytest.approx(np.mean(worst, 0)[number])
                assert averages[name][f"{metric}@{k}"] == pytest.approx(np.mean(order, 0)[number])


def places_gain(ranks, k: int) -> np.ndarray:
    """Recall, MRR and NDCG at k, each averaged over some ranks."""
    hits = [(1.0, 1 / (r + 1), 1 / np.log2(r + 2)) if r < k else (0.0, 0.0, 0.0) for r in ranks]
    return np.mean(hits, 0)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_constant_scorer_gets_chance_level_in_every_protocol(split, name):
    """What a random order of the ranked items gives: all of them for full, the different negatives for the others."""
    ks = (1, 3, 10)
    protocol, found = parse_protocol(name), Evaluator(split, "test", N, (name,), ks, seed=1)(constant, None)[name]
    if protocol.negatives:
        others = (sample_negatives(split, "test", protocol, seed=1) > 0).sum(1)
    else:
        history = [len(set(split.data.history(u).tolist())) for u in range(split.data.num_users)]
        others = 30 - np.array(history) if protocol.unseen else np.full(split.data.num_users, 29)
    for k in ks:
        chance = np.mean([places_gain(range(tied + 1), k) for tied in others], 0)
        np.testing.assert_allclose([found[f"{metric}@{k}"] for metric in ("recall", "mrr", "ndcg")], chance)
        if name == "full":
            assert found[f"recall@{k}"] == pytest.approx(k / 30)
    worst = Evaluator(split, "test", N, (name,), ks, "pessimistic", seed=1)(constant, None)[name]
    assert worst["recall@1"] == 0.0


def test_what_users_have_seen_is_looked_up_only_for_protocols_that_leave_it_out(split, weights, monkeypatch):
    looked = []
    monkeypatch.setattr(evaluator, "seen_keys", lambda *given: looked.append(1) or seen_keys(*given))
    for protocol, times in (("full", 0), ("full_unseen_window", 0), ("full_unseen", 1)):
        for _ in range(2):
            measured = Evaluator(split, "validation", N, (protocol,), buckets=1)
            measured(by_last_item, weights)
            measured(by_last_item, weights)
        assert len(looked) == 2 * times, protocol


def test_gains_are_the_average_over_random_orders_of_the_ties():
    rng, above, ties = np.random.default_rng(0), np.array([0, 3, 8, 12, 9]), np.array([4, 20, 5, 3, 0])
    drawn = above + rng.integers(0, ties + 1, (40_000, 5))
    found = gains(np.stack([above, ties], 1))
    for name, values in gains(drawn.ravel()).items():
        np.testing.assert_allclose(found[name], values.reshape(drawn.shape).mean(0), atol=0.01)
    without = gains(np.stack([above, 0 * ties], 1))
    assert all(np.array_equal(values, without[name]) for name, values in gains(above).items())


def test_the_older_name_of_the_setting_means_the_same():
    assert EvaluateConfig(ties="half") == EvaluateConfig() == EvaluateConfig(ties="expected")


@pytest.mark.parametrize("ties", ["expected", "pessimistic"])
@pytest.mark.parametrize("where", ["everywhere", "target"])
def test_nan_scores_do_not_look_good(split, where, ties):
    targets = jnp.asarray(split.targets("test"))

    def nan(weights, items):
        scores = jnp.zeros((len(items), 31))
        return jnp.full_like(scores, jnp.nan) if where == "everywhere" else scores.at[:, targets].set(jnp.nan)

    ranks = Evaluator(split, "test", N, PROTOCOLS, (10,), ties, seed=1).ranks(nan, None)
    negatives = sample_negatives(split, "test", parse_protocol("uni5"), seed=1)
    assert (ranks["uni5"][:, 0] >= (negatives > 0).sum(1)).all()
    assert (ranks["full"][:, 0] >= 29).all()
    assert (ranks["full_unseen"][:, 0] >= [30 - len(set(split.data.history(u).tolist())) for u in range(40)]).all()


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("name", ["uni20", "pop20", "uni20_unseen", "pop20_unseen"])
def test_negatives_are_those_the_name_promises(split, part, name):
    negatives = sample_negatives(split, part, parse_protocol(name), seed=0)
    assert negatives.shape == (40, 20)
    repeated = 0
    for user, target in enumerate(split.targets(part)):
        drawn = negatives[user][negatives[user] > 0].tolist()
        known = split.data.history(user)[: -1 if part == "validation" else None]  # never the test item at validation
        history = set(known.tolist())
        assert target not in drawn and max(drawn) <= 30
        assert len(set(drawn)) == len(drawn)  # an item drawn twice is counted once
        if name.endswith("_unseen"):
            assert not history & set(drawn)
        repeated += 20 - len(drawn)
    assert repeated > 0
    if not name.endswith("_unseen"):
        assert any(set(split.data.history(u).tolist()) & set(negatives[u].tolist()) for u in range(40))


def test_negatives_depend_on_the_seed_alone(split):
    protocol = parse_protocol("pop10")
    first, again, other = (sample_negatives(split, "test", protocol, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("name", ["uni1", "pop1"])
def test_negatives_follow_their_distribution(interactions, name):
    """One draw a user, over many users with the same target: uniform, or by popularity over all interactions."""
    histories = [[1 + u % 3, 4 + u % 2, 6] for u in range(6000)]
    split = Split(interactions(histories, 8))
    drawn = np.bincount(sample_negatives(split, "test", parse_protocol(name), seed=0)[:, 0], minlength=9)[1:]
    counts = np.bincount(split.data.items, minlength=9)[1:] if name == "pop1" else np.ones(8)
    expected = np.where(np.arange(1, 9) == 6, 0, counts)
    expected = 6000 * expected / expected.sum()
    assert not drawn[expected == 0].any()
    live = expected > 0
    assert np.sum((drawn - expected)[live] ** 2 / expected[live]) < 25


@pytest.mark.parametrize("name", ["uni5_unseen", "pop5_unseen"])
def test_a_user_who_has_seen_everything_is_named(interactions, name):
    split = Split(interactions([[1, 2, 3], [1, 2, 3, 4, 4]], 4))
    with pytest.raises(ValueError, match="'u1' has seen all 4 items"):
        sample_negatives(split, "test", parse_protocol(name), seed=0)
    sample_negatives(split, "test", parse_protocol(name.removesuffix("_unseen")), seed=0)


@pytest.mark.parametrize("name", ["", "ful", "uni", "pop0", "uni-1", "uni10_seen", "FULL", "full100"])
def test_an_unknown_protocol_is_refused(name):
    with pytest.raises(ValueError, match="unknown protocol"):
        parse_protocol(name)


def poisoned(data: Interactions) -> Split:
    """The same data with every test item another one."""
    items = data.items.copy()
    last = data.offsets[1:] - 1
    items[last] = items[last] % data.num_items + 1
    return Split(dataclasses.replace(data, items=items, offsets=data.offsets.copy()))


def test_the_test_item_never_reaches_selection(split, weights):
    other = poisoned(split.data)
    assert (other.targets("test") != split.targets("test")).all()
    names = ("full", "full_unseen", "uni5", "uni5_unseen")  # popN draws by all interactions, as RecBole does
    ranks = [Evaluator(s, "validation", N, names).ranks(by_last_item, weights) for s in (split, other)]
    for name in names:
        np.testing.assert_array_equal(ranks[0][name], ranks[1][name])
    np.testing.assert_array_equal(split.popularity(), other.popularity())

    def seen(split: Split) -> list:
        parts = [scoring_samples(split, "validation", max_length=N)]
        parts += [training_samples(split, max_length=N, targets=t, windows="all") for t in ("all", "last")]
        return [part.batch(np.arange(len(part)), N, len(part)) for part in parts]

    for a, b in zip(seen(split), seen(other), strict=True):
        np.testing.assert_array_equal(a.items, b.items)
        np.testing.assert_array_equal(a.targets, b.targets)


def test_at_test_time_the_history_ends_with_the_validation_item(split):
    def validation_item(weights, items):
        last = jnp.sum(items > 0, 1) - 1
        return jnp.take_along_axis(items, last[:, None], 1) == jnp.arange(31)[None, :]

    users = np.flatnonzero(split.targets("test") == split.targets("validation"))
    ranks = Evaluator(split, "test", N).ranks(validation_item, None)["full"]
    assert len(users) and (ranks[users, 0] == 0).all()


def test_popularity_ranks_by_popularity(split):
    popularity = split.popularity()
    ranks = Evaluator(split, "test", N, ties="pessimistic").ranks(popularity_scores, popularity.astype(np.float32))
    expected = [(popularity[1:] >= popularity[target]).sum() - 1 for target in split.targets("test")]
    np.testing.assert_array_equal(ranks["full"][:, 0], expected)


def test_scores_are_traced_once_a_batch_shape(split, weights):
    shapes = []

    def counted(weights, items):
        shapes.append(items.shape)
        return by_last_item(weights, items)

    evaluator = Evaluator(split, "validation", N, PROTOCOLS, batch_size=7)
    first = evaluator(counted, weights)
    assert len(shapes) == len(set(shapes)) <= 4
    traced = len(shapes)
    assert evaluator(counted, weights + 0) == first
    evaluator(counted, weights * 2)
    assert len(shapes) == traced


def test_metrics_of_known_ranks():
    result = metrics(np.array([0, 1, 4, 10]), (1, 5))
    assert result["recall@1"] == result["mrr@1"] == result["ndcg@1"] == 0.25
    assert result["recall@5"] == 0.75
    assert result["mrr@5"] == pytest.approx((1 + 1 / 2 + 1 / 5) / 4)
    assert result["ndcg@5"] == pytest.approx((1 + 1 / np.log2(3) + 1 / np.log2(6)) / 4)
    with pytest.raises(ValueError, match="no ranks"):
        metrics(np.array([], int))


def test_a_comparison_is_the_paired_t_test_over_users():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(0)
    ranks = rng.integers(0, 30, 4000)
    moved = np.maximum(ranks + rng.integers(-2, 4, 4000), 0)
    first, second = (gains(r)["ndcg@10"] for r in (ranks, moved))
    found = compare(first, second)
    expected = ttest_rel(first, second)
    assert found["p"] < 0.05
    np.testing.assert_allclose(found["difference"], first.mean() - second.mean())
    np.testing.assert_allclose(found["difference"] / found["standard_error"], expected.statistic)
    np.testing.assert_allclose(found["p"], expected.pvalue, rtol=1e-9)
    few = compare(first[:7], second[:7])
    np.testing.assert_allclose(few["p"], ttest_rel(first[:7], second[:7]).pvalue, rtol=1e-9)
    assert compare(first, first) == {"mean": first.mean(), "difference": 0.0, "standard_error": 0.0, "p": 1.0}


def test_gains_of_several_seeds_are_kept_apart_by_user():
    one, two = np.array([0, 3, 99]), np.array([1, 3, 0])
    found = gains_of_seeds([{"full": one}, {"full": two}], (10,))["full"]
    np.testing.assert_allclose(found["recall@10"], [[1, 1, 0], [1, 1, 1]])
    np.testing.assert_allclose(found["ndcg@10"].mean(1), [metrics(one)["ndcg@10"], metrics(two)["ndcg@10"]])
