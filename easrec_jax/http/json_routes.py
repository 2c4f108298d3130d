"""What all endpoints share: requests and answers in strict JSON, and the errors that may come instead."""

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from easrec_jax.http.errors import Problems, Refused, shown

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


class JsonRequest(Request):
    """A request whose body is strict JSON: no NaN, no lone surrogates, bounded nesting."""

    async def json(self) -> Any:
        """The body, read by orjson."""
        return orjson.loads(await self.body())


class JsonRoute(APIRoute):
    """Routes that read JSON, announced as such."""

    def get_route_handler(self) -> Callable:
        """FastAPI's handler, behind a look at the Content-Type."""
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
