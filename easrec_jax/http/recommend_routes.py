"""The endpoints that recommend, from a request's ids to jobs for the device and back."""

from fastapi import APIRouter

from easrec_jax.http import schemas
from easrec_jax.http.engine import Recommend, Score, Similar
from easrec_jax.http.json_routes import ERRORS, JsonRoute, answer
from easrec_jax.http.service import Service, popular
from easrec_jax.http.times import timed
from easrec_jax.serving.ids import is_lost


def recommend_routes(service: Service) -> APIRouter:
    """/recommend, /score and /similar."""
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
        histories = timed(service, body.histories, [known for known, _ in encoded], body.times, body.now)
        job = Recommend([histories[n] for n in asked], service.selection(body, warnings))
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
        times = None if body.times is None else [body.times]
        events = timed(service, [body.history], [history], times, body.now)[0]
        found = (await service.submit(Score(events, candidates))).tolist() if asked else [None] * len(candidates)
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
