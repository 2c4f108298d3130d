"""One model gives way to another between two requests: nobody is refused, no answer is of both, no session is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from easrec_jax.http.admission import RETRY_SECONDS
from easrec_jax.http.errors import Refused
from easrec_jax.http.service import Service, settle

log = logging.getLogger("easrec_jax.http")

FREED_SECONDS = 1.0  # after a swap, when no request holds the model before any longer


class Route(NamedTuple):
    """What the metrics call a request."""

    path: str


class Served(NamedTuple):
    """A model's endpoints, and what stands behind them."""

    app: ASGIApp
    service: Service


class Swapping:
    """The ASGI application of the model that is served now; `swap` puts the one that `make` reads in its place.

    A request belongs to the model that it began with. The next model is read and warmed up beside the one that answers; then new
    requests wait until those in flight have their answers, the sessions move over, and the new model answers. That is a
    fraction of a second, in which requests wait and none is refused. To be used behind `Admission`, which has read the bodies.
    """

    def __init__(self, make: Callable[[], Served]) -> None:
        self._make = make
        self.current = make()
        self._open, self._fewer = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._in_flight = 0  # requests without an answer yet
        self._swapping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while not self._open.is_set():
            await self._open.wait()
        self._in_flight += 1
        answered = False

        def leave() -> None:
            nonlocal answered
            if not answered:
                answered = True
                self._in_flight -= 1
                self._fewer.set()

        async def told(message: Message) -> None:
            leave()  # whoever reads slowly holds nobody up
            await send(message)

        inner = {
            **scope
        }  # the server keeps a request's scope until the connection's next one: no model shall hang on it
        try:
            await self.current.app(inner, receive, told)
        finally:
            leave()
            scope["route"] = Route(getattr(inner.get("route"), "path", "other"))

    async def swap(self) -> dict:
        """Serve what the model's folder holds now; to be called by a request in flight. What was replaced by what.

        Raises `Refused` where a swap is under way, or the folder's model cannot be served: then nothing has changed.
        """
        if self._swapping:
            expected = "one swap at a time"
            raise Refused("server", expected, "another one, which goes on", status=409, retry_after=RETRY_SECONDS)
        self._swapping = True
        try:
            old, new = self.current, await self._next()
            rows = new.service.rows_of(old.service)
            await self._replace(old, new, rows)
        finally:
            self._swapping = False
        found = {"weights_sha256": new.service.recommender.fingerprint, "before": old.service.recommender.fingerprint}
        old.service.release()
        asyncio.get_running_loop().call_later(FREED_SECONDS, settle)
        log.info("now serving %s", found["weights_sha256"])
        return found | {"sessions": len(new.service.engine.sessions or ())}

    async def _next(self) -> Served:
        """The folder's model, warm."""
        try:
            new = await asyncio.to_thread(self._make)
            self.current.service.check_successor(new.service)
        except (OSError, ValueError) as error:
            raise Refused("the model's folder", "a model that can be served", str(error), status=409) from None
        try:
            await new.service.start()
            await new.service.warmed()
        except BaseException:
            await new.service.stop()
            raise
        return new

    async def _replace(self, old: Served, new: Served, rows: np.ndarray) -> None:
        self._open.clear()
        try:
            while self._in_flight > 1:  # all but the one that asked for it
                self._fewer.clear()
                await self._fewer.wait()
            await old.service.stop()
            new.service.take_over(old.service, rows)
            self.current = new
        finally:
            self._open.set()
