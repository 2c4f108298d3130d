"""A service of an elastic model: one size answers, and the page can show them all."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from elastic import FRONT, LARGEST, SIZES, save_elastic
from serving import LIMITS, good, running, save_small_model

from easrec_jax.http.app import create_app
from easrec_jax.serving.recommend import Recommender


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
