"""Requests and answers as the OpenAPI document shows them; the bounds come from `Limits`.

Ids are text, as everywhere in the library: a whole number is read as its text, so `7`, `7.0` and `"7"` are the same id.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator, create_model
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from easrec_jax.data.clock import EARLIEST, LATEST
from easrec_jax.http.settings import Limits

SUMMARY = (
    "Unknown ids: 'skip' reports them and uses the rest, a history of nothing else gets an empty answer; 'error' refuses the "
    "request; 'popular' is 'skip', but answers "
)


class _Strict(BaseModel):
    """Misspelt fields are errors."""

    model_config = ConfigDict(extra="forbid")


class Item(BaseModel):
    item: str
    score: float
    title: str | None = Field(None, description="present if the request asked for titles and there is one")


class Warned(BaseModel):
    where: str
    message: str


class Recommended(BaseModel):
    results: list[list[Item]] = Field(description="the best items of each history, best first")
    unknown: list[list[str]] = Field(description="the ids of each history that the model does not know")
    warnings: list[Warned]


class Scored(BaseModel):
    scores: list[float | None] = Field(description="of each candidate; null: the model does not know it")
    unknown: list[str]
    warnings: list[Warned]


class Similars(BaseModel):
    results: list[list[Item]] = Field(description="the nearest items of each item; scores are cosines")


class SessionAnswer(BaseModel):
    session: str
    events: int = Field(description="how many events count: at most N; a full history goes on from its latest N/2")
    results: list[Item] | None = Field(description="the best items now, if the request had a k")
    unknown: list[str]
    warnings: list[Warned]


class Found(BaseModel):
    items: list[dict[str, Any]] = Field(description="item, title (may be null), interactions; popular ones first")


class Swapped(BaseModel):
    weights_sha256: str = Field(description="checksum of the weights that answer now")
    before: str = Field(description="checksum of those that answered before")
    sessions: int = Field(description="how many sessions went over")


class State(BaseModel):
    status: str = Field(description="ready: requests are answered, at full speed once all programs are compiled")
    compiled: int = Field(0, description="programs compiled so far")
    programs: int = Field(0, description="all of them")


class Latest(list[str]):
    """The latest events of a history that was longer by `left_out`."""

    left_out = 0


class Requests(NamedTuple):
    """The request bodies of a service with certain limits."""

    recommend: Any
    score: Any
    similar: Any
    start: Any
    events: Any
    session_recommend: Any
    k: int  # the largest


def _whole(number: Any) -> Any:
    """JSON knows one kind of number: 10.0 is an integer."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _ids(ids: Any, handler: Callable[[Any], list[str]]) -> list[str]:
    """Whole numbers with a decimal point are those numbers; others are no ids, nor are those a double cannot hold."""
    if type(ids) is list and float in set(map(type, ids)):
        for place, item in enumerate(ids):
            if type(item) is float and not (item.is_integer() and abs(item) < 2**53):
                text = "Input should be text or whole numbers below 2**53, number {place} is {item}"
                raise PydanticCustomError("item_id", text, {"place": place, "item": repr(item)})
        ids = [int(item) if type(item) is float else item for item in ids]
    return handler(ids)


_Time: Any = Annotated[float, Field(ge=EARLIEST, le=LATEST)]


def _times_fields(kind: Any, whose: str) -> dict[str, Any]:
    """The fields of a request to a model that reads times."""
    told = "seconds since 1970, of a model that reads times: "
    asked = told + "when it is asked for; null: what is usual in the training data"
    return {
        "now": (_Time | None, Field(None, description=asked)),
        "times": (kind | None, Field(None, description=told + whose)),
    }


def requests(limits: Limits, num_items: int) -> Requests:
    """Body models of a service over `num_items` items."""
    most_k = min(limits.k, num_items)
    text = {"type": "string", "maxLength": limits.id_length}
    item: Any = Annotated[
        str,
        Field(coerce_numbers_to_str=True, max_length=limits.id_length),
        WithJsonSchema({"anyOf": [text, {"type": "integer"}], "title": "item id"}),
    ]

    def many(inner: Any, most: int, least: int = 0) -> Any:
        return Annotated[list[inner], Field(min_length=least, max_length=most, fail_fast=True), WrapValidator(_ids)]

    def latest(ids: Any, handler: Callable[[Any], list[str]]) -> list[str]:
        """The events that count, before anything else is done with them."""
        if type(ids) is not list or len(ids) <= limits.history:
            return _ids(ids, handler)
        cut = Latest(_ids(ids[-limits.history :], handler))
        cut.left_out = len(ids) - limits.history
        return cut

    told = f"in time order; of more than {limits.history} events the latest are read"
    history = Annotated[list[item], Field(fail_fast=True, description=told), WrapValidator(latest)]
    histories = Annotated[list[history], Field(min_length=1, max_length=limits.histories, fail_fast=True)]
    k: Any = Annotated[int, Field(ge=1, le=most_k, strict=True), BeforeValidator(_whole)]
    policy = Literal["skip", "error", "popular"]
    exclude = (bool, Field(True, strict=True, description="leave out the items of the history"))
    allow = (many(item, limits.candidates) | None, Field(None, description="recommend none but these items"))
    deny = (many(item, limits.candidates) | None, Field(None, description="never recommend these items"))
    titles = (bool, Field(False, strict=True, description="add each item's title"))
    choice: dict[str, Any] = {"exclude_seen": exclude, "allow": allow, "deny": deny, "titles": titles}
    unknown = (policy, Field("skip", description=SUMMARY + "a history without any known id by popularity"))
    default_k = (k, min(10, most_k))
    optional_k = (k | None, Field(None, description="answer with the k best items too"))

    def model(name: str, **fields: Any) -> Any:
        return create_model(name, __base__=_Strict, **fields)

    return Requests(
        recommend=model(
            "RecommendRequest",
            histories=(histories, Field(examples=[[["i1", "i2"]]])),
            k=default_k, on_unknown=unknown, **choice, **_times_fields(list[list[_Time]], "of each history's events"),
        ),
        score=model(
            "ScoreRequest", history=(history, ...), candidates=(many(item, limits.candidates), ...), on_unknown=unknown,
            **_times_fields(list[_Time], "of each event of the history"),
        ),
        similar=model("SimilarRequest", items=(many(item, limits.histories, 1), ...), k=default_k, titles=titles),
        start=model("StartRequest", history=(history, []), k=optional_k, on_unknown=unknown, **choice),
        events=model("EventsRequest", items=(history, ...), k=optional_k, on_unknown=unknown, **choice),
        session_recommend=model("SessionRecommendRequest", k=default_k, **choice),
        k=most_k,
    )  # fmt: skip
