"""Connections keep their bounds before anything is understood, and only whom the service is meant for may ask."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from dataclasses import replace

import httpx
import pytest
from serving import BODY, IDS, JSON, LIMITS, bad, good, half_a_request, running, warmed_up

from easrec_jax.http.addresses import LOCAL, check_origin, client_of, is_allowed
from easrec_jax.http.app import create_app
from easrec_jax.http.engine import Engine
from easrec_jax.http.protocol import SLICE, Connections
from easrec_jax.http.run import listen

HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def small(folder):
    """A service of small bounds, and its limits."""
    limits = replace(LIMITS, head_bytes=8192, headers=20, connections_per_address=5)
    with running(create_app(folder, limits), ready=False, limits=limits) as client:
        yield client, limits


def sent(client: httpx.Client, parts, *, most: int = 1 << 20) -> tuple[bytes, int]:
    """(the answer, bytes sent until the server had enough) of what a client would send for ever."""
    total = 0
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as connection:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
                total += len(part)
                if total > most:
                    break
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(10_000):
                answer += part
        return answer, total


def endless(start: bytes, part: bytes):
    yield start
    while True:
        yield part


@pytest.mark.parametrize(
    ("start", "part", "status"),
    [
        (HEAD + b"X: ", b"a" * 1000, b"431"),
        (HEAD, b"X: 1\r\n", b"431"),
        (b"GET /", b"a" * 1000, b"431"),
        (b"", b"\r\n" * 500, b"431"),
        (POST + b"1\r\n{\r\n0\r\nX: ", b"a" * 1000, b"431"),
        (POST + b"1;a=", b"a" * 1000, b"431"),
        (POST.replace(b"POST", b"PUT"), b"1000\r\n" + b" " * 4096 + b"\r\n", b"4"),
        (POST.replace(b"POST /", b"GET /nowhere/"), b"1000\r\n" + b" " * 4096 + b"\r\n", b"4"),
        (POST, b"1000\r\n" + b" " * 4096 + b"\r\n", b"413"),
        (HEAD + b"\r\n" + HEAD + b"X: ", b"a" * 1000, b""),
        (b"\x16\x03\x01", b"\x00" * 10, b"400"),
        (POST, b"zz\r\n", b"400"),
    ],
    ids=[
        "value", "headers", "path", "empty lines", "trailer", "chunk extension", "body of no method", "body of no path",
        "body", "next head", "TLS", "chunks",
    ],
)  # fmt: skip
def test_what_never_ends_is_answered_and_closed(small, start, part, status):
    """Also where the answer to a request before is due: that one comes first, or none."""
    client, limits = small
    answer, _ = sent(client, endless(start, part))
    if status:
        assert answer.startswith(b"HTTP/1.1 " + status) and answer.count(b"HTTP/1.1 ") == 1, answer
        assert b'{"errors":[{"where":' in answer
    assert client.get("/health").status_code == 200


def test_heads_within_the_bounds_are_answered(small):
    client, limits = small
    fits = b"X: " + b"a" * (limits.head_bytes - 200) + b"\r\n"
    assert sent(client, [HEAD + fits + b"Connection: close\r\n\r\n"])[0].startswith(b"HTTP/1.1 200")
    many = b"X: 1\r\n" * (limits.headers - 2) + b"Connection: close\r\n\r\n"
    assert sent(client, [HEAD + many])[0].startswith(b"HTTP/1.1 200")
    assert sent(client, [HEAD + b"X: 1\r\n" + many])[0].startswith(b"HTTP/1.1 431")
    longer = b"X: " + b"a" * (limits.head_bytes + 2 * SLICE) + b"\r\n\r\n"
    assert sent(client, [HEAD + longer])[0].startswith(b"HTTP/1.1 431")
    byte_by_byte = (bytes([b]) for b in HEAD + b"X: 1\r\n" * 3 + b"Connection: close\r\n\r\n")
    assert sent(client, byte_by_byte)[0].startswith(b"HTTP/1.1 200")


def test_a_client_has_so_many_connections_and_gets_them_back(small):
    client, limits = small
    good(client.get("/health"))  # the client's own
    with contextlib.ExitStack() as held:
        for _ in range(limits.connections_per_address - 1):
            held.enter_context(half_a_request(client, BODY))
        answer, _ = sent(client, [])
        assert answer.startswith(b"HTTP/1.1 503") and b"Retry-After: 1" in answer and b"at most 5 connections" in answer
        good(client.get("/health"))
    for _ in range(200):
        answer, _ = sent(client, [HEAD + b"Connection: close\r\n\r\n"])
        if answer.startswith(b"HTTP/1.1 200"):
            break
    else:
        pytest.fail("the places of closed connections stay taken")


def test_an_upgrade_is_answered_without_it(small):
    client, _ = small
    upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    assert sent(client, [HEAD + upgrade])[0].startswith(b"HTTP/1.1 200")


def test_bad_connections_are_said_once_in_a_while(caplog):
    shared = Connections(LIMITS)
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            shared.complain("192.0.2.7", "not HTTP")
    assert caplog.messages == ["192.0.2.7: refused: not HTTP"]
    shared._silent_until = 0.0
    shared.complain("192.0.2.8", "not HTTP")
    assert "192.0.2.8" in caplog.messages[-1] and "999 more" in caplog.messages[-1]


def test_one_client_is_an_address_or_a_network_of_ipv6():
    assert client_of(("192.0.2.7", 1)) == client_of(("192.0.2.7", 2)) != client_of(("192.0.2.8", 1))
    assert client_of(("2001:db8::1", 1)) == client_of(("2001:db8::ffff", 1, 0, 0)) != client_of(("2001:db8:0:1::1", 1))
    assert client_of(None) == ""


# --------------------------------------------------------------------------------------------- by which name, from where


def test_hosts():
    for host in (
        "localhost",
        "LocalHost:80",
        "a.localhost",
        "127.0.0.1:8000",
        "127.9.9.9",
        "[::1]:1",
        "[::1]",
        "localhost.",
    ):
        assert is_allowed(host.encode(), LOCAL), host
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "localhost:80:80", "[::1", "192.0.2.7",
                 "evil.example:8000", "\xff", "[::2]", "localhost@evil.example", "127.0.0.evil.example"):  # fmt: skip
        assert not is_allowed(host.encode("latin-1"), LOCAL), host
    assert is_allowed(b"shop.example:443", ["Shop.example"]) and is_allowed(b"a.shop.example", ["*.shop.example"])
    assert not is_allowed(b"shop.example", ["*.shop.example"]) and not is_allowed(
        b"evilshop.example", ["*.shop.example"]
    )
    assert is_allowed(b"whatever", ["*"])


@pytest.fixture(scope="module")
def guarded(folder):
    options = {"allowed_hosts": LOCAL, "cors": ["https://shop.example"], "root_path": "/api"}
    with running(create_app(folder, LIMITS, token="t", **options)) as client:
        client.headers["Authorization"] = "Bearer t"
        yield client


def test_another_name_is_refused_everywhere(guarded):
    for path in ("/", "/health", "/recommend", "/openapi.json", "/page/page.js"):
        bad(guarded.get(path, headers={"Host": "evil.example:8000"}), 421, "header Host", "localhost", "allowed_hosts")
    good(guarded.get("/health", headers={"Host": "localhost:1"}))
    two = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert sent(guarded, [two])[0].startswith(b"HTTP/1.1 421")
    assert sent(guarded, [b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"])[0].startswith(b"HTTP/1.1 421")
    assert sent(guarded, [b"GET /health HTTP/1.0\r\n\r\n"])[0].startswith(b"HTTP/1.1 200")


def test_pages_of_chosen_origins_may_ask(guarded, client):
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = guarded.options("/recommend", headers={"Origin": "https://shop.example", **asks, "Authorization": ""})
    assert preflight.status_code == 200 and preflight.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    for response in (
        guarded.post("/recommend", content=BODY, headers=JSON | {"Origin": "https://shop.example"}),
        guarded.post("/recommend", content=BODY, headers={"Origin": "https://shop.example", "Authorization": "no"}),
    ):
        assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    other = guarded.options("/recommend", headers={"Origin": "https://evil.example", **asks})
    assert other.status_code == 400 and "Access-Control-Allow-Origin" not in other.headers
    assert client.options("/recommend", headers={"Origin": "https://shop.example", **asks}).status_code == 405
    for wrong in ("shop.example", "https://shop.example/", "https://Shop.example", "ftp://x", "https://", ""):
        with pytest.raises(ValueError, match="cors: expected origins"):
            check_origin(wrong)


def test_a_prefix_works_whether_or_not_the_proxy_strips_it(guarded):
    for prefix in ("", "/api"):
        good(guarded.post(f"{prefix}/recommend", content=BODY, headers=JSON))
        for path in ("/", "/docs", "/page/page.js", "/static-offline-docs/swagger-ui.css", "/openapi.json"):
            assert guarded.get(prefix + path, headers={"Authorization": ""}).status_code == 200, prefix + path
        assert guarded.get(f"{prefix}/items", headers={"Authorization": ""}).status_code == 401
    docs = guarded.get("/docs").text
    assert "'openapi.json'" in docs and '"static-offline-docs/swagger-ui.css"' in docs and '"/' not in docs
    assert guarded.get("/openapi.json").json()["servers"] == [{"url": "./"}]


def test_head_is_get_without_the_body(client):
    for path in (
        "/health",
        "/ready",
        "/items",
        "/model",
        "/",
        "/docs",
        "/metrics",
        "/architecture.svg",
        "/page/page.js",
    ):
        response = client.head(path)
        assert response.status_code == 200 and not response.content, path
        assert int(response.headers["Content-Length"]) > 0
    assert client.head("/recommend").status_code == 405 and client.head("/nowhere").status_code == 404


def test_nobody_may_frame_the_page_and_the_document_names_things(client):
    assert "frame-ancestors 'none'" in client.get("/").headers["Content-Security-Policy"]
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["tags"] != [] and len(operation["summary"].split()) > 1, path
    assert "securitySchemes" not in document["components"]


def test_a_port_that_is_none_is_said():
    with pytest.raises(ValueError, match="port: expected 0 to 65535, got 99999"):
        listen("127.0.0.1", 99999)
    with listen("127.0.0.1", 0) as taken, pytest.raises(OSError, match=r"^127\.0\.0\.1:\d+: Address already in use$"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_it_answers_while_it_warms_up(folder, recommender, monkeypatch):
    """One user at a time at first, whatever is asked; how far it is can be seen. Programs wait here until they may go on."""
    first, rest, whole = threading.Event(), threading.Event(), Engine.programs_of

    def held(engine: Engine, rows: int) -> list:
        gate = first if rows == 1 else rest
        return [lambda program=program: (gate.wait(30), program()) for program in whole(engine, rows)]

    monkeypatch.setattr(Engine, "programs_of", held)
    with running(create_app(folder, LIMITS), ready=False) as client:
        state = client.get("/ready").json()
        assert state["status"] != "ready" and state["compiled"] == 0 < state["programs"]
        refused = client.post("/recommend", content=BODY, headers=JSON)
        bad(refused, 503, "server", "warm-up at 0 of", "programs")
        assert int(refused.headers["Retry-After"]) >= 1
        first.set()
        while (state := client.get("/ready").json())["status"] != "ready":
            time.sleep(0.05)
        assert 0 < state["compiled"] < state["programs"]
        histories = [[IDS[n], "i1"] for n in range(6)]
        got = good(client.post("/recommend", json={"histories": histories, "k": 5}))
        rest.set()
        for found, want in zip(got["results"], recommender.recommend(histories, 5), strict=True):
            assert [row["item"] for row in found] == [item for item, _ in want]
        assert (state := warmed_up(client).get("/ready").json())["compiled"] == state["programs"]
