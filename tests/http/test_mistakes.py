"""Whatever comes in, the service says what was wrong and where; hostile text comes back as text."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from serving import (
    HOSTILE,
    IDS,
    JSON,
    bad,
    good,
)


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
        ({"histories": [["i1"]] * 7}, 422, "histories", ["at most 6"]),
        ({"histories": [["y" * 301]]}, 422, "histories[0][0]", ["at most 300", "(301 characters)"]),
        ({"histories": [["i1"]], "k": 0}, 422, "k", ["greater than or equal to 1", "got 0"]),
        ({"histories": [["i1"]], "k": 21}, 422, "k", ["less than or equal to 20", "got 21"]),
        ({"histories": [["i1"]], "k": "10"}, 422, "k", ["integer", "'10'"]),
        ({"histories": [["i1"]], "k": 1.5}, 422, "k", ["integer", "1.5"]),
        ({"histories": [["i1"]], "k": 10**30}, 422, "k", ["less than or equal to 20"]),
        ({"histories": [["i1"]], "kk": 3}, 422, "kk", ["no such field"]),
        ({"histories": [["i1"]], "on_unknown": "guess"}, 422, "on_unknown", ["'skip', 'error' or 'popular'"]),
        ({"histories": [["i1"]], "allow": "i1"}, 422, "allow", ["valid list", "'i1'"]),
        ({"histories": [["i1"]], "allow": ["i1"] * 51}, 422, "allow", ["at most 50"]),
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
    own = JSON | {"Connection": "close"}  # a body that is refused unread ends its connection: the next call has another
    bad(client.post("/recommend", content=content, headers=own), status, where, *words)


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


def test_without_a_token_nobody_may_ask_for_another_model(client):
    bad(client.post("/model"), 403, "server", "EASREC_TOKEN")
