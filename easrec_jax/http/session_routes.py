"""The endpoints of sessions: users whose state stays in memory between two events."""

import secrets
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from easrec_jax.http import schemas
from easrec_jax.http.addresses import client_of
from easrec_jax.http.engine import EndSession, Session
from easrec_jax.http.errors import Problems, Refused
from easrec_jax.http.json_routes import ERRORS, JsonRoute, answer
from easrec_jax.http.service import Service, popular

NO_SESSION: dict[int | str, dict[str, Any]] = {
    404: {"model": Problems, "description": "no such session; start one with the user's history"},
    501: {
        "model": Problems,
        "description": "the model's attention cannot stream, or it reads times; /recommend takes whole histories",
    },
}


def session_routes(service: Service) -> APIRouter:
    """Start a session, add events, ask, end it."""
    router = APIRouter(prefix="/sessions", route_class=JsonRoute, responses=ERRORS | NO_SESSION, tags=["sessions"])
    bodies = schemas.requests(service.limits, len(service.recommender.item_ids))

    async def run(name: str, items: Sequence[str], where: str, body: Any, client: str | None = None) -> Response:
        """Of a new session, if there is a `client` who starts it."""
        warnings: list[dict] = []
        policy = getattr(body, "on_unknown", "skip")
        events, unknown = service.encode(items, where, "popular" if policy == "skip" else policy, warnings)
        choice = None if body.k is None else service.selection(body, warnings)
        count, best = await service.submit(Session(name, events, choice, client is not None, client or ""))
        if best is not None and best.popular:
            warnings.append(popular("session"))
        results = None if best is None else service.items(best, body.titles)
        content = {"session": name, "events": count, "results": results, "unknown": unknown, "warnings": warnings}
        return answer(content, 200 if client is None else 201)

    @router.post("", status_code=201, response_model=schemas.SessionAnswer, summary="Start a session")
    async def start(request: Request, body: bodies.start):  # type: ignore[name-defined]
        """Keep a user's state in memory, after a history that may be empty: each further event is one small step.

        Unknown items are left out. A session unused for long is forgotten, and the oldest gives way when memory is full.
        """
        return await run(secrets.token_urlsafe(16), body.history, "history", body, client_of(request.client))

    @router.post("/{session}/events", response_model=schemas.SessionAnswer, summary="Add events to a session")
    async def events(session: str, body: bodies.events):  # type: ignore[name-defined]
        """Add events in time order; with a k, answer with the best items after them. Unknown items change nothing."""
        return await run(session, body.items, "items", body)

    @router.post("/{session}/recommend", response_model=schemas.SessionAnswer, summary="The best items of a session")
    async def session_recommend(session: str, body: bodies.session_recommend):  # type: ignore[name-defined]
        """The best items of a session; `exclude_seen` leaves out the events that it still counts."""
        return await run(session, [], "items", body)

    @router.delete("/{session}", status_code=204, summary="End a session")
    async def end(session: str):
        """Forget a session."""
        await service.submit(EndSession(session))

    return router


def no_session_routes(service: Service) -> APIRouter:
    """The same paths, of a model that has no sessions: each is refused."""
    reads_times = service.recommender.architecture.reads_times
    why = "that reads times, which sessions do not keep" if reads_times else "whose attention cannot stream"
    router = APIRouter(tags=["sessions"], responses=NO_SESSION)

    @router.api_route("/sessions", methods=["POST"], status_code=501, summary="No sessions with this model")
    @router.api_route("/sessions/{rest:path}", methods=["POST", "DELETE"], status_code=501, include_in_schema=False)
    async def refuse():
        """This model's attention is bidirectional and cannot stream, or it reads times, which sessions do not keep."""
        raise Refused("path", "/recommend with whole histories", f"a model {why}", status=501)

    return router
