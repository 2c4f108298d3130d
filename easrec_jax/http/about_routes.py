"""The endpoints that say what is served and how it is, and the page that shows it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from easrec_jax.http import schemas
from easrec_jax.http.admission import RETRY_SECONDS
from easrec_jax.http.errors import Problems, Refused
from easrec_jax.http.json_routes import ERRORS, answer
from easrec_jax.http.prometheus import CONTENT_TYPE
from easrec_jax.http.service import Service
from easrec_jax.runs.slider import SCRIPT, sizes_svg

PAGE = Path(__file__).parent / "page"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-ancestors 'none'"
)


def probe_routes(service: Service) -> APIRouter:
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


def catalogue_routes(service: Service, swap: Callable[[], Awaitable[dict]] | None) -> APIRouter:
    """Of what it serves: the items and the model; `swap` serves the next one (None: who may ask for that is not known)."""
    router = APIRouter(tags=["the service"])
    refusals: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (401, 422, 503)}

    @router.get("/items", summary="Find items by title or id", response_model=schemas.Found, responses=refusals)
    async def items(query: Annotated[str, Query(max_length=200)] = "", limit: Annotated[int, Query(ge=1, le=100)] = 20):
        """Items whose title or id contains a text, for search-as-you-type; without a text the popular ones."""
        found, recommender = service.titles.find(query, limit), service.recommender
        counts = recommender.popularity[recommender.item_ids.encode(found)].tolist()
        rows = [
            {"item": item, "title": recommender.titles.get(item), "interactions": count}
            for item, count in zip(found, counts, strict=True)
        ]
        return answer({"items": rows})

    @router.get("/model", summary="What is served", responses={n: ERRORS[n] for n in (401, 503)})
    async def model() -> dict[str, Any]:
        """What is served: the network, the number of items, the checksum of the weights, and the limits of requests.

        Of an elastic model: the network's cost (FLOPs over the largest one's), the budget that chose it, the number of sizes
        and the place of the one served among them, from 0 (null: the largest, where a cheaper one is as good). Where a router
        answers each user by a size, `per_user` says how often it chooses which, and for which history lengths.
        """
        recommender = service.recommender
        num_items = len(recommender.item_ids)
        limits = {
            "k": min(service.limits.k, num_items),
            "history": service.limits.history,
            "histories": service.limits.histories,
        }
        return {
            "architecture": recommender.architecture.to_json(),
            "description": recommender.architecture.describe(),
            "items": num_items,
            "titles": len(recommender.titles),
            "cost": recommender.cost,
            "budget": service.budget,
            "sizes": len(recommender.front),
            "size": next((n for n, size in enumerate(recommender.front) if size.cost == recommender.cost), None),
            "per_user": recommender.results["per_user"] if recommender.routed else None,
            "weights_sha256": recommender.fingerprint,
            "limits": limits,
        }

    swaps: dict[int | str, dict[str, Any]] = {403: {"model": Problems}, 409: {"model": Problems}, 401: ERRORS[401]}

    @router.post(
        "/model", summary="Serve what the model's folder holds now", response_model=schemas.Swapped, responses=swaps
    )
    async def next_model():
        """Read the model's folder again, and answer from the model there as soon as it is warmed up: the answer to this
        request. Until then the one before answers; sessions go on, with their events. Needs a service with a token."""
        if swap is None:
            raise Refused("server", "a service with a token (EASREC_TOKEN)", "one without", status=403)
        return await swap()

    return router


def page_routes(service: Service) -> APIRouter:
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

    @router.get(
        "/sizes.svg",
        summary="The sizes of an elastic model as a picture",
        response_class=Response,
        responses={200: {"content": {"image/svg+xml": {}}}, 401: ERRORS[401], 404: {"model": Problems}},
    )
    async def sizes():
        """Validation NDCG@10 over the cost of a request, a point a size."""
        if not service.recommender.front:
            raise Refused("path sizes.svg", "an elastic model", "a model of one size", status=404)
        return Response(sizes_svg([size.entry for size in service.recommender.front]), media_type="image/svg+xml")

    @router.get("/page/sizes.js", include_in_schema=False)
    async def script():
        return Response(SCRIPT, media_type="text/javascript")

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
