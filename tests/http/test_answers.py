"""The service answers as the library does, in any company, and nothing compiles once it is ready."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from serving import (
    ARCHITECTURE,
    IDS,
    LIMITS,
    TITLES,
    bad,
    check,
    figure,
    good,
    running,
    save_small_model,
)

from easrec_jax.http.app import create_app
from easrec_jax.http.sessions import Sessions, UnknownSession
from easrec_jax.http.title_search import TitleSearch
from easrec_jax.runs.picture import Drawn, architecture_svg
from easrec_jax.serving.streaming import Stream

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


# ------------------------------------------------------------------------------------------------------ sessions


def test_a_session_is_the_librarys_stream(client, recommender):
    """Click by click and in heaps, far beyond N: the same events count, and they score the same."""
    got = good(client.post("/sessions", json={"history": ["i1", "i2"], "k": 5}), 201)
    stream = recommender.start([["i1", "i2"]])
    path = f"/sessions/{got['session']}"
    check(got["results"], recommender.recommend_from(stream, 5)[0])
    clicks = iter(IDS[(11 * n) % 40] for n in range(1, 60))
    for heap in (1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 7, 1, 8, 9, 1, 17, 1):
        items = [next(clicks) for _ in range(heap)]
        for item in items:
            stream = recommender.update(stream, [item])
        got = good(client.post(f"{path}/events", json={"items": items, "k": 5}))
        assert got["events"] == stream.count[0]
        check(got["results"], recommender.recommend_from(stream, 5)[0])
    only = good(client.post(f"{path}/recommend", json={"k": 7, "exclude_seen": False, "deny": ["i1"]}))
    check(only["results"], recommender.recommend_from(stream, 7, exclude_seen=False, deny=["i1"])[0])


def test_a_session_may_begin_with_nothing_and_meets_unknown_items(client):
    started = good(client.post("/sessions", json={}), 201)
    assert started["events"] == 0 and started["results"] is None
    path = f"/sessions/{started['session']}"
    popular = good(client.post(f"{path}/recommend", json={"k": 2}))
    assert popular["results"][0]["score"] == 40.0 and "popularity" in popular["warnings"][0]["message"]
    got = good(client.post(f"{path}/events", json={"items": ["never", "i1"]}))
    assert got["events"] == 1 and got["unknown"] == ["never"] and got["warnings"][0]["where"] == "items"
    bad(client.post(f"{path}/events", json={"items": ["never"], "on_unknown": "error"}), 422, "items[0]", "'never'")
    assert client.delete(path).status_code == 204
    for gone in (client.delete(path), client.post(f"{path}/events", json={"items": ["i1"]})):
        bad(gone, 404, "path session", "a session that lives")


def test_clicks_of_one_user_in_one_batch_stay_apart_and_all_count(client):
    path = f"/sessions/{good(client.post('/sessions', json={}), 201)['session']}/events"
    with ThreadPoolExecutor(6) as pool:
        counts = sorted(pool.map(lambda n: good(client.post(path, json={"items": [f"i{n}"]}))["events"], range(1, 7)))
    assert counts == [1, 2, 3, 4, 5, 6]


def test_sessions_are_bounded_in_number_and_age():
    now = 0.0
    sessions = Sessions(3, 10.0, clock=lambda: now)
    blank = Stream(*(np.zeros(0) for _ in range(4)))
    for name in "abc":
        sessions.put(name, blank, "someone")
    assert sessions.get("a") is blank  # used now: b gives way
    sessions.put("d", blank, "someone")
    assert len(sessions) == 3 and sessions.evicted == 1
    with pytest.raises(UnknownSession):
        sessions.get("b")
    now = 9.0
    sessions.get("a")
    now = 11.0
    assert sessions.get("a") is blank and len(sessions) == 1  # the others were last used at 0


def test_nobody_pushes_out_the_sessions_of_others():
    sessions, blank = Sessions(10, 10.0, clock=lambda: 0.0), Stream(*(np.zeros(0) for _ in range(4)))
    for number in range(4):
        sessions.put(f"quiet {number}", blank, "quiet")
    for number in range(1000):
        sessions.put(f"greedy {number}", blank, "greedy")
    assert len(sessions) == 10 and all(sessions.get(f"quiet {number}") is blank for number in range(4))
    assert sessions.get("greedy 999") is blank
    for number in range(100):  # another one gets a share, from whoever was there longest
        sessions.put(f"late {number}", blank, "late")
    assert len(sessions) == 10 and sessions.get("late 99") is blank
    with pytest.raises(UnknownSession):
        sessions.get("late 0")
    for name in ("late 99", "greedy 999"):
        sessions.drop(name)
    bounded = Sessions(10, 10.0, per_client=2, clock=lambda: 0.0)
    for number in range(5):
        bounded.put(f"{number}", blank, "one")
    assert len(bounded) == 2 and bounded.get("4") is blank
    bounded.put("gone", blank)  # it gave way while it was worked on
    assert len(bounded) == 2


def test_the_oldest_session_gives_way_over_http(folder):
    with running(create_app(folder, replace(LIMITS, sessions=2))) as client:
        names = [good(client.post("/sessions", json={}), 201)["session"] for _ in range(3)]
        bad(client.post(f"/sessions/{names[0]}/recommend", json={}), 404, "path session")
        good(client.post(f"/sessions/{names[2]}/recommend", json={}))
        assert figure(client, "easrec_sessions") == 2 and figure(client, "easrec_sessions_evicted") == 1


def test_bidirectional_attention_has_no_sessions_and_says_why(tmp_path):
    architecture = replace(ARCHITECTURE, attention="linrec", depth=1, conv_width=0)
    with running(create_app(save_small_model(tmp_path / "model", architecture), replace(LIMITS, batch=1))) as client:
        good(client.post("/recommend", json={"histories": [["i1"]]}))
        bad(client.post("/sessions", json={}), 501, "path", "/recommend", "cannot stream")
        bad(client.post("/sessions/x/events", json={"items": []}), 501, "path", "cannot stream")


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
    svg = ElementTree.fromstring(client.get("/architecture.svg").content)
    assert svg.tag.endswith("svg")
    searched = ARCHITECTURE.to_json() | {"chosen_by": {"p": [0.7, 0.3], "q": [0.1, 0.8, 0.1]}}
    text = " ".join(ElementTree.fromstring(architecture_svg(Drawn(searched, [(16, 32), (8, 16)], 3, 40))).itertext())
    assert "layer 3: left out" in text and "layer 2: left out" not in text
    assert "width 16" in text and "0.30" in text and "8 → 16 → 8" in text and "scores of 40 items" in text
    odd = searched | {"attention": "<b>&"}
    layered = searched | {"depth": 2, "inner": [16, 24]}
    text = " ".join(ElementTree.fromstring(architecture_svg(Drawn(layered, [], 2, 40))).itertext())
    assert text.index("→ 24 →") < text.index("→ 16 →")  # the last layer is on top
    assert "<b>&" in " ".join(ElementTree.fromstring(architecture_svg(Drawn(odd, [], 2, 40))).itertext())
