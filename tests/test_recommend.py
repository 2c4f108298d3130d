"""A saved model answers as the network does, for anyone, whatever comes in."""

from __future__ import annotations

import warnings
from dataclasses import replace

import jax
import jaxtyping
import numpy as np
import pytest
from served import ARCHITECTURE, IDS, save

from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.serving import programs
from easrec_jax.serving.artifact import Model, load_model, save_model
from easrec_jax.serving.recommend import Recommender


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def recommender(folder):
    return Recommender.load(folder)


def plain_scores(recommender, history):
    inner = recommender.item_ids.encode(history)[-8:]
    items = np.pad(inner, (0, 8 - len(inner)))[None]
    encode = jax.jit(lambda w, x: recommender.network.encode(w, x))
    hidden = encode(recommender.weights, items)[0, len(inner) - 1]
    return np.array(recommender.weights["tables"]["items"] @ hidden)


@pytest.mark.parametrize("chunk", [3, 7, 10, 41, 100])
def test_scoring_in_chunks_is_scoring_at_once(chunk):
    """Ties, rows that are seen and rows that may not be recommended included."""
    rng = np.random.default_rng(0)
    table = rng.integers(-2, 3, (41, 3)).astype(np.float32)
    states = rng.integers(-2, 3, (5, 3)).astype(np.float32)
    offsets = np.where(rng.random(41) < 0.2, -np.inf, 0.0).astype(np.float32)
    seen = rng.integers(0, 41, (5, 4)).astype(np.int32)
    scores = states @ table.T + offsets
    np.put_along_axis(scores, seen, -np.inf, 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :6]
    best, rows = programs.best_items(*map(jax.numpy.asarray, (states, table, offsets, seen)), 6, chunk=chunk)
    np.testing.assert_array_equal(best, np.take_along_axis(scores, order, 1))
    np.testing.assert_array_equal(rows, order)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 20])
def test_it_is_the_networks_best_unseen_items(recommender, length):
    history = [IDS[(7 * k) % 40] for k in range(length)]
    (got,) = recommender.recommend([history], 5)
    scores = plain_scores(recommender, history)
    scores[0] = -np.inf
    scores[recommender.item_ids.encode(history)] = -np.inf
    best = np.argsort(-scores)[:5]
    assert [item for item, _ in got] == [IDS[k - 1] for k in best]
    np.testing.assert_allclose([score for _, score in got], scores[best], rtol=1e-4, atol=1e-5)


def test_a_users_answer_does_not_depend_on_the_company(recommender):
    histories = [[IDS[(k * j) % 40] for j in range(1, k % 11 + 2)] for k in range(300)]
    together = recommender.recommend(histories, 7)
    for k in (0, 5, 17, 299):
        (alone,) = recommender.recommend([histories[k]], 7)
        assert [i for i, _ in alone] == [i for i, _ in together[k]]


def test_seen_items_come_back_on_request_and_few_unseen_ones_shorten_the_list(recommender):
    history = list(IDS[:38])
    (unseen,) = recommender.recommend([history], 10)
    assert {i for i, _ in unseen} == set(IDS[38:])
    (everything,) = recommender.recommend([history], 40, exclude_seen=False)
    assert {i for i, _ in everything} == set(IDS)


def test_nothing_recompiles_over_hundreds_of_mixed_requests(monkeypatch):
    """Of the smallest network: nearly all of the time is spent on its eighty programs."""
    small = replace(ARCHITECTURE, depth=1, gate_layers=0, conv_width=0, attention="causal_linrec")
    recommender = Recommender(Model(small, Network(small, 40).init(jax.random.key(0)), IdMap(IDS), np.ones(41), {}))
    rng = np.random.default_rng(0)
    original, traces = Network.encode_last, []

    def counted(network, weights, items, **options):
        traces.append(items.shape)
        return original(network, weights, items, **options)

    monkeypatch.setattr(Network, "encode_last", counted)
    jax.clear_caches()
    for _ in range(400):
        histories = [list(rng.choice(IDS, rng.integers(1, 17))) for _ in range(rng.integers(1, 9))]
        recommender.recommend(histories, int(rng.integers(1, 9)))
    # lengths x rows x k, and once more for those who have seen more than N items
    assert len(traces) <= 4 * 4 * 4 + 4 * 4
    assert len(set(traces)) <= 4 * 4


