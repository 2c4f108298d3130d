"""What every request passes first: its Host, the token, the bounds on bodies and on requests in flight, times, counts."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from easrec_jax.http.addresses import is_allowed
from easrec_jax.http.errors import Refused, shown
from easrec_jax.http.prometheus import Metrics
from easrec_jax.http.settings import Limits

log = logging.getLogger("easrec_jax.http")

FREE = frozenset({"/health", "/ready"})  # never refused: they say how the service is
OPEN = frozenset({"/", "/openapi.json", "/docs"})  # no token: nothing of the model is in them
OPEN_FOLDERS = ("/page/", "/static-offline-docs/")
RETRY_SECONDS = 1


class Admission:
    """ASGI middleware. Bodies are read whole, bounded in bytes and in time; a request is in flight once its body is there.

    Without `hosts` any Host will do. HEAD is answered as GET is, the server leaves the body out. `root_path` is a prefix that
    a proxy may have left before the path.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        metrics: Metrics,
        token: str | None = None,
        hosts: Sequence[str] = (),
        root_path: str = "",
    ) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._hosts, self._prefix = hosts, f"{root_path}/"
        self._token = None if token is None else token.encode()
        self._in_flight = 0
        self._unfinished = 0  # bytes of bodies that are being read, all together

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        if len(self._prefix) > 1 and scope["path"].startswith(self._prefix):
            scope = {**scope, "path": scope["path"][len(self._prefix) - 1 :]}

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

        try:
            await self._answer(scope, await self._admitted(scope, receive), receive, timed)
        except Refused as refused:
            await refused.response()(scope, receive, timed)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)

    async def _admitted(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that may be answered."""
        headers = dict(scope["headers"])
        if self._hosts:
            self._check_host(scope)
        self._check_token(scope["path"], headers)
        return await self._body(receive, headers)

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """The application's answer, if there is room for one more in flight."""
        if self._in_flight >= self._limits.concurrency and scope["path"] not in FREE:
            expected = f"at most {self._limits.concurrency} requests in flight"
            raise Refused("server", expected, "more; try again", status=503, retry_after=RETRY_SECONDS)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            await self._app(scope, replay, send)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)

    def _check_host(self, scope: Scope) -> None:
        """A page of another name that was pointed here may not ask in its visitor's stead; HTTP/1.0 knows no Host."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if (
            hosts
            and all(is_allowed(host, self._hosts) for host in hosts)
            or not hosts
            and scope["http_version"] == "1.0"
        ):
            return
        got = shown(hosts[-1].decode("latin-1")) if hosts else "none"
        raise Refused("header Host", f"one of {', '.join(self._hosts)} (--allowed_hosts)", got, status=421)

    def _check_token(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._token is None or path in FREE or path in OPEN or path.startswith(OPEN_FOLDERS):
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            got = "another one" if scheme else "none"
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
                return await self._read(receive, most)
        except TimeoutError:
            expected = f"the whole of it within {self._limits.body_seconds:g} s"
            raise Refused("body", expected, "less", status=408) from None

    async def _read(self, receive: Receive, most: int) -> bytes:
        """A body of at most `most` bytes; all that are being read hold no more than requests in flight might."""
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message: Any = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused("body", "the whole of it", "the end of the connection", status=400)
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self._unfinished += len(part)
                if size > most:
                    raise Refused("body", f"at most {most} bytes", "more", status=413)
                if self._unfinished > most * self._limits.concurrency:
                    expected = "room for another body"
                    raise Refused("server", expected, "none; try again", status=503, retry_after=RETRY_SECONDS)
                if not message.get("more_body"):
                    return b"".join(parts)
        finally:
            self._unfinished -= size
