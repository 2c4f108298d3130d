"""The service answers as the library does, in any company; and whatever comes in, it says what was wrong and where."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from prometheus_client.parser import text_string_to_metric_families
from serving import ARCHITECTURE, HOSTILE, IDS, LIMITS, TITLES, running, save_small_model

from easrec_jax.recommend import Recommender
from easrec_jax.serve.app import create_app
from easrec_jax.serve.batcher import Batcher, Overloaded
from easrec_jax.serve.picture import Drawn, architecture_svg
from easrec_jax.serve.sessions import Sessions, UnknownSession
from easrec_jax.serve.settings import Limits
from easrec_jax.serve.titles import TitleSearch
from easrec_jax.streaming import Stream

ROOT = Path(__file__).parent.parent
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def recommender(folder):
    return Recommender.load(folder)


@pytest.fixture(scope="module")
def client(folder):
    with running(create_app(folder, LIMITS)) as client:
        yield client


def good(response: httpx.Response, status: int = 200) -> dict:
    assert response.status_code == status, response.text
    return response.json()


def bad(response: httpx.Response, status: int, where: str, *words: str) -> dict:
    """An error that names its place, says what was expected, and holds no traceback."""
    assert response.status_code == status, response.text
    assert "Traceback" not in response.text and "File " not in response.text
    (error,) = response.json()["errors"]
    assert set(error) == {"where", "expected", "got", "message"} and all(error.values()) and len(error["got"]) < 300
    assert error["where"] == where, error
    for word in words:
        assert word in error["message"], error
    return error


def check(found: list[dict], expected: list[tuple[str, float]]) -> None:
    assert [row["item"] for row in found] == [item for item, _ in expected]
    np.testing.assert_allclose([row["score"] for row in found], [x for _, x in expected], rtol=1e-4, atol=1e-5)


def figure(client: httpx.Client, name: str, **labels: str) -> float:
    """The value of a metric, summed over the labels that are not given."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [s for f in families for s in f.samples if s.name == name and labels.items() <= s.labels.items()]
    return sum(s.value for s in samples)


# ------------------------------------------------------------------------------------------------- the same as the library


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
    bad(client.post("/recommend", json={"histories": [["i1"], ["never"]]}), 422, "histories[1]", "at least one")
    popular = good(client.post("/recommend", json={"histories": [["never"]], "on_unknown": "popular"}))
    assert popular["results"][0][0] == {"item": IDS[0], "score": 40.0} and len(popular["warnings"]) == 2


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
    assert good(client.post("/recommend", json={"histories": [[7, "i1"]]}))["unknown"] == [["7"]]


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


# ----------------------------------------------------------------------------------------------------------------- sessions


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
        sessions.put(name, blank)
    assert sessions.get("a") is blank  # used now: b gives way
    sessions.put("d", blank)
    assert len(sessions) == 3 and sessions.evicted == 1
    with pytest.raises(UnknownSession):
        sessions.get("b")
    now = 9.0
    sessions.get("a")
    now = 11.0
    assert sessions.get("a") is blank and len(sessions) == 1  # the others were last used at 0


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


# -------------------------------------------------------------------------------------------------------------- compilation


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


# ------------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("body", "status", "where", "words"),
    [
        ({}, 422, "histories", ["nothing"]),
        ([], 422, "body", ["a list of 0"]),
        ({"histories": []}, 422, "histories", ["at least 1"]),
        ({"histories": "i1"}, 422, "histories", ["valid list", "'i1'"]),
        ({"histories": ["i1"]}, 422, "histories[0]", ["valid list", "'i1'"]),
        ({"histories": [["i1", None]]}, 422, "histories[0][1]", ["valid string", "null"]),
        ({"histories": [["i1", True]]}, 422, "histories[0][1]", ["valid string", "true"]),
        ({"histories": [["i1", {"a": 1}]]}, 422, "histories[0][1]", ["valid string", "an object"]),
        ({"histories": [["i1"] * 21]}, 422, "histories[0]", ["at most 20", "21"]),
        ({"histories": [["i1"]] * 7}, 422, "histories", ["at most 6"]),
        ({"histories": [["y" * 301]]}, 422, "histories[0][0]", ["at most 300", "(301 characters)"]),
        ({"histories": [["i1"]], "k": 0}, 422, "k", ["greater than or equal to 1", "got 0"]),
        ({"histories": [["i1"]], "k": 21}, 422, "k", ["less than or equal to 20", "got 21"]),
        ({"histories": [["i1"]], "k": "10"}, 422, "k", ["integer", "'10'"]),
        ({"histories": [["i1"]], "k": 1.5}, 422, "k", ["integer", "1.5"]),
        ({"histories": [["i1"]], "k": 10**30}, 422, "k", ["less than or equal to 20"]),
        ({"histories": [["i1"]], "kk": 3}, 422, "kk", ["no such field"]),
        ({"histories": [["i1"]], "on_unknown": "guess"}, 422, "on_unknown", ["'skip', 'error' or 'popular'"]),
        ({"histories": [["i1"]], "allow": ["i1", "never"]}, 422, "allow[1]", ["an item of the model", "'never'"]),
        (b"", 422, "body", ["nothing"]),
        (b"{", 400, "body, character 1", ["valid JSON"]),
        (b'{"histories": [["i1"]], "k": NaN}', 400, "body, character 29", ["valid JSON"]),
        (b'{"histories": [[Infinity]]}', 400, "body, character 16", ["valid JSON"]),
        (b'{"histories": [["\\ud800"]]}', 400, "body, character 17", ["valid JSON"]),
        (b'{"histories": [["\xff"]]}', 400, "body, character 0", ["valid JSON"]),
        (b"[" * 10_000, 400, "body, character 1025", ["valid JSON"]),
        (b'{"histories": [["' + b"z" * 1_000_000 + b'"]]}', 413, "body", ["at most 400000 bytes"]),
    ],
    ids=lambda x: str(x)[:50],
)  # fmt: skip
def test_a_mistake_names_its_place(client, body, status, where, words):
    content = body if isinstance(body, bytes) else json.dumps(body)
    bad(client.post("/recommend", content=content, headers=JSON), status, where, *words)


