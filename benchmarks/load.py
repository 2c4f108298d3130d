"""Load on a running service (bin/serve.py), from loopback only: python benchmarks/load.py --seconds 60 --clients 32

Each client sends its next request when it has its answer. Printed are recommendations a second, the percentiles of the
answers' times, refusals (503 with Retry-After; a client waits as told), errors (all other answers than 200), and the
server's resident memory at the start and at the end, as /metrics reports it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro

MOST_SECONDS = 3600


@dataclass(frozen=True)
class Arguments:
    port: int = 8000
    host: str = "127.0.0.1"
    """Loopback: this tool sends load to nothing else."""
    seconds: float = 30.0
    clients: int = 32
    k: int = 10
    data: Path | None = None
    """Interactions whose users' histories are sent (default: random items, 1 to N of them)."""
    warm: float = 2.0
    """Seconds before the count begins."""
    json: Path | None = None
    """Write the figures there too."""


@dataclass
class Tally:
    """What the clients saw since `begun`."""

    begun: float
    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    errors: list[str] = field(default_factory=list)


class Connection:
    """One kept-alive HTTP/1.1 connection: as little of a client as answers allow, since it shares the server's cores."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> tuple[int, bytes, bytes]:
        """(status, head, body) of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.I)
        body = await reader.readexactly(int(length[1]) if length else 0)
        if re.search(rb"connection: *close", head, re.I):
            self.close()
        return int(head[9:12]), head, body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def request_bytes(host: str, method: str, path: str, body: bytes = b"") -> bytes:
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\n".encode() + body


async def client(arguments: Arguments, requests: list[bytes], seed: int, end: float, tally: Tally) -> None:
    """Ask, wait for the answer, ask again, until the end."""
    connection, rng = Connection(arguments.host, arguments.port), np.random.default_rng(seed)
    while (begun := time.perf_counter()) < end:
        try:
            status, head, body = await connection.send(requests[int(rng.integers(len(requests)))])
        except (OSError, asyncio.IncompleteReadError) as error:
            status, head, body = 0, b"", repr(error).encode()
            connection.close()
        done = time.perf_counter()
        if status == 503 and (wait := re.search(rb"retry-after: *(\d+)", head, re.I)):
            tally.refused += begun >= tally.begun
            await asyncio.sleep(min(int(wait[1]), max(0.0, end - done)))
        elif begun >= tally.begun:
            if status == 200 and body.startswith(b'{"results":[[{'):
                tally.seconds.append(done - begun)
            else:
                tally.errors.append(f"{status} {body[:200]!r}")
        if status == 0:
            await asyncio.sleep(0.1)
    connection.close()


async def ask(arguments: Arguments, path: str) -> bytes:
    connection = Connection(arguments.host, arguments.port)
    status, _, body = await connection.send(request_bytes(arguments.host, "GET", path))
    connection.close()
    if status != 200:
        raise SystemExit(f"error: GET {path}: expected 200, got {status} {body[:200]!r}")
    return body


async def ready(arguments: Arguments, *, seconds: int = 120) -> None:
    """Wait until the service is at full speed: its first start compiles."""
    for second in range(seconds):
        connection = Connection(arguments.host, arguments.port)
        try:
            status, _, body = await connection.send(request_bytes(arguments.host, "GET", "/ready"))
        except (OSError, asyncio.IncompleteReadError):
            status, body = 0, b"{}"
        connection.close()
        state = json.loads(body)
        if status == 200 and state.get("compiled") == state.get("programs"):
            return
        if second == 0:
            print(f"waiting for {arguments.host}:{arguments.port} to be ready ...", file=sys.stderr)
        await asyncio.sleep(1)
    raise SystemExit(f"error: expected a service at {arguments.host}:{arguments.port} within {seconds} s")


async def memory_mb(arguments: Arguments) -> float:
    figures = (await ask(arguments, "/metrics")).decode()
    found = re.search(r"^process_resident_memory_bytes (\S+)", figures, re.M)
    return float(found[1]) / 2**20 if found else float("nan")


async def compilations(arguments: Arguments) -> int:
    found = re.search(rb"^easrec_compilations (\S+)", await ask(arguments, "/metrics"), re.M)
    return int(float(found[1])) if found else 0


async def make_requests(arguments: Arguments, count: int = 2000) -> list[bytes]:
    """Requests for one user each, their histories from the data or at random."""
    await ready(arguments)
    model = json.loads(await ask(arguments, "/model"))
    rng, length = np.random.default_rng(0), model["architecture"]["max_length"]
    if arguments.data is None:
        known = [row["item"] for row in json.loads(await ask(arguments, "/items?limit=100"))["items"]]
        histories = [rng.choice(known, rng.integers(1, length + 1)).tolist() for _ in range(count)]
    else:
        from easrec_jax.data.read import read_interactions

        data = read_interactions(arguments.data)
        raw = np.array(data.item_ids.raw)
        users = rng.integers(0, data.num_users, count)
        histories = [raw[data.history(int(user))[-length:] - 1].tolist() for user in users]
    bodies = [json.dumps({"histories": [history], "k": arguments.k}).encode() for history in histories]
    return [request_bytes(arguments.host, "POST", "/recommend", body) for body in bodies]


async def load(arguments: Arguments) -> dict:
    """Run the clients; the figures."""
    requests = await make_requests(arguments)
    begun = time.perf_counter() + arguments.warm
    end = begun + arguments.seconds
    tally = Tally(begun)
    clients = [asyncio.create_task(client(arguments, requests, n, end, tally)) for n in range(arguments.clients)]
    await asyncio.sleep(arguments.warm)
    first, compiled = await memory_mb(arguments), await compilations(arguments)
    await asyncio.gather(*clients)
    spent = time.perf_counter() - begun
    times = np.array(tally.seconds) * 1e3 if tally.seconds else np.full(1, np.nan)
    return {
        "clients": arguments.clients,
        "seconds": round(spent, 1),
        "recommendations_per_s": round(len(tally.seconds) / spent, 1),
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p99_ms": round(float(np.percentile(times, 99)), 2),
        "max_ms": round(float(times.max()), 2),
        "refused": tally.refused,
        "errors": len(tally.errors),
        "first_error": tally.errors[0] if tally.errors else None,
        "server_mb_start": round(first, 1),
        "server_mb_end": round(await memory_mb(arguments), 1),
        "compiled_meanwhile": await compilations(arguments) - compiled,
    }


def check(arguments: Arguments) -> None:
    addresses = {info[4][0] for info in socket.getaddrinfo(arguments.host, arguments.port, type=socket.SOCK_STREAM)}
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise SystemExit(f"error: host: expected loopback, got {arguments.host}")
    if not 0 < arguments.seconds <= MOST_SECONDS:
        raise SystemExit(f"error: seconds: expected more than 0, at most {MOST_SECONDS}, got {arguments.seconds}")
    if not 1 <= arguments.clients <= 4096:
        raise SystemExit(f"error: clients: expected 1 to 4096, got {arguments.clients}")


if __name__ == "__main__":
    given = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    check(given)
    try:
        import uvloop

        figures = uvloop.run(load(given))
    except ImportError:
        figures = asyncio.run(load(given))
    except OSError as error:
        raise SystemExit(f"error: {given.host}:{given.port}: expected a service: {error}") from None
    text = json.dumps(figures, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")