def test_unknown_items(recommender):
    with pytest.warns(UserWarning, match="skipped 1 unknown items: 'zzz'"):
        (got,) = recommender.recommend([["i1", "zzz", "i2"]], 3)
    assert [i for i, _ in got] == [i for i, _ in recommender.recommend([["i1", "i2"]], 3)[0]]
    with pytest.warns(UserWarning, match=r"no known item, so no answer: history 1 \('zzz', 'yyy'\)$"):
        found, nothing = recommender.recommend([["i1"], ["zzz", "yyy"]], 3)
    assert nothing == [] and found == recommender.recommend([["i1"]], 3)[0]
    with pytest.warns(UserWarning, match="no known item, so no answer: history 0 "):
        assert not recommender.embed([["zzz"]]).any()
    with pytest.raises(ValueError, match=r"history 0: unknown items 'zzz'"):
        recommender.recommend([["i1", "zzz"]], on_unknown="error")
    with pytest.warns(UserWarning, match="1 histories without a known item: answered by popularity"):
        empty, known = recommender.recommend([[], ["i1"]], 3)
    assert [i for i, _ in empty] == list(IDS[:3])
    assert known == recommender.recommend([["i1"]], 3)[0]
    with pytest.warns(UserWarning) as caught:
        (popular,) = recommender.recommend([["zzz"]], 3, on_unknown="popular", deny=[IDS[0]])
    assert ["skipped" in str(w.message) for w in caught] == [True, False]
    assert [i for i, _ in popular] == list(IDS[1:4])


def test_allow_and_deny(recommender):
    history = ["i1", "i2"]
    everything = [i for i, _ in recommender.recommend([history], 40)[0]]
    few = [i for i, _ in recommender.recommend([history], 40, allow=everything[5:9])[0]]
    assert few == everything[5:9]
    rest = [i for i, _ in recommender.recommend([history], 40, deny=[*everything[:3], "unheard of"])[0]]
    assert rest == everything[3:]
    assert recommender.recommend([history], 3, allow=[]) == [[]]
    with pytest.warns(UserWarning, match="^allow: skipped 1 unknown items: 'zzz'$"):
        assert [i for i, _ in recommender.recommend([history], 40, allow=["zzz", *everything[5:9]])[0]] == few
    with pytest.warns(UserWarning, match="^allow: skipped 1 unknown items"):
        assert recommender.recommend([history], 3, allow=["zzz"]) == [[]]
    stream = recommender.start([history])
    with pytest.warns(UserWarning, match="^allow: skipped 1 unknown items"):
        from_stream = recommender.recommend_from(stream, 40, allow={"zzz", *everything[5:9]})
    assert [i for i, _ in from_stream[0]] == few


def test_scores_embeddings_and_vectors_are_those_of_recommend(recommender):
    history = ["i1", "i5", "i2"]
    (best,) = recommender.recommend([history], 40, exclude_seen=False)
    scores = recommender.score(history, [*(i for i, _ in best), "i1"])
    np.testing.assert_allclose(scores[:-1], [s for _, s in best], rtol=1e-4, atol=1e-6)
    with pytest.warns(UserWarning, match="skipped 1 unknown"):
        assert recommender.score(history, ["zzz", "i1"])[0] is None
    with pytest.raises(ValueError, match="unknown items 'zzz'"):
        recommender.score(history, ["zzz"], on_unknown="error")
    ids, vectors = recommender.item_vectors()
    assert ids == IDS
    products = vectors @ recommender.embed([["i3"], history])[1]
    np.testing.assert_allclose(products, [dict(best)[i] for i in ids], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda r: r.recommend([["i1"]], 1.5), r"k: expected 1 to \d+ \(the number of items\), got 1.5"),
        (lambda r: r.recommend([["i1"]], "3"), "k: expected .* got '3'"),
        (lambda r: r.recommend([None]), "histories: expected a sequence of histories"),
        (lambda r: r.recommend([1, 2]), "histories: expected a sequence of histories"),
        (lambda r: r.recommend(h for h in [["i1"]]), "histories: expected a sequence of histories"),
        (lambda r: r.recommend([["i1"]], allow=["zzz"], on_unknown="error"), "^allow: unknown items 'zzz'"),
        (lambda r: r.similar(["zzz"]), "^items: unknown items 'zzz'"),
        (lambda r: r.score(["i1"], ["zzz"], on_unknown="error"), "^candidates: unknown items 'zzz'"),
        (lambda r: r.update(r.start([["i1"]]), ["zzz"], on_unknown="error"), "^items: unknown items 'zzz'"),
    ],
)
def test_a_mistake_names_its_place(recommender, call, message):
    jaxtyping.config.update("jaxtyping_disable", True)  # as users have it: nothing else checks types
    try:
        with pytest.raises(ValueError, match=message):
            call(recommender)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_without_a_known_item_candidates_are_scored_by_popularity(recommender):
    with pytest.warns(UserWarning, match="answered by popularity"):
        (popular,) = recommender.recommend([[]], 3)
    items, counts = map(list, zip(*popular, strict=True))
    with pytest.warns(UserWarning, match="scored by popularity"):
        assert recommender.score([], items) == counts
    with pytest.warns(UserWarning) as caught:
        assert recommender.score(["zzz"], [*items, "yyy"], on_unknown="popular") == [*counts, None]
    assert "scored by popularity" in str(caught[-1].message)
    with pytest.warns(UserWarning, match="no known item, so no answer"):
        assert recommender.score(["zzz"], items) == [None] * len(items)


