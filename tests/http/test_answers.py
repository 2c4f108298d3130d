"""The service answers as the library does, in any company, and nothing compiles once it is ready."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import numpy as np
import pytest
from serving import (
    ARCHITECTURE,
    IDS,
    TITLES,
    bad,
    check,
    figure,
    good,
)

from easrec_jax.config import Config, ModelConfig, SearchConfig
from easrec_jax.http.title_search import TitleSearch
from easrec_jax.runs.picture import Drawn, architecture_svg
from easrec_jax.runs.searched import factors

# --------------------------------------------------------------------------------------- the same as the library


OPTIONS = [
    {},
    {"k": 20},
    {"exclude_seen": False},
    {"deny": ["i5", "i6", "unknown"]},
    {"allow": ["i1", "i2", "i3", "ü"], "k": 3},
    {"allow": ["i1", "i2", "i3", "ü"], "deny": ["i1"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_recommend_is_the_librarys(client, recommender, options):
    histories = [[IDS[(7 * k + n) % 40] for k in range(length)] for n, length in enumerate((1, 2, 5, 8, 12, 20))]
    expected = recommender.recommend(histories, **options)
    got = good(client.post("/recommend", json={"histories": histories, **options}))
    assert got["warnings"] == [] and got["unknown"] == [[]] * 6
    for found, want in zip(got["results"], expected, strict=True):
        check(found, want)


def test_an_empty_history_is_answered_by_popularity_and_says_so(client, recommender):
    with pytest.warns(UserWarning, match="popularity"):
        expected = recommender.recommend([[]], 5, deny=["i1"])
    got = good(client.post("/recommend", json={"histories": [["i3"], []], "k": 5, "deny": ["i1"]}))
    check(got["results"][1], expected[0])
    assert [w["where"] for w in got["warnings"]] == ["histories[1]"] and "popularity" in got["warnings"][0]["message"]


def test_unknown_ids_are_skipped_refused_or_answered_by_popularity_and_never_in_silence(client, recommender):
    histories = [["i1", "never", "i2"], ["i4"]]
    got = good(client.post("/recommend", json={"histories": histories}))
    assert got["unknown"] == [["never"], []]
    assert got["warnings"][0]["where"] == "histories[0]" and "'never'" in got["warnings"][0]["message"]
    check(got["results"][0], recommender.recommend([["i1", "i2"]])[0])
    refused = client.post("/recommend", json={"histories": histories, "on_unknown": "error"})
    bad(refused, 422, "histories[0][1]", "an item of the model", "'never'")
    some = good(client.post("/recommend", json={"histories": [["never"], ["i1"], ["no"]], "k": 4}))
    assert [len(found) for found in some["results"]] == [0, 4, 0] and some["unknown"] == [["never"], [], ["no"]]
    assert [w["where"] for w in some["warnings"]] == ["histories[0]", "histories[2]"]
    assert "no known item" in some["warnings"][0]["message"]
    check(some["results"][1], recommender.recommend([["i1"]], 4)[0])
    assert good(client.post("/recommend", json={"histories": [["never"]]}))["results"] == [[]]
    none = good(client.post("/score", json={"history": ["never"], "candidates": ["i1", "no"]}))
    assert none["scores"] == [None, None] and len(none["warnings"]) == 1
    popular = good(client.post("/recommend", json={"histories": [["never"]], "on_unknown": "popular"}))
    assert popular["results"][0][0] == {"item": IDS[0], "score": 40.0} and len(popular["warnings"]) == 2


def test_unknown_ids_that_are_allowed_are_skipped_and_said(client, recommender):
    body = {"histories": [["i1"]], "allow": ["i2", "never", "i3"]}
    got = good(client.post("/recommend", json=body))
    check(got["results"][0], recommender.recommend([["i1"]], allow=["i2", "i3"])[0])
    assert [(w["where"], "'never'" in w["message"]) for w in got["warnings"]] == [("allow", True)]
    bad(client.post("/recommend", json=body | {"on_unknown": "error"}), 422, "allow[1]", "'never'")
    nothing = good(client.post("/recommend", json=body | {"allow": ["never"]}))
    assert nothing["results"] == [[]] and len(nothing["warnings"]) == 1


def test_of_a_long_history_the_latest_events_are_read_and_it_is_said(client, recommender):
    history = ["never", *(IDS[(3 * n) % 40] for n in range(1500))]
    got = good(client.post("/recommend", json={"histories": [history, ["i1"]], "k": 20}))
    check(got["results"][0], recommender.recommend([history[-20:]], 20)[0])  # the test's limit
    assert got["unknown"] == [[], []] and "1501 events, the latest 20" in got["warnings"][0]["message"]
    body = {"histories": [[*history, "never"]], "on_unknown": "error"}
    bad(client.post("/recommend", json=body), 422, "histories[0][1501]", "'never'")
    session = good(client.post("/sessions", json={"history": history, "k": 3}), 201)
    assert session["events"] <= 8 and "latest 20" in session["warnings"][0]["message"]
    assert good(client.post("/score", json={"history": history, "candidates": ["i1"]}))["warnings"]


def test_score_and_similar_are_the_librarys(client, recommender):
    got = good(client.post("/score", json={"history": ["i1", "i2"], "candidates": ["i3", "new\nline", "never"]}))
    with warnings.catch_warnings(action="ignore"):
        expected = recommender.score(["i1", "i2"], ["i3", "new\nline", "never"])
    assert got["scores"][2] is None and got["unknown"] == ["never"]
    np.testing.assert_allclose(got["scores"][:2], expected[:2], rtol=1e-4, atol=1e-5)
    refusal = {"history": ["i1"], "candidates": ["i3", "never"], "on_unknown": "error"}
    bad(client.post("/score", json=refusal), 422, "candidates[1]", "'never'")
    empty = good(client.post("/score", json={"history": [], "candidates": [IDS[0], IDS[1]]}))
    assert empty["scores"] == [40.0, 39.0] and "popularity" in empty["warnings"][0]["message"]
    similar = good(client.post("/similar", json={"items": ["i1", "ü", "i7"], "k": 4}))["results"]
    for found, want in zip(similar, recommender.similar(["i1", "ü", "i7"], 4), strict=True):
        check(found, want)
    bad(client.post("/similar", json={"items": ["i1", "never"]}), 422, "items[1]", "'never'")


def test_titles_come_on_request_and_numbers_are_ids(client):
    row = good(client.post("/recommend", json={"histories": [["i9"]], "allow": ["i1", "i9"], "titles": True}))
    assert row["results"] == [[{"item": "i1", "title": "The Long Walk", "score": row["results"][0][0]["score"]}]]
    body = {"histories": [[7, "i1", 7.0, -0.0, 2e3]], "allow": [8.0, "i2"]}
    got = good(client.post("/recommend", json=body))
    assert got["unknown"] == [["7", "7", "0", "2000"]] and "'8'" in got["warnings"][-1]["message"]
    for wrong in (1.5, 1e300, 2.0**53):
        bad(client.post("/recommend", json={"histories": [["i1", wrong]]}), 422, "histories[0]", "whole numbers")


def test_a_users_answer_does_not_depend_on_the_company(client):
    """Many clients at once, of all lengths and options: batched together, answered as if alone."""
    histories = [[IDS[(k * j) % 40] for j in range(1, k % 13 + 2)] for k in range(80)]
    options = [OPTIONS[k % len(OPTIONS)] for k in range(80)]
    before = figure(client, "easrec_batch_users_count"), figure(client, "easrec_batch_users_sum")
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(
            lambda h, o: good(client.post("/recommend", json={"histories": [h], **o})), histories, options
        )
    answers = list(answers)
    batches = figure(client, "easrec_batch_users_count") - before[0]
    assert figure(client, "easrec_batch_users_sum") - before[1] == 80 > batches
    for answer, history, option in zip(answers, histories, options, strict=True):
        alone = good(client.post("/recommend", json={"histories": [history], **option}))["results"][0]
        check(answer["results"][0], [(row["item"], row["score"]) for row in alone])


# --------------------------------------------------------------------------------------------------- compilation


def test_nothing_compiles_once_ready(client):
    """Every kind of request, every number of rows, every length and size of k."""
    before = figure(client, "easrec_compilations")
    assert before > 10
    for length in (1, 2, 3, 5, 8, 9, 16, 17, 20):
        for users in (1, 2, 3, 5, 6):
            body = {"histories": [[IDS[n] for n in range(length)]] * users, "k": 1 + (length * users) % 20}
            good(client.post("/recommend", json=body))
            good(client.post("/recommend", json=body | {"exclude_seen": False, "deny": ["i3"]}))
            good(client.post("/similar", json={"items": list(IDS[:users]), "k": body["k"]}))
        good(client.post("/score", json={"history": list(IDS[:length]), "candidates": list(IDS)}))
        name = good(client.post("/sessions", json={"history": list(IDS[:length]), "k": 20}), 201)["session"]
        for heap in (1, 1, 2, 20):
            good(client.post(f"/sessions/{name}/events", json={"items": list(IDS[:heap]), "k": 3}))
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: good(client.post("/sessions", json={"history": ["i1"] * (n % 8), "k": 3}), 201), range(24)
            )
        )
    assert figure(client, "easrec_compilations") == before


# ---------------------------------------------------------------------------------------------- titles, pictures


def test_titles_are_found_by_any_part_the_best_matches_first(client, recommender):
    search = TitleSearch(recommender)
    assert search.find("walk", 10) == ["i2", "i1", "i3", "i4"]  # begins so; such a word, popular first; contains it
    assert search.find("i3", 2) == ["i3", "i30"] and search.find("i34", 2)[0] == "i34"
    assert search.find("WALK", 2) == ["i2", "i1"]
    assert search.find("  ", 3) == list(IDS[:3])
    for query in ("i1", "w", "new line", '"uote', "zzz", "\n", " a"):
        folded = " ".join(query.casefold().split())
        lines = {raw: " ".join(f"{TITLES.get(raw, '')} {raw}".casefold().split()) for raw in IDS}
        assert set(search.find(query, 100)) == {raw for raw in IDS if folded in lines[raw]}, query
    rows = good(client.get("/items", params={"query": "long walk"}))["items"]
    assert rows == [{"item": "i1", "title": "The Long Walk", "interactions": 34}]


def test_the_picture_shows_the_layers_and_what_was_left_out(client):
    """How it says of every kind of search what was chosen is in `tests/test_searched.py`."""
    svg = ElementTree.fromstring(client.get("/architecture.svg").content)
    assert svg.tag.endswith("svg") and "not searched" in " ".join(svg.itertext())
    space = Config(model=ModelConfig(width=16, inner=32, layers=3, heads=2), search=SearchConfig(prune=(0.0, 0.5)))
    searched = ARCHITECTURE.to_json() | {"chosen_by": {"shares": {"width": [0.7, 0.3], "depth": [0.1, 0.8, 0.1]}}}
    text = " ".join(ElementTree.fromstring(architecture_svg(Drawn(searched, factors(space), 40))).itertext())
    assert "layer 3: left out" in text and "layer 2: left out" not in text
    assert "16 / 32" in text and "0.30" in text and "8 → 16 → 8" in text and "scores of 40 items" in text
    odd = searched | {"attention": "<b>&"}
    layered = searched | {"depth": 2, "inner": [16, 24]}
    text = " ".join(ElementTree.fromstring(architecture_svg(Drawn(layered, [], 40))).itertext())
    assert text.index("→ 24 →") < text.index("→ 16 →")  # the last layer is on top
    assert "<b>&" in " ".join(ElementTree.fromstring(architecture_svg(Drawn(odd, [], 40))).itertext())
