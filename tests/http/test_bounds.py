"""Overload, slow clients, tokens and metrics: the service keeps its bounds and its manners."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import BODY, JSON, LIMITS, bad, figure, good, half_a_request, received, running

from easrec_jax.http.admission import Admission
from easrec_jax.http.app import create_app
from easrec_jax.http.batcher import Batcher, Overloaded
from easrec_jax.http.prometheus import Metrics

ROOT = Path(__file__).parents[2]


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


async def asked(gate: Admission, body: bytes = BODY, *, path: str = "/recommend", whole: bool = True) -> int:
    """The status with which a gate answers a request; what never comes to its end does not either."""
    messages = [{"type": "http.request", "body": body, "more_body": not whole}]
    statuses = []

    async def receive():
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async def send(message):
        statuses.append(message.get("status"))

    headers = [(b"content-length", b"%d" % len(body))]
    await gate({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send)
    return statuses[0]


def make_gate(limits):
    """A gate before an application that answers once `release` is set."""
    release = asyncio.Event()

    async def app(scope, receive, send):
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return Admission(app, limits=limits, metrics=Metrics()), release


def test_too_many_in_flight_are_told_to_come_again_and_probes_never():
    async def scene():
        gate, release = make_gate(replace(LIMITS, concurrency=2))
        taken = [asyncio.create_task(asked(gate)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await asked(gate) == 503
        probe = asyncio.create_task(asked(gate, b"", path="/health"))
        await asyncio.sleep(0)
        release.set()
        assert await asyncio.gather(*taken, probe) == [200] * 3

    asyncio.run(scene())


def test_unfinished_bodies_hold_no_place_and_bounded_memory():
    async def scene():
        gate, release = make_gate(replace(LIMITS, concurrency=2, body_bytes=1000))
        release.set()
        slow = [asyncio.create_task(asked(gate, b"x" * 19, whole=False)) for _ in range(100)]
        await asyncio.sleep(0)
        assert await asked(gate) == 200
        assert await asked(gate, b"x" * 150) == 503  # with those 1,900 bytes more than two bodies have
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert await asked(gate, b"x" * 1000) == 200
        assert await asked(gate, b"x" * 1001) == 413

    asyncio.run(scene())


def test_hundreds_of_slow_bodies_leave_the_service_as_it_is(folder):
    limits = replace(LIMITS, concurrency=2)
    with running(create_app(folder, limits)) as client, contextlib.ExitStack() as slow:
        for _ in range(100):
            slow.enter_context(half_a_request(client, BODY))
        client.get("/health")
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
    server = running(create_app(folder, LIMITS), ready=False, limits=replace(LIMITS, head_seconds=0.3))
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
    limits = replace(LIMITS, body_seconds=1.0, head_seconds=0.3)
    with running(create_app(folder, limits), limits=limits) as client:
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
        for scheme in ("Bearer", "bearer", "BEARER "):
            good(client.post("/recommend", content=BODY, headers=JSON | {"Authorization": f"{scheme} sesam oeffne"}))
        document = client.get("/openapi.json").json()
        assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        assert document["security"] == [{"bearer": []}] and document["paths"]["/health"]["get"]["security"] == []
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
        assert "://" not in (ROOT / "easrec_jax" / "http" / "page" / name).read_text()
