"""The HTTP service as an ASGI application: `create_app` puts endpoints, page and what comes before them together."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

try:
    import orjson  # noqa: F401  part of the same extra, used below
    from fastapi import FastAPI
    from fastapi.staticfiles import StaticFiles
    from starlette.middleware.cors import CORSMiddleware
    from starlette.routing import Router
except ImportError as error:
    raise ImportError('the service needs FastAPI and more: pip install "easrec_jax[serve]"') from error

from easrec_jax.http.about_routes import PAGE, catalogue_routes, page_routes, probe_routes
from easrec_jax.http.addresses import check_origin
from easrec_jax.http.admission import FREE, Admission
from easrec_jax.http.errors import HANDLERS
from easrec_jax.http.prometheus import Metrics
from easrec_jax.http.recommend_routes import recommend_routes
from easrec_jax.http.service import Service
from easrec_jax.http.session_routes import no_session_routes, session_routes
from easrec_jax.http.settings import Limits
from easrec_jax.http.swap import Served, Swapping


def create_app(
    folder: str | Path,
    limits: Limits | None = None,
    token: str | None = None,
    *,
    allowed_hosts: Sequence[str] = (),
    cors: Sequence[str] = (),
    root_path: str = "",
    budget: float | None = None,
    per_user: bool = False,
) -> Any:
    """The application over the model in `folder`; it listens at once and is ready after its warm-up.

    With a `token`, all but the page, its documents and the probes need `Authorization: Bearer TOKEN`. `allowed_hosts`: Host
    headers that are answered (none: any). `cors`: origins whose pages may ask. `root_path`: the prefix that a proxy adds,
    whether or not it strips it. `budget`, `per_user`: as `Recommender.load` has them. With a token POST /model serves what the folder
    holds by then. Errors of the folder are raised here (`FileNotFoundError`, `ValueError`).
    """
    origins = [check_origin(origin) for origin in cors]
    if root_path and (not root_path.startswith("/") or root_path.endswith("/")):
        raise ValueError(f"root_path: expected a path such as /api, got {root_path!r}")
    limits, metrics = limits or Limits(), Metrics()

    def make() -> Served:
        service = Service(Path(folder), limits, budget, per_user, metrics=metrics)
        return Served(_endpoints(service, token, lambda: swapping.swap()), service)

    swapping = Swapping(make)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        swapping.current.service.announce()
        await swapping.current.service.start()
        yield
        await swapping.current.service.stop()

    gate = {"limits": limits, "token": token, "hosts": allowed_hosts, "root_path": root_path}
    app: Any = Admission(swapping, metrics=metrics, **gate)
    if origins:
        app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After", "Server-Timing"],
        )
    return Router(redirect_slashes=False, default=app, lifespan=lifespan)


def _endpoints(service: Service, token: str | None, swap: Callable[[], Awaitable[dict]]) -> FastAPI:
    """All that one model answers."""
    app: Any = FastAPI(
        title="easrec_jax",
        summary="Next items for histories of items",
        docs_url=None,
        redoc_url=None,
        servers=[{"url": "./"}],  # where this document is, whatever the prefix
        exception_handlers=HANDLERS,
    )
    app.include_router(recommend_routes(service))
    app.include_router(no_session_routes(service) if service.engine.sessions is None else session_routes(service))
    app.include_router(probe_routes(service))
    app.include_router(catalogue_routes(service, swap if token is not None else None))
    app.include_router(page_routes(service))
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.mount("/static-offline-docs", StaticFiles(packages=[("fastapi_offline", "static")]), name="docs")
    if token is not None:
        _announce_token(app)
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
