"""HTTP connections within bounds: uvicorn itself waits for a request's head for ever, and takes one of any length."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from http import HTTPStatus
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from easrec_jax.http.addresses import client_of
from easrec_jax.http.errors import problem
from easrec_jax.http.settings import Limits

log = logging.getLogger("easrec_jax.http")

SLICE = 4096  # bytes given to the parser at a time: by so many a head may be longer than its bound
QUIET_SECONDS = 10.0  # between two lines about bad connections


class Connections:
    """What the connections of one server share: its limits, how many each client holds, what was said of bad ones."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._held: Counter[str] = Counter()
        self._silent_until = 0.0
        self._unsaid = 0

    def enter(self, client: str) -> bool:
        """Count one more connection of a client, if it may have it."""
        if 0 < self.limits.connections_per_address <= self._held[client]:
            return False
        self._held[client] += 1
        return True

    def leave(self, client: str) -> None:
        """One connection of a client less."""
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]

    def complain(self, client: str, what: str) -> None:
        """A line in the log now and then, however many there are to be said."""
        now = time.monotonic()
        if now < self._silent_until:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more bad connections since the last such line)" if self._unsaid else ""
        log.warning("%s: refused: %s%s", client, what, more)
        self._silent_until, self._unsaid = now + QUIET_SECONDS, 0


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's protocol, bounded: a head, and what else is no body or the rest of one that is answered already, in bytes,
    in headers and in seconds.

    The seconds count from the connection, or from the end of the answer before. Refusals are answered (400, 431, or 503 for
    a connection too many) and end the connection.
    """

    def __init__(self, *args: Any, shared: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._shared, self._limits = shared, shared.limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._address: str | None = None  # once it is counted
        self._moved = False  # whether the last slice had some of a body, or a beginning or an end of a request
        self._quiet_bytes = 0  # since then: of a head, of trailers, of empty lines, of a body that nobody reads
        self._too_many = False

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport
        """Count it, or refuse it; from now on its head is waited for."""
        super().connection_made(transport)
        address = client_of(self.client)
        if self._shared.enter(address):
            self._address = address
            self._await_head()
        else:
            most = self._limits.connections_per_address
            self._refuse(503, f"at most {most} connections of one address", "one more")

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        self._cancel()
        if self._address is not None:
            self._shared.leave(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give it to the parser, slice by slice."""
        self._unset_keepalive_if_required()
        for start in range(0, len(data), SLICE):
            if self.transport.is_closing() or self.parser is None:
                return
            part = data[start : start + SLICE]
            self._moved = False
            try:
                self.parser.feed_data(part)
            except httptools.HttpParserUpgrade:
                pass  # answered over HTTP/1.1, as if it had not been asked for
            except httptools.HttpParserError:
                if self._too_many:
                    self._refuse(431, f"at most {self._limits.headers} headers", "more")
                else:
                    self._refuse(400, "HTTP/1.1", "something else")
                return
            self._quiet_bytes = 0 if self._moved else self._quiet_bytes + len(part)
            if self._quiet_bytes > self._limits.head_bytes:
                self._refuse(431, f"at most {self._limits.head_bytes} bytes of headers", "more")

    def on_message_begin(self) -> None:
        """The parser has seen the first byte of a request."""
        self._moved = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser has read a header; `ValueError` at one too many."""
        super().on_header(name, value)
        if len(self.headers) > self._limits.headers:
            self._too_many = True
            raise ValueError("too many headers")  # ends the parser's work

    def on_headers_complete(self) -> None:
        """The head is there, in time."""
        self._cancel()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """The parser has read some of a body."""
        self._moved = not self.cycle.response_complete
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        self._moved = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is sent; the next head is waited for."""
        super().on_response_complete()
        if self.cycle.response_complete:  # else the next head has come already, behind this one's
            self._await_head()

    def _refuse(self, status: int, expected: str, got: str) -> None:
        """Answer, where no other answer is due before, and close."""
        found = problem("request", expected, got)
        self._shared.complain(client_of(self.client), found["message"])
        cycle = self.cycle
        if cycle is None:
            free = True
        elif cycle.response_complete:
            free = not cycle.more_body  # else the answer came before the end of its body, and there is no second one
        else:
            free = cycle.more_body and not cycle.response_started  # else its answer is due
        if free:
            content = orjson.dumps({"errors": [found]})
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\nConnection: close\r\n{'Retry-After: 1' if status == 503 else ''}"
            )
            self.transport.write(head.strip().encode() + b"\r\n\r\n" + content)
        self.transport.close()

    def _await_head(self) -> None:
        self._cancel()
        if not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self._limits.head_seconds, self.transport.close)

    def _cancel(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