def test_mistakes_around_the_body(client):
    bad(client.post("/recommend", content="{}"), 415, "header Content-Type", "application/json", "none")
    bad(client.post("/recommend", data={"a": "b"}), 415, "header Content-Type", "x-www-form-urlencoded")
    bad(client.get("/recommend"), 405, "path", "GET '/recommend'")
    bad(client.get("/nowhere" * 500), 404, "path", "GET '/nowhere")
    bad(client.get("/items", params={"limit": 1000}), 422, "query limit", "less than or equal to 100")
    bad(client.get("/items", params={"query": "y" * 201}), 422, "query query", "at most 200")

    def endless():
        for _ in range(1000):
            yield b" " * 1000

    bad(client.post("/recommend", content=endless(), headers=JSON), 413, "body", "at most 400000 bytes")


def test_hostile_ids_come_back_as_they_are(client):
    histories = [list(HOSTILE), ['</script><script>alert("x")</script>', "i1", "\x00\x1b[2J\r\nX: y"]]
    got = good(client.post("/recommend", json={"histories": histories, "k": 20}))
    assert got["unknown"] == [[], [histories[1][0], histories[1][2]]]
    assert "\n" not in got["warnings"][0]["message"] and "\x1b" not in got["warnings"][0]["message"]


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(IDS)
json_values = st.deferred(
    lambda: leaves | st.lists(json_values, max_size=3) | st.dictionaries(st.text(max_size=8), json_values, max_size=2)
)
fields = st.fixed_dictionaries(
    {},
    optional={
        name: json_values
        for name in (
            "histories",
            "history",
            "items",
            "candidates",
            "k",
            "allow",
            "deny",
            "exclude_seen",
            "on_unknown",
            "titles",
        )
    },
)
PATHS = ("/recommend", "/score", "/similar", "/sessions", "/sessions/x/events", "/sessions/x/recommend")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), body=(fields | json_values).map(json.dumps).map(str.encode) | st.binary())
def test_odd_bodies_get_an_answer_or_an_error_that_names_its_place(client, path, body):
    response = client.post(path, content=body, headers=JSON)
    if response.status_code >= 300:
        assert response.status_code in (400, 404, 422), response.text
        for error in response.json()["errors"]:
            assert error["where"] and error["expected"] and error["got"] and len(error["message"]) < 1000
    assert "Traceback" not in response.text


@pytest.mark.filterwarnings("ignore")
def test_the_openapi_document_is_kept(client):
    """schemathesis: no answer that the document does not announce, no server error, wrong data are refused."""
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    modes = schemathesis.GenerationMode
    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in modes.POSITIVE, modes.NEGATIVE:
            try:
                _try(operation.as_strategy(generation_mode=mode), positive_data_acceptance)
            except Unsatisfiable:
                continue  # nothing to get wrong there
            tried.add((operation.method, operation.path, mode))
    for path in ("/recommend", "/score", "/similar", "/sessions", "/sessions/{session}/events"):
        assert {("post", path, modes.POSITIVE), ("post", path, modes.NEGATIVE)} <= tried, path


def _try(strategy, left_out) -> None:
    @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def call(case):
        # what a document cannot say: an id may be well-formed and yet unknown to the model (422)
        case.call_and_validate(excluded_checks=[left_out])

    call()


