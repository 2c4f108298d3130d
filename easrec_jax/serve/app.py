"""The HTTP service: endpoints, from a request's ids to jobs for the device and back. `create_app` is an ASGI application."""

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

try:
    import orjson
    from fastapi import APIRouter, Query, Request, Response
    from fastapi.responses import FileResponse, JSONResponse
    from fastapi.routing import APIRoute
    from fastapi.staticfiles import StaticFiles
    from fastapi_offline import FastAPIOffline
except ImportError as error:
    raise ImportError('the service needs FastAPI and more: pip install "easrec_jax[serve]"') from error

from easrec_jax.serve import schemas
from easrec_jax.serve.engine import EndSession, Recommend, Score, Session, Similar
from easrec_jax.serve.errors import HANDLERS, Problems, Refused, shown
from easrec_jax.serve.gate import RETRY_SECONDS, Gate
from easrec_jax.serve.metrics import CONTENT_TYPE
from easrec_jax.serve.service import Service, popular
from easrec_jax.serve.settings import Limits

PAGE = Path(__file__).parent / "page"
PAGE_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'"
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problems, "description": description}
    for status, description in {
        400: "the body is not JSON", 401: "the token is missing or wrong", 408: "the body did not arrive in time",
        413: "the body is too long", 415: "the body is not announced as JSON",
        422: "a field is wrong; the answer says which, what was expected and what came",
        503: "overloaded or warming up; Retry-After says when to come again",
    }.items()
}  # fmt: skip
NO_SESSION: dict[int | str, dict[str, Any]] = {
    404: {"model": Problems, "description": "no such session; start one with the user's history"},
    501: {"model": Problems, "description": "the model's attention cannot stream; /recommend takes whole histories"},
}


class JsonRequest(Request):
    """A request whose body is strict JSON: no NaN, no lone surrogates, bounded nesting."""

    async def json(self) -> Any:
        return orjson.loads(await self.body())


class JsonRoute(APIRoute):
    """Routes that read JSON, announced as such."""

    def get_route_handler(self) -> Callable:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if request.method == "POST" and kind != "application/json":
                raise Refused("header Content-Type", "application/json", shown(kind) if kind else "none", status=415)
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def answer(content: Any, status: int = 200) -> Response:
    """JSON, with float32 scores in their shortest form."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def create_app(folder: str | Path, limits: Limits | None = None, token: str | None = None) -> Any:
    """The application over the model in `folder`; it listens at once and is ready after its warm-up.

    With a `token`, all but the page, its documents and the probes need `Authorization: Bearer TOKEN`. Errors of the
    folder are raised here (`FileNotFoundError`, `ValueError`).
    """
    service = Service(Path(folder), limits or Limits())

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await service.batcher.stop()

    app: Any = FastAPIOffline(
        title="easrec_jax",
        summary="Next items for histories of items",
        docs_url="/docs",
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers=HANDLERS,
    )
    app.include_router(_recommending(service))
    if service.engine.sessions is None:
        app.include_router(_no_sessions())
    else:
        app.include_router(_sessions(service))
    app.include_router(_about(service))
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_middleware(Gate, limits=service.limits, token=token, metrics=service.metrics)
    return app


def _recommending(service: Service) -> APIRouter:
    router = APIRouter(route_class=JsonRoute, responses=ERRORS)
    bodies = schemas.requests(service.limits, len(service.recommender.item_ids))

    @router.post("/recommend", response_model=schemas.Recommended)
    async def recommend(body: bodies.recommend):  # type: ignore[name-defined]
        """The k best next items of each history of item ids, in time order."""
        warnings: list[dict] = []
        encoded = [
            service.encode(history, f"histories[{n}]", body.on_unknown, warnings)
            for n, history in enumerate(body.histories)
        ]
        job = Recommend([known for known, _ in encoded], service.choice(body))
        best = await service.submit(job, len(encoded))
        warnings += [popular(f"histories[{n}]") for n, found in enumerate(best) if found.popular]
        results = [service.items(found, body.titles) for found in best]
        return answer({"results": results, "unknown": [unknown for _, unknown in encoded], "warnings": warnings})

    @router.post("/score", response_model=schemas.Scored)
    async def score(body: bodies.score):  # type: ignore[name-defined]
        """The score of each candidate as the next item of one history, for re-ranking."""
        warnings: list[dict] = []
        history, unknown = service.encode(body.history, "history", body.on_unknown, warnings)
        if body.on_unknown == "error":
            service.known(body.candidates, "candidates")
        candidates = service.recommender.item_ids.encode(body.candidates)
        found = await service.submit(Score(history, candidates))
        if not len(history):
            warnings.append(popular("history"))
        scores = [value if inner else None for value, inner in zip(found, candidates.tolist(), strict=True)]
        unknown += [item for item, inner in zip(body.candidates, candidates.tolist(), strict=True) if not inner]
        return answer({"scores": scores, "unknown": unknown, "warnings": warnings})

    @router.post("/similar", response_model=schemas.Similars)
    async def similar(body: bodies.similar):  # type: ignore[name-defined]
        """The items nearest to each item, by the cosine of their vectors."""
        items = service.known(body.items, "items")
        best = await service.submit(Similar(items, body.k), len(items))
        return answer({"results": [service.items(found, body.titles) for found in best]})

    return router


def _sessions(service: Service) -> APIRouter:
    router = APIRouter(prefix="/sessions", route_class=JsonRoute, responses=ERRORS | NO_SESSION, tags=["sessions"])
    bodies = schemas.requests(service.limits, len(service.recommender.item_ids))

    async def run(name: str, items: Sequence[str], where: str, body: Any, *, fresh: bool = False) -> Response:
        warnings: list[dict] = []
        policy = getattr(body, "on_unknown", "skip")
        events, unknown = service.encode(items, where, "popular" if policy == "skip" else policy, warnings)
        choice = None if body.k is None else service.choice(body)
        count, best = await service.submit(Session(name, events, choice, fresh))
        if best is not None and best.popular:
            warnings.append(popular("session"))
        results = None if best is None else service.items(best, body.titles)
        content = {"session": name, "events": count, "results": results, "unknown": unknown, "warnings": warnings}
        return answer(content, 201 if fresh else 200)

    @router.post("", status_code=201, response_model=schemas.SessionAnswer)
    async def start(body: bodies.start):  # type: ignore[name-defined]
        """Keep a user's state in memory, after a history that may be empty: each further event is one small step.

        Unknown items are left out. A session unused for long is forgotten, and the oldest gives way when memory is full.
        """
        return await run(secrets.token_urlsafe(16), body.history, "history", body, fresh=True)

    @router.post("/{session}/events", response_model=schemas.SessionAnswer)
    async def events(session: str, body: bodies.events):  # type: ignore[name-defined]
        """Add events in time order; with a k, answer with the best items after them. Unknown items change nothing."""
        return await run(session, body.items, "items", body)

    @router.post("/{session}/recommend", response_model=schemas.SessionAnswer)
    async def session_recommend(session: str, body: bodies.session_recommend):  # type: ignore[name-defined]
        """The best items of a session; `exclude_seen` leaves out the events that it still counts."""
        return await run(session, [], "items", body)

    @router.delete("/{session}", status_code=204)
    async def end(session: str):
        """Forget a session."""
        await service.submit(EndSession(session))

    return router


def _no_sessions() -> APIRouter:
    router = APIRouter(tags=["sessions"], responses=NO_SESSION)

    @router.api_route("/sessions", methods=["POST"], status_code=501)
    @router.api_route("/sessions/{rest:path}", methods=["POST", "DELETE"], status_code=501, include_in_schema=False)
    async def refuse():
        """This model's attention is bidirectional and cannot stream."""
        raise Refused("path", "/recommend with whole histories", "a model whose attention cannot stream", status=501)

    return router


