"""What stands behind the endpoints: a model, its device thread, its warm-up, and the way from ids to jobs and back."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.http.admission import RETRY_SECONDS
from easrec_jax.http.batcher import Batcher, Overloaded
from easrec_jax.http.engine import Engine, Selection, TopItems
from easrec_jax.http.errors import Refused, shown
from easrec_jax.http.prometheus import Metrics
from easrec_jax.http.sessions import UnknownSession
from easrec_jax.http.settings import Limits
from easrec_jax.http.title_search import TitleSearch
from easrec_jax.runs.picture import architecture_svg, read_drawn
from easrec_jax.serving.answer import offsets_of
from easrec_jax.serving.forks import refuse_fork
from easrec_jax.serving.ids import is_lost
from easrec_jax.serving.recommend import Recommender

log = logging.getLogger("easrec_jax.http")

PROGRESS_SECONDS = 5.0  # between two lines of a warm-up
WARM_SECONDS = 0.05  # between two looks at one


class Service:
    """A model and what answers for it: the state behind the endpoints."""

    def __init__(
        self, folder: Path, limits: Limits, budget: float | None = None, per_user: bool = False, *, metrics: Metrics
    ) -> None:
        self.budget = budget
        self.recommender = Recommender.load(folder, budget, per_user=per_user)
        longest = max(map(len, self.recommender.item_ids.raw))
        self.limits = limits = replace(limits, id_length=max(limits.id_length, longest))
        self.metrics = metrics
        self.engine = Engine(self.recommender, limits)
        self.titles = TitleSearch(self.recommender)
        size = None if budget is None else self.recommender.results["architecture"]
        self.picture = architecture_svg(read_drawn(folder, len(self.recommender.item_ids), size))
        self.batcher = Batcher(
            self.engine.run,
            prepare=self._prepare,
            observe=self.metrics.batch.observe,
            rows=limits.batch,
            capacity=limits.queue,
        )
        self._warm = [self.engine.programs_of(rows) for rows in self.engine.row_counts]
        self.programs = sum(map(len, self._warm))
        self.compiled = 0  # of these programs
        self._more = threading.Thread(target=self._warm_up_further, name="warm-up", daemon=True)
        self._ending = False

    def announce(self) -> None:
        """Be what the metrics speak of."""
        self.metrics.waiting.set_function(lambda: self.batcher.waiting)
        sessions = self.engine.sessions
        if sessions is not None:
            self.metrics.sessions.set_function(lambda: len(sessions))
            self.metrics.evicted.set_function(lambda: sessions.evicted)

    async def start(self) -> None:
        """Begin the warm-up; to be called on the event loop that will ask."""
        refuse_fork()
        self._begun = time.perf_counter()
        self.batcher.start()

    async def stop(self) -> None:
        """Finish what waits."""
        self._ending = True
        await self.batcher.stop()
        if self._more.is_alive():
            await asyncio.to_thread(self._more.join)

    async def warmed(self) -> None:
        """Wait until all programs are compiled. Raises `Refused` where the warm-up failed."""
        while self.batcher.alive and not self.batcher.ready.is_set() or self._more.is_alive():
            await asyncio.sleep(WARM_SECONDS)
        if self.compiled < self.programs:
            raise Refused("the model's folder", "a model whose warm-up succeeds", "a failure, see the log", status=409)

    def check_successor(self, other: Service) -> None:
        """Raise `Refused` where another model cannot take over from this one."""
        if self.engine.sessions is not None and other.engine.sessions is None:
            raise Refused(
                "the model's folder", "a model with sessions, as the one served has", "one without", status=409
            )

    def rows_of(self, old: Service) -> np.ndarray:
        """Inner ids here by inner ids there, int32 [items + 1]; 0 for items that are gone."""
        return np.concatenate([[0], self.recommender.item_ids.encode(old.recommender.item_ids.raw)]).astype(np.int32)

    def take_over(self, old: Service, rows: np.ndarray) -> None:
        """Go on where the other one, which has stopped, left off; `rows` is `rows_of` it."""
        if self.engine.sessions is not None and old.engine.sessions is not None:
            self.engine.sessions.adopt(old.engine.sessions, rows)
        self.announce()

    def release(self) -> None:
        """Let go of the model, which another one has replaced: FastAPI's caches keep the endpoints, and with them this object."""
        del self.recommender, self.engine, self.titles, self.batcher, self._warm

    def _prepare(self) -> None:
        """What one user at a time needs, before the first answer; the rest is compiled while requests are answered."""
        self._compile(self._warm[0])
        if self._ending:
            return
        settle()
        log.info("ready after %.0f s (%d of %d programs)", self._seconds(), self.compiled, self.programs)
        self._more.start()

    def _warm_up_further(self) -> None:
        for rows, calls in zip(self.engine.row_counts[1:], self._warm[1:], strict=True):
            try:
                self._compile(calls)
            except Exception:  # what is there already goes on answering
                log.exception("the warm-up for %d users at a time failed", rows)
                return
            if self._ending:
                return
            self.engine.rows = rows
        if len(self._warm) > 1:
            settle()
            log.info("all %d programs compiled after %.0f s", self.programs, self._seconds())

    def _compile(self, calls: Sequence[Callable[[], Any]]) -> None:
        told = self._seconds()
        for call in calls:
            if self._ending:
                return
            call()
            self.compiled += 1
            if self._seconds() - told > PROGRESS_SECONDS:
                told = self._seconds()
                log.info("warming up: %d of %d programs after %.0f s", self.compiled, self.programs, told)

    def _seconds(self) -> float:
        return time.perf_counter() - self._begun

    async def submit(self, job: Any, rows: int = 1) -> Any:
        """The device's answer; refusals say how the service is."""
        if not self.batcher.ready.is_set():
            got = f"a warm-up at {self.compiled} of {len(self._warm[0])} programs"
            raise Refused("server", "a service that is ready", got, status=503, retry_after=RETRY_SECONDS)
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
        left_out = getattr(ids, "left_out", 0)
        if left_out:
            message = f"{left_out + len(ids)} events, the latest {len(ids)} are read"
            warnings.append({"where": where, "message": message})
        inner = self.recommender.item_ids.encode(ids)
        if inner.all():
            return inner, []
        unknown = [ids[n] for n in np.flatnonzero(inner == 0).tolist()]
        self.metrics.unknown.inc(len(unknown))
        if on_unknown == "error":
            place = left_out + int(np.argmin(inner))
            raise Refused(f"{where}[{place}]", "an item of the model", shown(unknown[0]))
        names = ", ".join(shown(x) for x in unknown[:5])
        message = f"skipped {len(unknown)} unknown items: {names}"
        if is_lost(len(ids) - len(unknown), len(unknown), on_unknown):
            message = f"no known item, so no answer (on_unknown 'popular' gives one): {names}"
        warnings.append({"where": where, "message": message})
        return inner[inner > 0], unknown

    def known(self, ids: Sequence[str], where: str) -> np.ndarray:
        """Inner ids, all of which must be known."""
        return self.encode(ids, where, "error", [])[0]

    def selection(self, body: Any, warnings: list[dict]) -> Selection:
        """What may be recommended: unknown ids in `allow` are skipped, in `deny` they are never recommended anyway."""
        allowed = denied = None
        if body.allow is not None:
            # not "skip", whose message is a history's: of nothing allowed there are no items
            policy = "error" if getattr(body, "on_unknown", "skip") == "error" else "popular"
            allowed = self.encode(body.allow, "allow", policy, warnings)[0]
        if body.deny is not None:
            denied = self.recommender.item_ids.encode(body.deny)
        offsets = offsets_of(len(self.recommender.item_ids), allowed, denied)
        return Selection(body.k, body.exclude_seen, offsets)

    def items(self, best: TopItems, titles: bool) -> list[dict]:
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


def settle() -> None:
    """What is there now stays: going through it again and again stops every request for 0.2 s."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
