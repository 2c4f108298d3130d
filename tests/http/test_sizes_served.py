"""A service of an elastic model: one size answers, and the page can show them all."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from elastic import FRONT, LARGEST, SIZES, save_elastic, save_routed
from serving import LIMITS, check, good, running, save_small_model, warmed_up

from easrec_jax.http.app import create_app
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.shapes import flat


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_elastic(tmp_path_factory.mktemp("elastic") / "model")


@pytest.fixture(scope="module")
def client(folder):
    with running(create_app(folder, LIMITS, budget=0.2)) as client:
        yield client


def test_the_size_within_the_budget_answers(client, folder):
    about = good(client.get("/model"))
    assert about["architecture"] == SIZES[1].to_json() and about["cost"] == FRONT[1].cost
    assert (about["budget"], about["sizes"], about["size"]) == (0.2, 3, 1)
    small = Recommender.load(folder, 0.2)
    assert about["weights_sha256"] == small.fingerprint != Recommender.load(folder).fingerprint
    (expected,) = small.recommend([["i2", "i7"]], 5)
    (answer,) = good(client.post("/recommend", json={"histories": [["i2", "i7"]], "k": 5}))["results"]
    assert [row["item"] for row in answer] == [item for item, _ in expected]
    assert [row["score"] for row in answer] == pytest.approx([score for _, score in expected], abs=1e-4)


def test_the_page_gets_a_picture_and_a_script(client):
    picture = client.get("/sizes.svg")
    assert picture.status_code == 200 and picture.headers["content-type"].startswith("image/svg+xml")
    assert len(ElementTree.fromstring(picture.text).findall("{http://www.w3.org/2000/svg}circle")) == 3
    script = client.get("/page/sizes.js")
    assert "function slide(" in script.text and script.headers["content-type"].startswith("text/javascript")
    page = client.get("/").text
    assert '<input id="size" type="range"' in page and page.index("page/sizes.js") < page.index("page/page.js")
    assert "width 8" in client.get("/architecture.svg").text


def test_the_largest_answers_without_a_budget(folder):
    with running(create_app(folder, LIMITS), ready=False) as client:
        about = good(client.get("/model"))
    assert about["architecture"] == LARGEST.to_json()
    assert (about["cost"], about["budget"], about["sizes"], about["size"]) == (1.0, None, 3, None)


def test_a_model_of_one_size_has_no_picture_of_sizes_and_no_budget(tmp_path):
    folder = save_small_model(tmp_path / "model")
    with running(create_app(folder, LIMITS), ready=False) as client:
        assert good(client.get("/model"))["sizes"] == 0
        (error,) = good(client.get("/sizes.svg"), 404)["errors"]
    assert error["expected"] == "an elastic model"
    with pytest.raises(ValueError, match="has one size"):
        create_app(folder, LIMITS, budget=0.5)
    with pytest.raises(ValueError, match=r"budget: expected a number in \(0, 1\]"):
        create_app(folder, LIMITS, budget=1.5)


def test_a_router_answers_each_user_by_a_size_in_batches_and_in_sessions(tmp_path):
    folder = save_routed(tmp_path / "model")
    routed = Recommender.load(folder, per_user=True)
    histories = [[f"i{a}", f"i{b}"] for a in range(1, 9) for b in (2, 11)]
    with running(create_app(folder, replace(LIMITS, batch=2), per_user=True)) as client:
        warmed_up(client)  # users of several networks in one batch
        about = good(client.get("/model"))
        assert (about["per_user"]["cost"], about["cost"]) == ({"validation": 0.3, "test": 0.25}, 0.25)
        assert about["weights_sha256"] == routed.fingerprint
        mixed = 0
        for start in range(0, len(histories), 2):
            some = histories[start : start + 2]
            mixed += len(set(routed.routed.choose(*flat([routed.item_ids.encode(one) for one in some])).tolist())) > 1
            answers = good(client.post("/recommend", json={"histories": some, "k": 5}))["results"]
            for answer, expected in zip(answers, routed.recommend(some, 5), strict=True):
                check(answer, expected)
            scores = good(client.post("/score", json={"history": some[0], "candidates": ["i5", "i9"]}))["scores"]
            assert scores == pytest.approx(routed.score(some[0], ["i5", "i9"]), abs=1e-4)
        assert mixed
        clicks = [f"i{n}" for n in (3, 9, 27, 4, 16, 30, 8, 2, 5, 11, 21)]
        name = good(client.post("/sessions", json={}), 201)["session"]
        stream, numbers = routed.start([[]]), set()
        for size in (1, 2, 1, 3, 1, 1, 2):  # several events at once too: as one after the other
            events, clicks = clicks[:size], clicks[size:]
            for event in events:
                stream = routed.update(stream, [event])
            answer = good(client.post(f"/sessions/{name}/events", json={"items": events, "k": 5}))["results"]
            check(answer, routed.recommend_from(stream, 5)[0])
            numbers.add(int(stream.choice[0]))
        assert len(numbers) > 1


def test_a_model_without_a_router_names_what_adds_one(folder):
    with pytest.raises(ValueError, match="no router; the command route"):
        create_app(folder, LIMITS, per_user=True)
