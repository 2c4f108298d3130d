"""Published protocols re-enacted: our settings beside each source's own steps, written out on a tiny set without ties or repeats."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator

ITEMS, N, KS = 25, 4, (3, 10)


@pytest.fixture(scope="module")
def distinct(interactions) -> Split:
    """30 users with 3 to 12 different items each."""
    rng = np.random.default_rng(3)
    histories = [(1 + rng.permutation(ITEMS)[: rng.integers(3, 13)]).tolist() for _ in range(30)]
    return Split(interactions(histories, ITEMS))


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """Scores by the last item, all different, half of them negative."""
    return np.random.default_rng(4).permutation((ITEMS + 1) ** 2).reshape(ITEMS + 1, -1).astype(np.float32) - 300.5


def by_last(weights, items):
    last = jnp.take_along_axis(items, jnp.maximum(jnp.sum(items > 0, 1, keepdims=True) - 1, 0), 1)[:, 0]
    return weights[last]


def gsasrec(scores: np.ndarray, history: np.ndarray) -> np.ndarray:
    """gSASRec-pytorch, `filter_rated=True`: the whole history is -inf (RecTools, `filter_viewed=True`: the same)."""
    scores = scores.copy()
    scores[[0, *history]] = -np.inf
    return scores


def lrurec(scores: np.ndarray, history: np.ndarray) -> np.ndarray:
    """LRURec, `trainer/lru.py`: -1e9 for padding and the ids of the input, cut to N; Meta's generative-recommenders alike."""
    scores = scores.copy()
    scores[[0, *history[-N:]]] = -1e9
    return scores


def s3rec(scores: np.ndarray, history: np.ndarray) -> np.ndarray:
    """S3-Rec, BSARec, FMLP-Rec: `rating_pred[train_matrix > 0] = 0`."""
    scores = scores.copy()
    scores[history] = 0.0
    scores[0] = -np.inf  # theirs may rank padding, a bug of no consequence where its score is low
    return scores


def recbole(scores: np.ndarray, history: np.ndarray) -> np.ndarray:
    """RecBole's default for sequential models: nothing is filtered."""
    scores = scores.copy()
    scores[0] = -np.inf
    return scores


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("full_unseen", gsasrec), ("full_unseen_window", lrurec), ("full_seen_zero", s3rec), ("full", recbole)],
)
@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_published_protocol_gives_its_own_figures(distinct, weights, name, theirs, part):
    found = Evaluator(distinct, part, N, (name,), KS, batch_size=7, buckets=2)(by_last, weights)[name]
    tops = []
    for user in range(30):
        history = distinct.data.history(user)
        end = len(history) - (1 if part == "test" else 2)
        scores = theirs(weights[history[end - 1]], history[:end])
        tops.append((np.argsort(-scores)[: max(KS)].tolist(), history[end]))
    for k in KS:
        places = [top.index(target) if target in top[:k] else None for top, target in tops]
        want = [place is not None for place in places], [0 if p is None else 1 / np.log2(p + 2) for p in places]
        np.testing.assert_allclose([found[f"recall@{k}"], found[f"ndcg@{k}"]], np.mean(want, 1), rtol=1e-6)


def test_the_four_differ(distinct, weights):
    names = ("full", "full_unseen", "full_unseen_window", "full_seen_zero")
    figures = Evaluator(distinct, "test", N, names, KS)(by_last, weights)
    assert len({figures[name]["ndcg@10"] for name in names}) == 4


@pytest.mark.parametrize("name", ["full", "full_unseen", "full_unseen_window", "full_seen_zero"])
def test_lists_are_the_highest_scores_and_agree_with_ranks(distinct, weights, name):
    evaluator = Evaluator(distinct, "test", N, (name,), KS, batch_size=7, buckets=2)
    lists, ranks = evaluator.top_items(by_last, weights, name, 40), evaluator.ranks(by_last, weights)[name]
    theirs = {"full": recbole, "full_unseen": gsasrec, "full_unseen_window": lrurec, "full_seen_zero": s3rec}[name]
    assert lists.shape == (30, ITEMS)
    for user, target in enumerate(distinct.targets("test")):
        history = distinct.data.history(user)[:-1]
        scores = theirs(weights[history[-1]], history)
        real = lists[user][lists[user] > 0]
        left_out = {"full_unseen": len(history), "full_unseen_window": len(history[-N:])}.get(name, 0)
        assert len(real) == len(set(real.tolist())) == ITEMS - left_out and not lists[user][len(real) :].any()
        assert (np.diff(scores[real]) <= 0).all() and scores[real].min() > -1e8
        assert real.tolist().index(target) == ranks[user, 0]
    np.testing.assert_array_equal(evaluator.top_items(by_last, weights, name, 3), lists[:, :3])


def test_lists_are_not_of_sampled_negatives(distinct, weights):
    with pytest.raises(ValueError, match="uni5: expected a protocol that ranks all items"):
        Evaluator(distinct, "test", N).top_items(by_last, weights, "uni5", 3)


def test_a_repeated_target_is_ranked_like_any_other(interactions, weights):
    """In every protocol: who filters it away can never be right on it."""
    split = Split(interactions([[1, 2, 3, 5, 1], [4, 5, 6, 7, 5]], ITEMS))
    best = np.zeros((ITEMS + 1, ITEMS + 1), np.float32)
    best[5, 1] = best[7, 5] = 9.0
    names = ("full", "full_unseen", "full_unseen_window", "full_seen_zero")
    for of in Evaluator(split, "test", 9, names).ranks(by_last, best).values():
        assert of[:, 0].tolist() == [0, 0]
