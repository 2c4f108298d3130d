"""The HTTP service: endpoints, from a request's ids to jobs for the device and back. `create_app` is an ASGI application."""

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

try:
    import orjson
    from fastapi import APIRouter, FastAPI, Query, Request, Response
    from fastapi.openapi.docs import get_swagger_ui_html
    from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
    from fastapi.routing import APIRoute
    from fastapi.staticfiles import StaticFiles
    from starlette.middleware.cors import CORSMiddleware
except ImportError as error:
    raise ImportError('the service needs FastAPI and more: pip install "easrec_jax[serve]"') from error

from easrec_jax.http import schemas
from easrec_jax.http.addresses import check_origin, client_of
from easrec_jax.http.admission import FREE, RETRY_SECONDS, Admission
from easrec_jax.http.engine import EndSession, Recommend, Score, Session, Similar
from easrec_jax.http.errors import HANDLERS, Problems, Refused, shown
from easrec_jax.http.prometheus import CONTENT_TYPE
from easrec_jax.http.service import Service, popular
from easrec_jax.http.settings import Limits
from easrec_jax.serving.ids import is_lost

PAGE = Path(__file__).parent / "page"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-ancestors 'none'"
)
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problems, "description": description}
    for status, description in {
        400: "the body is not JSON", 401: "the token is missing or wrong", 408: "the body did not arrive in time",
        413: "the body is too long", 415: "the body is not announced as JSON",
        421: "the Host is none that the service answers to",
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


def create_app(
    folder: str | Path,
    limits: Limits | None = None,
    token: str | None = None,
    *,
    allowed_hosts: Sequence[str] = (),
    cors: Sequence[str] = (),
    root_path: str = "",
) -> Any:
    """The application over the model in `folder`; it listens at once and is ready after its warm-up.

    With a `token`, all but the page, its documents and the probes need `Authorization: Bearer TOKEN`. `allowed_hosts`: Host
    headers that are answered (none: any). `cors`: origins whose pages may ask. `root_path`: the prefix that a proxy adds,
    whether or not it strips it. Errors of the folder are raised here (`FileNotFoundError`, `ValueError`).
    """
    origins = [check_origin(origin) for origin in cors]
    if root_path and (not root_path.startswith("/") or root_path.endswith("/")):
        raise ValueError(f"root_path: expected a path such as /api, got {root_path!r}")
    service = Service(Path(folder), limits or Limits())

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app: Any = FastAPI(
        title="easrec_jax",
        summary="Next items for histories of items",
        docs_url=None,
        redoc_url=None,
        servers=[{"url": "./"}],  # where this document is, whatever the prefix
        lifespan=lifespan,
        exception_handlers=HANDLERS,
    )
    app.include_router(_recommending(service))
    app.include_router(_no_sessions() if service.engine.sessions is None else _sessions(service))
    app.include_router(_probes(service))
    app.include_router(_catalogue(service))
    app.include_router(_pages(service))
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.mount("/static-offline-docs", StaticFiles(packages=[("fastapi_offline", "static")]), name="docs")
    if token is not None:
        _announce_token(app)
    gate = {"limits": service.limits, "token": token, "hosts": allowed_hosts, "root_path": root_path}
    app.add_middleware(Admission, metrics=service.metrics, **gate)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After", "Server-Timing"],
        )
    return app


