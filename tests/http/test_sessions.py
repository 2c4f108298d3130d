"""Sessions: the library's streams over HTTP, bounded in number and age, and nobody's at another's cost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from serving import (
    ARCHITECTURE,
    IDS,
    LIMITS,
    bad,
    check,
    figure,
    good,
    running,
    save_small_model,
)

from easrec_jax.http.app import create_app
from easrec_jax.http.sessions import Held, Sessions, UnknownSession
from easrec_jax.serving.streaming import Stream


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
    blank = Held(0, Stream(*(np.zeros(0) for _ in range(4))))
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
    sessions, blank = Sessions(10, 10.0, clock=lambda: 0.0), Held(0, Stream(*(np.zeros(0) for _ in range(4))))
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
