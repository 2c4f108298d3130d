"""What stands behind the endpoints: a model, its device thread, and the way from ids to jobs and back."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.recommend import Recommender
from easrec_jax.serve.batcher import Batcher, Overloaded
from easrec_jax.serve.engine import Best, Choice, Engine
from easrec_jax.serve.errors import Refused, shown
from easrec_jax.serve.gate import RETRY_SECONDS
from easrec_jax.serve.metrics import Metrics
from easrec_jax.serve.picture import architecture_svg, read_drawn
from easrec_jax.serve.sessions import UnknownSession
from easrec_jax.serve.settings import Limits
from easrec_jax.serve.titles import TitleSearch


class Service:
    """A model and what answers for it: the state behind the endpoints."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.recommender = Recommender.load(folder)
        longest = max(map(len, self.recommender.item_ids.raw))
        self.limits = limits = replace(limits, id_length=max(limits.id_length, longest))
        self.metrics = Metrics()
        self.engine = Engine(self.recommender, limits)
        self.titles = TitleSearch(self.recommender)
        self.picture = architecture_svg(read_drawn(folder, len(self.recommender.item_ids)))
        self.batcher = Batcher(
            self.engine.run,
            prepare=self._prepare,
            observe=self.metrics.batch.observe,
            rows=limits.batch,
            capacity=limits.queue,
        )
        self.metrics.waiting.set_function(lambda: self.batcher.waiting)
        sessions = self.engine.sessions
        if sessions is not None:
            self.metrics.sessions.set_function(lambda: len(sessions))
            self.metrics.evicted.set_function(lambda: sessions.evicted)

    def _prepare(self) -> None:
        self.engine.warm_up()
        gc.collect()
        gc.freeze()  # what is there now stays: going through it again and again stops every request for 0.2 s

    async def submit(self, job: Any, rows: int = 1) -> Any:
        """The device's answer; refusals say how the service is."""
        try:
            return await self.batcher.submit(job, rows)
        except Overloaded as error:
            raise Refused("server", "room for a request", str(error), status=503, retry_after=RETRY_SECONDS) from None
        except UnknownSession as error:
            raise Refused("path session", "a session that lives", shown(error.args[0]), status=404) from None

    def encode(
        self, ids: Sequence[str], where: str, on_unknown: str, warnings: list[dict]
    ) -> tuple[np.ndarray, list[str]]:
        """(inner ids of the known, the unknown); warnings and refusals as `Recommender` has them."""
        inner = self.recommender.item_ids.encode(ids)
        if inner.all():
            return inner, []
        unknown = [ids[n] for n in np.flatnonzero(inner == 0).tolist()]
        self.metrics.unknown.inc(len(unknown))
        if on_unknown == "error":
            raise Refused(f"{where}[{int(np.argmin(inner))}]", "an item of the model", shown(unknown[0]))
        names = ", ".join(shown(x) for x in unknown[:5])
        if len(unknown) == len(ids) and on_unknown == "skip":
            raise Refused(where, "at least one item of the model (or on_unknown: 'popular')", names)
        warnings.append({"where": where, "message": f"skipped {len(unknown)} unknown items: {names}"})
        return inner[inner > 0], unknown

    def known(self, ids: Sequence[str], where: str) -> np.ndarray:
        """Inner ids, all of which must be known."""
        return self.encode(ids, where, "error", [])[0]

    def choice(self, body: Any) -> Choice:
        """What may be recommended: unknown ids in `allow` are mistakes, in `deny` they are never recommended anyway."""
        if body.allow is None and body.deny is None:
            return Choice(body.k, body.exclude_seen)
        offsets = np.full(len(self.recommender.item_ids) + 1, 0.0 if body.allow is None else -np.inf, np.float32)
        if body.allow is not None:
            offsets[self.known(body.allow, "allow")] = 0.0
        if body.deny is not None:
            offsets[self.recommender.item_ids.encode(body.deny)] = -np.inf
        return Choice(body.k, body.exclude_seen, offsets)

    def items(self, best: Best, titles: bool) -> list[dict]:
        """Raw ids and scores, as JSON has them."""
        raw, names = self.recommender.item_ids.decode(best.items), self.recommender.titles
        pairs = zip(raw, best.scores, strict=True)
        if not titles:
            return [{"item": item, "score": score} for item, score in pairs]
        return [
            {"item": item, "score": score} | ({"title": names[item]} if item in names else {}) for item, score in pairs
        ]


def popular(where: str) -> dict:
    """The warning that goes with an answer by popularity."""
    return {"where": where, "message": "no known item: answered by popularity, the scores are interactions"}