@pytest.mark.parametrize("history", [["i1", "zzz", "i5", "i1"], [f"i{k % 7}" for k in range(11)]])
def test_an_event_explains_by_what_the_score_is_without_it(recommender, history):
    """Repeated items apart, of a history longer than the network reads the last events."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unknown item
        effects = recommender.explain(history, "i9")
        (whole,) = recommender.score(history, ["i9"])
        for place, item, effect in effects:
            (without,) = recommender.score(history[:place] + history[place + 1 :], ["i9"])
            assert item == history[place] and effect == pytest.approx(whole - without, abs=1e-5)
    known = [place for place, item in enumerate(history) if item != "zzz"]
    assert sorted(effect.place for effect in effects) == known[-8:]
    assert [effect.effect for effect in effects] == sorted((effect.effect for effect in effects), reverse=True)


def test_what_cannot_be_explained(recommender):
    with pytest.raises(ValueError, match="^item: unknown items 'zzz'"):
        recommender.explain(["i1", "i2"], "zzz")
    with pytest.raises(ValueError, match="history: expected 2 known events or more, to leave one out, got 1"):
        recommender.explain(["i1"], "i2")


def test_similar_items_are_the_nearest_by_cosine(recommender):
    ids, vectors = recommender.item_vectors()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    answers = recommender.similar(["i7", "i1", "i7"], 5)
    for item, found in zip(["i7", "i1", "i7"], answers, strict=True):
        cosines = unit @ unit[ids.index(item)]
        cosines[ids.index(item)] = -np.inf
        assert [i for i, _ in found] == [ids[k] for k in np.argsort(-cosines)[:5]]
    assert len(recommender.similar(["i7"], 40)[0]) == 39
    with pytest.raises(ValueError, match="unknown items 'zzz'"):
        recommender.similar(["zzz"])


def test_titles_come_along(folder, tmp_path):
    model = load_model(folder)
    target = tmp_path / "model"
    titled = model._replace(titles={"i1": "<b>One & only</b>"})
    save_model(target, titled, architecture=ARCHITECTURE.to_json(), config="{}", metrics="")
    assert Recommender.load(target).titles == {"i1": "<b>One & only</b>"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.recommend([["i1"]], 0), "k: expected 1 to 40"),
        (lambda r: r.recommend([["i1"]], 41), "k: expected 1 to 40"),
        (lambda r: r.recommend("i1"), "expected a sequence of histories"),
        (lambda r: r.recommend(["i1"]), "expected a sequence of histories"),
        (lambda r: r.recommend([["i1"]], on_unknown="what"), "on_unknown: expected"),
        (lambda r: r.similar(["i1"], 0), "k: expected 1 to 40"),
        (lambda r: r.update(r.start([["i1"]]), ["i1", "i2"]), "items: expected one for each of 1 users, got 2"),
    ],
)
def test_bad_requests_say_what_was_expected(recommender, call, message):
    with pytest.raises(ValueError, match=message):
        call(recommender)


def test_no_histories_no_answers(recommender):
    assert recommender.recommend([]) == []
