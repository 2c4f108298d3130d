"""Requests and answers as the OpenAPI document shows them; the bounds come from `Limits`.

Ids are text, as everywhere in the library: a number is read as its text, so `7` and `"7"` are the same id.
"""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic.json_schema import WithJsonSchema

from easrec_jax.serve.settings import Limits

SUMMARY = (
    "Unknown ids: 'skip' reports them and uses the rest; 'error' refuses the request; 'popular' is 'skip', but answers "
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


class State(BaseModel):
    status: str


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


def requests(limits: Limits, num_items: int) -> Requests:
    """Body models of a service over `num_items` items."""
    most_k = min(limits.k, num_items)
    text = {"type": "string", "maxLength": limits.id_length}
    item: Any = Annotated[
        str,
        Field(coerce_numbers_to_str=True, max_length=limits.id_length),
        WithJsonSchema({"anyOf": [text, {"type": "number"}], "title": "item id"}),
    ]

    def many(inner: Any, most: int, least: int = 0) -> Any:
        return Annotated[list[inner], Field(min_length=least, max_length=most, fail_fast=True)]

    history = many(item, limits.history)
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
            histories=(many(history, limits.histories, 1), Field(examples=[[["i1", "i2"]]])),
            k=default_k, on_unknown=unknown, **choice,
        ),
        score=model("ScoreRequest", history=(history, ...), candidates=(many(item, limits.candidates), ...), on_unknown=unknown),
        similar=model("SimilarRequest", items=(many(item, limits.histories, 1), ...), k=default_k, titles=titles),
        start=model("StartRequest", history=(history, []), k=optional_k, on_unknown=unknown, **choice),
        events=model("EventsRequest", items=(history, ...), k=optional_k, on_unknown=unknown, **choice),
        session_recommend=model("SessionRecommendRequest", k=default_k, **choice),
        k=most_k,
    )  # fmt: skip
