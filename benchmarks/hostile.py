"""Hostile connections to a running service (bin/serve.py), from loopback only: python benchmarks/hostile.py --seconds 15

Each of `connections` does one of these for as long as it lasts, again and again: a header that never ends, headers that never
end, a body that never ends, small requests that are no HTTP. Meanwhile /health is asked ten times a second on new
connections; printed are the percentiles of its answers, before and during, and the server's memory as /metrics reports it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tyro
from load import Arguments as Service
from load import check, memory_mb, request_bytes

HEAD = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Arguments:
    port: int = 8000
    host: str = "127.0.0.1"
    """Loopback: this tool sends such things to nothing else."""
    seconds: float = 15.0
    connections: int = 16


def _endless(start: bytes, part: bytes) -> Callable[[], Iterator[bytes]]:
    def parts() -> Iterator[bytes]:
        yield start
        while True:
            yield part

    return parts


ATTACKS = {
    "a header without end": _endless(HEAD + b"X: ", b"a" * (1 << 20)),
    "headers without end": _endless(HEAD, b"".join(b"X%05d: 1\r\n" % n for n in range(50_000))),
    "a body without end": _endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 4096 + b"\r\n"),
    "no HTTP": _endless(b"\x16\x03\x01", b"\x00" * 100),
}


def attack(arguments: Arguments, parts: Callable[[], Iterator[bytes]], end: float) -> None:
    """One connection after the other."""
    while time.perf_counter() < end:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((arguments.host, arguments.port), timeout=5) as sending,
        ):
            for part in parts():
                if time.perf_counter() > end:
                    break
                sending.sendall(part)


def attack_all(arguments: Arguments) -> None:
    """All connections at once, from before the measurement until after it."""
    end, kinds = time.perf_counter() + arguments.seconds + 2, list(ATTACKS.values())
    threads = [
        threading.Thread(target=attack, args=(arguments, kinds[n % len(kinds)], end))
        for n in range(arguments.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def health(arguments: Arguments, end: float) -> list[float]:
    """Milliseconds of /health, each on a connection of its own."""
    times = []
    while (begun := time.perf_counter()) < end:
        request = request_bytes(arguments.host, "GET", "/health").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        with socket.create_connection((arguments.host, arguments.port), timeout=30) as asking:
            asking.sendall(request)
            answer = b""
            while part := asking.recv(1000):
                answer += part
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"error: /health: expected 200, got {answer[:100]!r}")
        times.append((time.perf_counter() - begun) * 1e3)
        time.sleep(0.1)
    return times


def figures(name: str, times: list[float]) -> dict:
    p50, p99 = np.percentile(times, (50, 99))
    return {f"{name}_p50_ms": round(p50, 2), f"{name}_p99_ms": round(p99, 2), f"{name}_max_ms": round(max(times), 2)}


def command(arguments: Arguments) -> dict:
    service = Service(port=arguments.port, host=arguments.host)
    found = figures("quiet", health(arguments, time.perf_counter() + 3))
    found["server_mb_start"] = round(asyncio.run(memory_mb(service)), 1)
    attackers = multiprocessing.get_context("spawn").Process(target=attack_all, args=(arguments,))
    attackers.start()  # a process of its own: its threads must not slow the one that measures
    time.sleep(1)
    found |= figures("hostile", health(arguments, time.perf_counter() + arguments.seconds))
    attackers.join()
    return found | {"server_mb_end": round(asyncio.run(memory_mb(service)), 1)}


if __name__ == "__main__":
    given = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    check(Service(port=given.port, host=given.host, seconds=given.seconds, clients=given.connections))
    print(json.dumps(command(given), indent=2))
