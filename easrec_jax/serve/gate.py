"""What every request passes first: the token, the bounds on bodies and on requests in flight, times and counts."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from easrec_jax.serve.errors import Refused
from easrec_jax.serve.metrics import Metrics
from easrec_jax.serve.settings import Limits

log = logging.getLogger("easrec_jax.serve")

FREE = frozenset({"/health", "/ready"})  # never refused: they say how the service is
OPEN = frozenset({"/", "/openapi.json", "/docs", "/docs/oauth2-redirect"})  # no token: nothing of the model is in them
OPEN_FOLDERS = ("/page/", "/static-offline-docs/")
RETRY_SECONDS = 1


class Gate:
    """ASGI middleware. Bodies are read whole, bounded in bytes and in time, before anything else happens."""

    def __init__(self, app: ASGIApp, *, limits: Limits, token: str | None, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._token = None if token is None else f"Bearer {token}".encode()
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def timed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                spent = f"total;dur={(time.perf_counter() - started) * 1e3:.2f}".encode()
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"server-timing", spent),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            await self._admit(scope, receive, timed)
        except Refused as refused:
            await refused.response()(scope, receive, timed)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        headers = dict(scope["headers"])
        if path not in FREE:
            if self._in_flight > self._limits.concurrency:
                expected = f"at most {self._limits.concurrency} requests in flight"
                raise Refused("server", expected, "more; try again", status=503, retry_after=RETRY_SECONDS)
            self._check_token(path, headers)
        body = await self._body(receive, headers)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    def _check_token(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._token is None or path in OPEN or path.startswith(OPEN_FOLDERS):
            return
        given = headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, self._token):
            got = "another one" if given else "none"
            raise Refused("header Authorization", "'Bearer ' and the service's token", got, status=401)

    async def _body(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes:
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            return b""
        most = self._limits.body_bytes
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced[:20]) > most:
            raise Refused("body", f"at most {most} bytes", f"{int(announced[:20])}", status=413)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await _read(receive, most)
        except TimeoutError:
            expected = f"the whole of it within {self._limits.body_seconds:g} s"
            raise Refused("body", expected, "less", status=408) from None


async def _read(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("body", "the whole of it", "the end of the connection", status=400)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise Refused("body", f"at most {most} bytes", "more", status=413)
        if not message.get("more_body"):
            return b"".join(parts)