def _about(service: Service) -> APIRouter:
    router = APIRouter(tags=["about"])
    recommender = service.recommender
    order = recommender.item_ids

    @router.get("/health", response_model=schemas.State, responses={503: {"model": schemas.State}})
    async def health():
        """Whether the process can still answer."""
        return JSONResponse({"status": "ok"}) if service.batcher.alive else JSONResponse({"status": "dead"}, 503)

    @router.get("/ready", response_model=schemas.State, responses={503: {"model": schemas.State}})
    async def ready():
        """Whether the warm-up is over."""
        if service.batcher.ready.is_set():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "warming up"}, 503, {"Retry-After": str(RETRY_SECONDS)})

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, 401: ERRORS[401]})
    async def metrics():
        """Figures for Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    @router.get("/items", response_model=schemas.Found, responses={n: ERRORS[n] for n in (401, 422, 503)})
    async def items(query: Annotated[str, Query(max_length=200)] = "", limit: Annotated[int, Query(ge=1, le=100)] = 20):
        """Items whose title or id contains a text, for search-as-you-type; without a text the popular ones."""
        found = service.titles.find(query, limit)
        counts = recommender.popularity[order.encode(found)].tolist()
        rows = [
            {"item": item, "title": recommender.titles.get(item), "interactions": count}
            for item, count in zip(found, counts, strict=True)
        ]
        return answer({"items": rows})

    @router.get("/model", responses={n: ERRORS[n] for n in (401, 503)})
    async def model() -> dict[str, Any]:
        """What is served: sizes, the number of items, the checksum of the weights, and the limits of requests."""
        limits = {
            "k": min(service.limits.k, len(order)),
            "history": service.limits.history,
            "histories": service.limits.histories,
        }
        return {
            "architecture": recommender.architecture.to_json(),
            "description": recommender.architecture.describe(),
            "items": len(order),
            "weights_sha256": recommender.fingerprint,
            "limits": limits,
        }

    @router.get(
        "/architecture.svg",
        response_class=Response,
        responses={200: {"content": {"image/svg+xml": {}}}, 401: ERRORS[401]},
    )
    async def architecture():
        """The network as a picture."""
        return Response(service.picture, media_type="image/svg+xml")

    @router.get("/", include_in_schema=False)
    async def page():
        return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": PAGE_POLICY})

    return router
