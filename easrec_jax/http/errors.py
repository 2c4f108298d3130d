"""Errors as a user meets them: what was wrong, where, what was expected. No traceback, nothing of the request at length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

MOST = 20  # errors of one answer


class Problem(BaseModel):
    """One mistake: `where` is a field such as `histories[0][3]`."""

    where: str
    expected: str
    got: str
    message: str


class Problems(BaseModel):
    """The body of every answer that is an error."""

    errors: list[Problem]


class Refused(Exception):
    """A request that cannot be answered."""

    def __init__(
        self, where: str, expected: str, got: str, *, status: int = 422, retry_after: int | None = None
    ) -> None:
        super().__init__(where)
        self.problem = problem(where, expected, got)
        self.status = status
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    def response(self) -> JSONResponse:
        """The answer that says so."""
        return JSONResponse({"errors": [self.problem]}, self.status, self.headers)


def problem(where: str, expected: str, got: str) -> dict[str, str]:
    """The JSON of a `Problem`."""
    return {"where": where, "expected": expected, "got": got, "message": f"{where}: expected {expected}, got {got}"}


def shown(value: Any) -> str:
    """A value in a few characters; long ones are cut before they are copied."""
    if isinstance(value, str):
        return repr(value[:60]) + (f"... ({len(value)} characters)" if len(value) > 60 else "")
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, bytes):
        return f"{len(value)} bytes that are not JSON"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)[:60]


def where(location: Sequence[int | str]) -> str:
    """("body", "histories", 0, 3) -> "histories[0][3]"; what is not in the body names its part."""
    text = ""
    for part in location[1:]:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part[:60]}"
    if not text:
        return str(location[0]) if location else "request"
    return text if location[0] == "body" else f"{location[0]} {text}"


def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = []
    for one in error.errors()[:MOST]:
        if one["type"] == "json_invalid":
            found.append(problem(f"body, character {one['loc'][-1]}", "valid JSON", one["ctx"]["error"]))
            return JSONResponse({"errors": found}, 400)
        got = "nothing" if one["type"] == "missing" else shown(one.get("input"))
        expected = {"missing": "a value", "extra_forbidden": "no such field"}.get(one["type"]) or str(one["msg"])
        expected = expected.removeprefix("Input should be ").removeprefix("Value error, ")
        found.append(problem(where(one["loc"]), expected[:1].lower() + expected[1:], got))
    return JSONResponse({"errors": found}, 422)


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return error.response()


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known = {404: "a path of /openapi.json", 405: "a method of /openapi.json", 400: "valid JSON"}
    expected = known.get(error.status_code, "")
    where = "body" if error.status_code == 400 else "path"
    got = str(error.detail) if error.status_code == 400 else f"{request.method} {shown(request.url.path)}"
    return JSONResponse({"errors": [problem(where, expected, got)]}, error.status_code, error.headers)


def _unexpected(_: Request, __: Exception) -> JSONResponse:
    """The server's log has the traceback."""
    return JSONResponse({"errors": [problem("server", "an answer", "an internal error; see the server's log")]}, 500)


HANDLERS: dict[Any, Any] = {
    RequestValidationError: _validation,
    Refused: _refused,
    HTTPException: _http,
    Exception: _unexpected,
}