def _announce_token(app: Any) -> None:
    """The token in the OpenAPI document: its page has a button for it."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        schemes = {"bearer": {"type": "http", "scheme": "bearer", "description": "the service's token (EASREC_TOKEN)"}}
        document["components"]["securitySchemes"] = schemes
        document["security"] = [{"bearer": []}]
        for path in FREE:
            document["paths"][path]["get"]["security"] = []
        return document

    app.openapi = openapi


def _recommending(service: Service) -> APIRouter:
    router = APIRouter(route_class=JsonRoute, responses=ERRORS, tags=["recommendations"])
    bodies = schemas.requests(service.limits, len(service.recommender.item_ids))

    @router.post("/recommend", response_model=schemas.Recommended, summary="The best next items of histories")
    async def recommend(body: bodies.recommend):  # type: ignore[name-defined]
        """The k best next items of each history of item ids, in time order."""
        warnings: list[dict] = []
        encoded = [
            service.encode(history, f"histories[{n}]", body.on_unknown, warnings)
            for n, history in enumerate(body.histories)
        ]
        asked = [
            n for n, (known, unknown) in enumerate(encoded) if not is_lost(len(known), len(unknown), body.on_unknown)
        ]
        job = Recommend([encoded[n][0] for n in asked], service.selection(body, warnings))
        best = await service.submit(job, len(asked))
        warnings += [popular(f"histories[{n}]") for n, found in zip(asked, best, strict=True) if found.popular]
        results: list[list] = [[] for _ in encoded]
        for number, found in zip(asked, best, strict=True):
            results[number] = service.items(found, body.titles)
        return answer({"results": results, "unknown": [unknown for _, unknown in encoded], "warnings": warnings})

    @router.post("/score", response_model=schemas.Scored, summary="Scores of candidates, for re-ranking")
    async def score(body: bodies.score):  # type: ignore[name-defined]
        """The score of each candidate as the next item of one history, for re-ranking."""
        warnings: list[dict] = []
        history, unknown = service.encode(body.history, "history", body.on_unknown, warnings)
        if body.on_unknown == "error":
            service.known(body.candidates, "candidates")
        candidates = service.recommender.item_ids.encode(body.candidates)
        asked = not is_lost(len(history), len(unknown), body.on_unknown)
        found = (await service.submit(Score(history, candidates))).tolist() if asked else [None] * len(candidates)
        if asked and not len(history):
            warnings.append(popular("history"))
        scores = [value if inner else None for value, inner in zip(found, candidates.tolist(), strict=True)]
        unknown += [item for item, inner in zip(body.candidates, candidates.tolist(), strict=True) if not inner]
        return answer({"scores": scores, "unknown": unknown, "warnings": warnings})

    @router.post("/similar", response_model=schemas.Similars, summary="Items like these")
    async def similar(body: bodies.similar):  # type: ignore[name-defined]
        """The items nearest to each item, by the cosine of their vectors."""
        items = service.known(body.items, "items")
        best = await service.submit(Similar(items, body.k), len(items))
        return answer({"results": [service.items(found, body.titles) for found in best]})

    return router


def _sessions(service: Service) -> APIRouter:
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


def _no_sessions() -> APIRouter:
    router = APIRouter(tags=["sessions"], responses=NO_SESSION)

    @router.api_route("/sessions", methods=["POST"], status_code=501, summary="No sessions with this model")
    @router.api_route("/sessions/{rest:path}", methods=["POST", "DELETE"], status_code=501, include_in_schema=False)
    async def refuse():
        """This model's attention is bidirectional and cannot stream."""
        raise Refused("path", "/recommend with whole histories", "a model whose attention cannot stream", status=501)

    return router


def _probes(service: Service) -> APIRouter:
    """What watches over the service asks these."""
    router = APIRouter(tags=["the service"])
    probe: dict[str, Any] = {"response_model": schemas.State, "responses": {503: {"model": schemas.State}}}

    @router.get("/health", summary="Is it alive?", **probe)
    async def health():
        """Whether the process can still answer."""
        return JSONResponse({"status": "ok"}) if service.batcher.alive else JSONResponse({"status": "dead"}, 503)

    @router.get("/ready", summary="Does it answer yet?", **probe)
    async def ready():
        """Whether requests are answered; how many programs are compiled, of those that full speed needs."""
        state = {"compiled": service.compiled, "programs": service.programs}
        if service.batcher.ready.is_set():
            return JSONResponse({"status": "ready", **state})
        return JSONResponse({"status": "warming up", **state}, 503, {"Retry-After": str(RETRY_SECONDS)})

    plain: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}, 401: ERRORS[401]}

    @router.get("/metrics", summary="Figures for Prometheus", response_class=Response, responses=plain)
    async def metrics():
        """Figures for Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    return router


def _catalogue(service: Service) -> APIRouter:
    """Of what it serves: the items and the model."""
    router = APIRouter(tags=["the service"])
    recommender = service.recommender
    order = recommender.item_ids
    refusals: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (401, 422, 503)}

    @router.get("/items", summary="Find items by title or id", response_model=schemas.Found, responses=refusals)
    async def items(query: Annotated[str, Query(max_length=200)] = "", limit: Annotated[int, Query(ge=1, le=100)] = 20):
        """Items whose title or id contains a text, for search-as-you-type; without a text the popular ones."""
        found = service.titles.find(query, limit)
        counts = recommender.popularity[order.encode(found)].tolist()
        rows = [
            {"item": item, "title": recommender.titles.get(item), "interactions": count}
            for item, count in zip(found, counts, strict=True)
        ]
        return answer({"items": rows})

    @router.get("/model", summary="What is served", responses={n: ERRORS[n] for n in (401, 503)})
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
            "titles": len(recommender.titles),
            "weights_sha256": recommender.fingerprint,
            "limits": limits,
        }

    return router


def _pages(service: Service) -> APIRouter:
    """What a browser shows."""
    router = APIRouter(tags=["the service"])

    @router.get(
        "/architecture.svg",
        summary="The network as a picture",
        response_class=Response,
        responses={200: {"content": {"image/svg+xml": {}}}, 401: ERRORS[401]},
    )
    async def architecture():
        """The network as a picture."""
        return Response(service.picture, media_type="image/svg+xml")

    @router.get("/", include_in_schema=False)
    async def page():
        return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": PAGE_POLICY})

    @router.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(  # relative, so that it works behind any prefix
            openapi_url="openapi.json",
            title="easrec_jax: the API",
            swagger_js_url="static-offline-docs/swagger-ui-bundle.js",
            swagger_css_url="static-offline-docs/swagger-ui.css",
            swagger_favicon_url="data:,",
        )

    return router