# -------------------------------------------------------------------------------------------------------- bounds and manners


def test_a_full_queue_refuses_at_once_and_what_was_taken_is_answered():
    gate = threading.Event()
    sizes = []

    def run(jobs):
        gate.wait()
        return [job * 10 if job != 3 else ValueError("three") for job in jobs]

    async def scene():
        batcher = Batcher(run, prepare=lambda: None, observe=sizes.append, rows=4, capacity=6)
        with pytest.raises(Overloaded, match="warming up"):
            await batcher.submit(1)
        batcher.start()
        await asyncio.to_thread(batcher.ready.wait)
        taken = [asyncio.create_task(batcher.submit(n)) for n in range(6)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match="6 users wait"):
            await asyncio.wait_for(batcher.submit(6), 10)
        gate.set()
        answers = await asyncio.gather(*taken, return_exceptions=True)
        assert [a for n, a in enumerate(answers) if n != 3] == [0, 10, 20, 40, 50]
        assert str(answers[3]) == "three" and batcher.waiting == 0
        assert await batcher.submit(7, rows=100) == 70  # larger than the bound, but alone
        last = asyncio.create_task(batcher.submit(8))
        await asyncio.sleep(0)
        await batcher.stop()
        assert await last == 80 and not batcher.alive

    asyncio.run(scene())
    assert sum(sizes) == 6 + 100 + 1 and max(sizes[:-2]) <= 4


def test_a_failing_batch_fails_its_requests_alone_and_a_failing_warm_up_is_seen(caplog):
    def run(jobs):
        raise RuntimeError("broken")

    async def scene():
        batcher = Batcher(run, prepare=lambda: None, observe=lambda rows: None, rows=4, capacity=6)
        batcher.start()
        await asyncio.to_thread(batcher.ready.wait)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="broken"):
                await batcher.submit(1)
        await batcher.stop()
        dead = Batcher(run, prepare=lambda: run([]), observe=lambda rows: None, rows=4, capacity=6)
        dead.start()
        await dead.stop()
        assert not dead.alive and not dead.ready.is_set()

    asyncio.run(scene())
    assert "the warm-up failed" in caplog.text


