"""bin/serve.py as a process: it serves load, ends well, and its mistakes are one line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from serving import BODY, half_a_request, received

from easrec_jax.http.settings import Limits

ROOT = Path(__file__).parents[2]


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "bin" / "serve.py"), *map(str, arguments)]


@pytest.fixture(scope="module")
def environment():
    return {**os.environ, "EASREC_TOKEN": ""}


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

    assert client.get("/model", headers={"Host": "evil.example"}).status_code == 421

    connection = half_a_request(client, BODY)
    client.get("/health")  # the half was read by now
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    connection.sendall(BODY[-1:])
    answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200") and b'"results":[[{' in answer
    said, errors = process.communicate(timeout=60)
    assert re.search(r"^ready after \d+ s \(\d+ of \d+ programs\)$", said, re.M)
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
        port = taken.getsockname()[1]
        error = f"error: 127.0.0.1:{port}: Address already in use\n"
        assert fails(tmp_path / "not even looked for", f"--port={port}") == error
    assert fails(folder, "--port=99999") == "error: port: expected 0 to 65535, got 99999\n"
    assert "cors: expected origins" in fails(folder, "--port=0", "--cors", "shop.example")
    assert "root_path: expected a path" in fails(folder, "--port=0", "--root-path", "api/")
    elsewhere = [sys.executable, str(ROOT / "benchmarks" / "load.py"), "--host=192.0.2.1"]
    done = subprocess.run(elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "expected loopback" in done.stderr


def test_limits_are_checked():
    with pytest.raises(ValueError, match="limits.batch: expected at least 1, got 0"):
        Limits(batch=0)
    with pytest.raises(ValueError, match="limits.sessions_per_address: expected at least 0, got -1"):
        Limits(sessions_per_address=-1)
    assert Limits(connections_per_address=0).connections_per_address == 0
