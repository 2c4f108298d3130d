"""The HTTP service as an ASGI application: `create_app` puts endpoints, page and what comes before them together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

try:
    import orjson  # noqa: F401  part of the same extra, used below
    from fastapi import FastAPI
    from fastapi.staticfiles import StaticFiles
    from starlette.middleware.cors import CORSMiddleware
except ImportError as error:
    raise ImportError('the service needs FastAPI and more: pip install "easrec_jax[serve]"') from error

from easrec_jax.http.about_routes import PAGE, catalogue_routes, page_routes, probe_routes
from easrec_jax.http.addresses import check_origin
from easrec_jax.http.admission import FREE, Admission
from easrec_jax.http.errors import HANDLERS
from easrec_jax.http.recommend_routes import recommend_routes
from easrec_jax.http.service import Service
from easrec_jax.http.session_routes import no_session_routes, session_routes
from easrec_jax.http.settings import Limits


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
    whether or not it strips it. `budget`, `per_user`: as `Recommender.load` has them. Errors of the folder are raised here
    (`FileNotFoundError`, `ValueError`).
    """
    origins = [check_origin(origin) for origin in cors]
    if root_path and (not root_path.startswith("/") or root_path.endswith("/")):
        raise ValueError(f"root_path: expected a path such as /api, got {root_path!r}")
    service = Service(Path(folder), limits or Limits(), budget, per_user)

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
    app.include_router(recommend_routes(service))
    app.include_router(no_session_routes(service) if service.engine.sessions is None else session_routes(service))
    app.include_router(probe_routes(service))
    app.include_router(catalogue_routes(service))
    app.include_router(page_routes(service))
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