def half_a_request(client: httpx.Client, body: bytes) -> socket.socket:
    """A connection that has sent all of a request but its body's last byte."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)
    head = (
        f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body[:-1])
    return connection


def received(connection: socket.socket) -> bytes:
    """The answer, to its last bracket."""
    answer = b""
    while not answer.endswith(b"}") and (part := connection.recv(10_000)):
        answer += part
    connection.close()
    return answer


BODY = b'{"histories": [["i1"]], "k": 3}'


def test_too_many_in_flight_are_told_to_come_again(folder):
    with running(create_app(folder, replace(LIMITS, concurrency=2))) as client:
        slow = [half_a_request(client, BODY) for _ in range(2)]
        deadline = time.monotonic() + 30
        while (refused := client.get("/metrics")).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.02)  # until both are being read
        bad(refused, 503, "server", "at most 2 requests in flight")
        assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        for connection in slow:
            connection.sendall(BODY[-1:])
            assert received(connection).startswith(b"HTTP/1.1 200")
        good(client.post("/recommend", content=BODY, headers=JSON))


def test_a_body_that_does_not_arrive_ends(folder):
    with running(create_app(folder, replace(LIMITS, body_seconds=0.2))) as client:
        connection = half_a_request(client, BODY)
        answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 408") and b"within 0.2 s" in answer


@pytest.mark.parametrize(
    "whole", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first request", "next request"]
)
@pytest.mark.parametrize("trickle", [b"", b"\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nX: ", b"y"])
def test_a_head_that_does_not_come_closes_the_connection(folder, whole, trickle):
    server = running(create_app(folder, LIMITS), ready=False, head_seconds=0.3)
    with server as client, socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as slow:
        slow.sendall(whole)
        if whole:
            assert b"200 OK" in slow.recv(10_000)
        slow.settimeout(0.05)
        for _ in range(200):  # 10 s
            try:
                slow.sendall(trickle)
                if not slow.recv(10_000):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("still open")
        assert client.get("/health").status_code == 200


def test_slow_bodies_and_pipelined_requests_are_no_slow_heads(folder):
    limits = replace(LIMITS, body_seconds=1.0)
    with running(create_app(folder, limits), head_seconds=0.3) as client:
        with half_a_request(client, BODY) as slow:
            assert b"408" in received(slow)
        with half_a_request(client, BODY) as slow:
            slow.sendall(BODY[-1:] + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answers = b""
            while answers.count(b"200 OK") < 2 and (part := slow.recv(10_000)):
                answers += part
            assert answers.count(b"200 OK") == 2


def test_a_token_is_asked_for(folder):
    with running(create_app(folder, LIMITS, token="sesam oeffne")) as client:
        for headers in (
            {},
            {"Authorization": "Bearer sesam"},
            {"Authorization": "sesam oeffne"},
            {"Authorization": b"\xff"},
        ):
            refused = client.post("/recommend", content=BODY, headers=JSON | headers)
            bad(refused, 401, "header Authorization", "Bearer")
            assert refused.headers["WWW-Authenticate"] == "Bearer" and "sesam" not in refused.text
        good(client.post("/recommend", content=BODY, headers=JSON | {"Authorization": "Bearer sesam oeffne"}))
        assert client.get("/metrics").status_code == client.get("/items").status_code == 401
        for path in ("/", "/health", "/ready", "/docs", "/openapi.json", "/page/page.js"):
            assert client.get(path).status_code == 200, path


def test_metrics_count_and_their_labels_are_few(client):
    before = figure(client, "easrec_requests_total", path="/recommend", status="200")
    good(client.post("/recommend", content=BODY, headers=JSON))
    assert figure(client, "easrec_requests_total", path="/recommend", status="200") == before + 1
    for n in range(5):
        client.get(f"/nowhere/{n}")
        client.delete(f"/sessions/{n}")
    paths = {
        sample.labels["path"]
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if "path" in sample.labels
    }
    assert paths <= {"other", "", "/page", *client.get("/openapi.json").json()["paths"], "/", "/docs", "/openapi.json"}
    assert "/sessions/{session}" in paths
    assert figure(client, "easrec_requests_in_flight") == 1 and figure(client, "easrec_users_waiting") == 0


def test_the_docs_load_nothing_from_elsewhere(client):
    page = client.get("/docs").text
    assert "swagger-ui" in page and "://" not in page.replace(str(client.base_url), "")
    for path in ("/static-offline-docs/swagger-ui-bundle.js", "/static-offline-docs/swagger-ui.css"):
        assert client.get(path).status_code == 200
    for name in ("index.html", "page.js", "page.css"):
        assert "://" not in (ROOT / "easrec_jax" / "serve" / "page" / name).read_text()


# ---------------------------------------------------------------------------------------------------------- titles, pictures


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


# -------------------------------------------------------------------------------------------------------------- the commands


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "bin" / "serve.py"), *map(str, arguments)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")), "EASREC_TOKEN": ""}


@pytest.fixture
def served(folder, environment):
    """`bin/serve.py` as a process, ready; ended at the latest with the test."""
    small = ["--limits.batch=1", "--limits.k=5", "--limits.history=8"]
    process = subprocess.Popen(
        command(folder, "--port=0", *small), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = process.stdout.readline().split()[0]
        assert url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=url, timeout=60) as client:
            while client.get("/ready").status_code != 200:
                assert client.get("/health").json() == {"status": "ok"}
                time.sleep(0.1)
            yield process, client
    finally:
        process.kill()
        process.communicate()


def test_the_command_serves_load_and_its_end_waits_for_what_is_in_flight(served, environment):
    process, client = served
    load = [sys.executable, str(ROOT / "benchmarks" / "load.py"), f"--port={client.base_url.port}", "--seconds=1"]
    done = subprocess.run(
        [*load, "--clients=4", "--warm=0.2", "--k=5"], env=environment, capture_output=True, text=True
    )
    figures = json.loads(done.stdout)
    assert figures["recommendations_per_s"] > 0 and figures["errors"] == figures["refused"] == 0, figures
    assert figures["compiled_meanwhile"] == 0 and figures["server_mb_end"] > 1

    connection = half_a_request(client, BODY)
    client.get("/health")  # the half was read by now
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    connection.sendall(BODY[-1:])
    answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200") and b'"results":[[{' in answer
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM) and "Traceback" not in errors, errors
    with pytest.raises(OSError):
        socket.create_connection((client.base_url.host, client.base_url.port), timeout=5)


def test_mistakes_of_the_command_are_one_line(folder, environment, tmp_path):
    def fails(*arguments: object) -> str:
        done = subprocess.run(command(*arguments), env=environment, capture_output=True, text=True)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        return done.stderr

    assert "no model here" in fails(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "in use" in fails(folder, f"--port={taken.getsockname()[1]}")
    elsewhere = [sys.executable, str(ROOT / "benchmarks" / "load.py"), "--host=192.0.2.1"]
    done = subprocess.run(elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "expected loopback" in done.stderr


def test_limits_are_checked():
    with pytest.raises(ValueError, match="limits.batch: expected at least 1, got 0"):
        Limits(batch=0)
