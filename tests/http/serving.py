"""What the tests of the service share: a small saved model with awkward ids, a server on a thread, and what answers are."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

import httpx
import jax
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.config_files import to_json
from easrec_jax.data.interactions import IdMap
from easrec_jax.http.run import listen, make_server
from easrec_jax.http.settings import Limits
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model, save_model

HOSTILE = ("a b", 'q"uote', "<img src=x onerror=\"document.title='broken'\">", "new\nline", "ü", "x" * 300)
IDS = (*HOSTILE, *(f"i{k}" for k in range(1, 35)))
TITLES = {
    "i1": "The Long Walk",
    "i2": "Walking <b>Home</b>",
    "i3": "A walk, then",
    "i4": "Boardwalk",
    HOSTILE[2]: HOSTILE[2],
}
ARCHITECTURE = Architecture(
    width=8, inner=16, depth=2, heads=2, max_length=8, attention="recent_linrec", gate_layers=2, conv_width=4
)
JSON = {"Content-Type": "application/json"}
BODY = b'{"histories": [["i1"]], "k": 3}'
LIMITS = Limits(k=20, history=20, histories=6, candidates=50, batch=4, sessions=50, body_bytes=400_000)


def save_small_model(
    folder: Path, architecture: Architecture = ARCHITECTURE, ids: tuple[str, ...] = IDS, seed: int = 0
) -> Path:
    """A model folder with random weights."""
    weights = Network(architecture, len(ids)).init(jax.random.key(seed))
    popularity = np.concatenate([[0], np.arange(len(ids), 0, -1)])
    titles = {item: title for item, title in TITLES.items() if item in ids}
    model = Model(architecture, weights, IdMap(ids), popularity, {"test": {}}, titles)
    described = architecture.to_json() | {"flops": 1000, "parameters": 1234, "chosen_by": {"method": "fixed"}}
    save_model(folder, model, architecture=described, config=to_json(Config()), metrics="")
    return folder


@contextlib.contextmanager
def running(app, *, ready: bool = True, limits: Limits = LIMITS):
    """A client of the application, served on loopback until the block ends; `ready`: once it answers."""
    listener = listen("127.0.0.1", 0)
    server = make_server(app, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
            while ready and client.get("/ready").status_code != 200:
                time.sleep(0.05)
            yield client
    finally:
        server.should_exit = True
        thread.join()


def warmed_up(client: httpx.Client) -> httpx.Client:
    """The client, once all programs are compiled."""
    while (state := client.get("/ready").json())["compiled"] < state["programs"]:
        time.sleep(0.05)
    return client


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


def half_a_request(client: httpx.Client, body: bytes) -> socket.socket:
    """A connection that has sent all of a request but its body's last byte."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)
    head = f"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body[:-1])
    return connection


def received(connection: socket.socket) -> bytes:
    """The answer, to its last bracket."""
    answer = b""
    while not answer.endswith(b"}") and (part := connection.recv(10_000)):
        answer += part
    connection.close()
    return answer
