"""Dynamic batching: one thread works, and what waits when it gets free is its next batch. Nothing waits for company."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

log = logging.getLogger("easrec_jax.http")


class Overloaded(Exception):
    """The queue is full, or the service is not ready: to be tried again later."""


class _Waiting(NamedTuple):
    job: Any
    rows: int
    future: asyncio.Future


class Batcher:
    """Answers jobs in batches on a thread of its own; at most `capacity` rows wait.

    `run(jobs)` returns as many answers, an exception standing for a job that failed; `prepare()` is called once before
    the first batch, and `ready` is set after it. `observe(rows)` hears of every batch.
    """

    def __init__(
        self,
        run: Callable[[list[Any]], Sequence[Any]],
        *,
        prepare: Callable[[], None],
        observe: Callable[[int], None],
        rows: int,
        capacity: int,
    ) -> None:
        self._run, self._prepare, self._observe = run, prepare, observe
        self._rows, self._capacity = rows, capacity
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ready = threading.Event()
        self.waiting = 0  # rows that wait or are being worked on; touched on the event loop's thread alone

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; to be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Finish what waits, then end the thread."""
        self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def submit(self, job: Any, rows: int = 1) -> Any:
        """The answer to a job. Raises `Overloaded` at once where there is no room, and what the job raised."""
        if not self.ready.is_set():
            raise Overloaded("the service is warming up")
        if self.waiting and self.waiting + rows > self._capacity:
            raise Overloaded(f"{self.waiting} users wait already")
        assert self._loop is not None
        future = self._loop.create_future()
        self.waiting += rows
        self._queue.put(_Waiting(job, rows, future))
        try:
            return await future
        finally:
            self.waiting -= rows

    def _work(self) -> None:
        try:
            self._prepare()
        except Exception:
            log.exception("the warm-up failed")
            return
        self.ready.set()
        while batch := self._next():
            self._observe(sum(entry.rows for entry in batch))
            try:
                answers = self._run([entry.job for entry in batch])
            except Exception as error:  # one answer a job all the same: nobody is left waiting
                log.exception("a batch of %d requests failed", len(batch))
                answers = [error] * len(batch)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(_deliver, batch, answers)

    def _next(self) -> list[_Waiting]:
        """All that waits, up to `rows` users; blocks for the first. Empty: the end."""
        batch: list[_Waiting] = []
        rows = 0
        entry = self._queue.get()
        while entry is not None:
            batch.append(entry)
            rows += entry.rows
            if rows >= self._rows:
                break
            try:
                entry = self._queue.get_nowait()
            except Empty:
                break
        else:
            if batch:
                self._queue.put(None)  # the end comes after this batch
        return batch


def _deliver(batch: list[_Waiting], answers: Sequence[Any]) -> None:
    for entry, answer in zip(batch, answers, strict=True):
        if entry.future.done():  # its request was cancelled
            continue
        if isinstance(answer, Exception):
            entry.future.set_exception(answer)
        else:
            entry.future.set_result(answer)
