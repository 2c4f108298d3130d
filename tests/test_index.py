"""An index finds what exact search finds, says how much it misses, and belongs to one model."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model, save_model
from easrec_jax.serving.index import ItemIndex, build_index, made_up_histories
from easrec_jax.serving.recommend import Recommender

ITEMS = 400


def make(seed: int = 0, fingerprint: str = "x") -> Recommender:
    architecture = Architecture(
        width=8, inner=8, depth=1, heads=2, max_length=6, attention="recent_linrec", gate_layers=0, conv_width=2
    )
    weights = Network(architecture, ITEMS).init(jax.random.key(seed))
    ids = IdMap(tuple(f"i{k}" for k in range(ITEMS)))
    popularity = np.arange(ITEMS + 1)[::-1]
    return Recommender(Model(architecture, weights, ids, popularity, {}, fingerprint=fingerprint))


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return make()


def test_looking_everywhere_is_exact_search(recommender):
    index = build_index(recommender, recall=1.0, lists=7)
    if index.measured.probes < 7:  # the recall asked for was reached on one half with fewer
        index._index.nprobe = 7
    histories = [["i3"], ["i1", "i2", "i3", "i2"], [f"i{k}" for k in range(20)], *made_up_histories(recommender, 20, 5)]
    for exclude in (True, False):
        got = index.recommend(histories, 5, exclude_seen=exclude)
        want = recommender.recommend(histories, 5, exclude_seen=exclude)
        for a, b in zip(got, want, strict=True):
            assert [i for i, _ in a] == [i for i, _ in b]
            np.testing.assert_allclose([s for _, s in a], [s for _, s in b], rtol=1e-4, atol=1e-5)


def test_the_recall_reported_is_that_against_exact_search(recommender):
    histories = made_up_histories(recommender, 301, 1)
    index = build_index(recommender, histories, k=4, recall=0.3, lists=20)
    m = index.measured
    assert (m.k, m.lists, m.queries) == (4, 20, 151) and m.probes < 20
    queries = recommender.embed(histories[150:])
    exact = np.argsort(-(queries @ recommender.item_vectors()[1].T), axis=1)[:, :4] + 1
    found = index.search(queries, 4)[1]
    shares = [len(set(a.tolist()) & set(b.tolist())) / 4 for a, b in zip(found, exact, strict=True)]
    assert m.recall == pytest.approx(np.mean(shares), abs=0.01) and 0.1 < m.recall < 1
    better = build_index(recommender, histories, k=4, recall=0.9, lists=20).measured
    assert better.probes > m.probes and better.recall > m.recall


def test_saved_and_loaded_it_answers_alike_and_another_model_is_refused(recommender, tmp_path):
    index = build_index(recommender, lists=9)
    index.save(tmp_path / "index")
    index.save(tmp_path / "index")  # replaced whole
    assert [p.name for p in tmp_path.iterdir()] == ["index"]
    loaded = ItemIndex.load(tmp_path / "index", recommender)
    assert loaded.measured == index.measured
    assert loaded.recommend([["i1", "i9"]], 5) == index.recommend([["i1", "i9"]], 5)
    with pytest.raises(ValueError, match="index.json: the index is another model's"):
        ItemIndex.load(tmp_path / "index", make(1, "y"))
    path = tmp_path / "index" / "index.json"
    about = json.loads(path.read_text())
    for change, message in [
        ({"format": 3}, "expected the format"),
        ({"sha256": []}, "expected checksums"),
        ({"sha256": {}}, "no checksum of items.faiss"),
        ({"sha256": {"items.faiss": "0"}}, "items.faiss: damaged"),
    ]:
        path.write_text(json.dumps(about | change))
        with pytest.raises(ValueError, match=message):
            ItemIndex.load(tmp_path / "index", recommender)
    path.write_text(json.dumps({k: v for k, v in about.items() if k != "recall"}))
    with pytest.raises(ValueError, match="not an index: 'recall'"):
        ItemIndex.load(tmp_path / "index", recommender)


def test_bad_requests_say_what_was_expected(recommender):
    with pytest.raises(ValueError, match=r"recall: expected a share in \(0, 1\], got 2"):
        build_index(recommender, recall=2.0)
    with pytest.raises(ValueError, match="lists: expected 1 to 400"):
        build_index(recommender, lists=500)
    with pytest.raises(ValueError, match="at least two sample queries"):
        build_index(recommender, [["i1"]])
    with pytest.raises(ValueError, match="at least one known item in each"):
        build_index(recommender, lists=2).recommend([[]], 3)


def test_the_command_says_what_it_leaves_out(recommender, tmp_path, call_here):
    about = {"architecture": recommender.architecture.to_json(), "config": "{}", "metrics": ""}
    model = Model(recommender.architecture, recommender.weights, recommender.item_ids, recommender.popularity, {})
    save_model(tmp_path / "model", model, **about)
    rows = [f"u{user},i{(7 * user + step) % ITEMS}" for user in range(9) for step in range(3)]
    (tmp_path / "users.csv").write_text("\n".join(["user,item", "u0,new", "lost,new", "lost,newer", *rows]) + "\n")
    arguments = ("--histories", tmp_path / "users.csv", "--out", tmp_path / "index", "--lists", "5", "--k", "3")
    with pytest.warns(UserWarning, match="left out 3 events of unknown items, and 1 users with no others"):
        assert "recall@3" in call_here("index", tmp_path / "model", *arguments)
    assert ItemIndex.load(tmp_path / "index", Recommender.load(tmp_path / "model")).measured.queries == 5
