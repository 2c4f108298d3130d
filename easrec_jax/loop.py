"""The epoch loop that search and retraining share: steps, evaluation, early stop, checkpoints, a clean Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from easrec_jax.checkpoint import Checkpoints

__all__ = ["Checkpoints", "LoopState", "run_epochs"]


class LoopState(NamedTuple):
    """All that a resumed run needs, arrays only. `state` is the procedure's own; `kept` is what the best epoch left."""

    state: Any
    kept: Any
    steps_done: Any  # int64 []
    epochs_done: Any  # int64 [], epochs evaluated
    loss_sum: Any  # float64 [], over the steps of the running epoch
    best: Any  # float64 [], best validation NDCG@10, -1 before the first
    best_epoch: Any  # int64 [], from 1; 0 before the first
    finished: Any  # bool []

    @classmethod
    def start(cls, state: Any, *, keep: Any) -> LoopState:
        copy = jax.tree.map(jnp.array, keep)  # `state` will be donated
        zero = np.int64(0)
        return cls(state, copy, zero, zero, np.float64(0), np.float64(-1), zero, np.bool_(False))


def run_epochs(
    loop: LoopState,
    *,
    step: Callable[[Any, Any, int], tuple[Any, dict]],
    batches: Callable[[int, int], Iterator],
    evaluate: Callable[[Any], dict],
    keep: Callable[[Any], Any],
    steps_per_epoch: int,
    epochs: int,
    patience: int,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    on_step: Callable[[dict], Any] | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
) -> LoopState:
    """Run to the last epoch, or until `patience` epochs brought nothing better.

    `step(state, batch, number)` returns the new state and device scalars, `loss` among them; `evaluate(state)` a record
    with `ndcg@10`; `batches(epoch, skip)` the epoch's batches from the `skip`-th on. `on_step` gets step, epoch and
    rates about once a second, `on_epoch` one record an epoch. After every epoch, and on Ctrl-C, the whole state is
    saved; with `resume` it is read back and the run goes on as if it had never stopped. An interrupted run is never
    `finished`.
    """
    if resume and checkpoints is not None and checkpoints.latest() is not None:
        loop = checkpoints.restore(loop)
    with _interrupts() as interrupted:
        while not loop.finished and int(loop.epochs_done) < epochs:
            loop, stopped = _run_epoch(loop, step, batches, steps_per_epoch, epochs, interrupted, on_step)
            if not stopped:
                loop, record = _close_epoch(loop, evaluate, keep, steps_per_epoch, epochs, patience)
                if on_epoch is not None:
                    on_epoch(record)
            if checkpoints is not None:
                checkpoints.save(int(loop.steps_done), loop)
            if interrupted.is_set():  # after the last epoch too, so that the caller starts nothing that follows it
                return loop._replace(finished=np.bool_(False))
    return loop


def _run_epoch(loop, step, batches, steps_per_epoch, epochs, interrupted, on_step) -> tuple[LoopState, bool]:
    """Steps of one epoch from where it stands; True if interrupted before its end."""
    epoch = int(loop.epochs_done)
    done = first = int(loop.steps_done)
    state, losses, shown, begun = loop.state, [], time.perf_counter(), time.perf_counter()
    for batch in batches(epoch, first - epoch * steps_per_epoch):
        state, scalars = step(state, batch, done)
        losses.append(scalars["loss"])
        done += 1
        now = time.perf_counter()
        if on_step is not None and len(losses) > 1 and now - shown > 0.5:
            shown = now
            behind = float(losses[-2])  # the newest loss is still being computed
            on_step(
                {"epoch": epoch + 1, "epochs": epochs, "step": done - epoch * steps_per_epoch, "steps": steps_per_epoch,
                 "loss": behind, "steps_per_s": (done - first) / (now - begun)} | {k: v for k, v in scalars.items() if k != "loss"}
            )  # fmt: skip
        if interrupted.is_set():
            break
    total = loop.loss_sum + np.float64(np.sum(np.asarray(jax.device_get(losses), np.float64)))
    loop = loop._replace(state=state, steps_done=np.int64(done), loss_sum=total)
    return loop, done < (epoch + 1) * steps_per_epoch


def _close_epoch(loop, evaluate, keep, steps_per_epoch, epochs, patience) -> tuple[LoopState, dict]:
    epoch = int(loop.epochs_done) + 1
    loss = float(loop.loss_sum) / steps_per_epoch
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"the training loss of epoch {epoch} is {loss}: lower the learning rate; the last checkpoint is intact"
        )
    record = {"epoch": epoch, "step": int(loop.steps_done), "loss": loss} | evaluate(loop.state)
    better = record["ndcg@10"] > float(loop.best)
    if better:
        kept = jax.tree.map(jnp.array, keep(loop.state))
        loop = loop._replace(kept=kept, best=np.float64(record["ndcg@10"]), best_epoch=np.int64(epoch))
    finished = epoch >= epochs or epoch - int(loop.best_epoch) >= patience
    loop = loop._replace(epochs_done=np.int64(epoch), loss_sum=np.float64(0), finished=np.bool_(finished))
    return loop, record | {"best_epoch": int(loop.best_epoch)}


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Within: the first Ctrl-C or SIGTERM sets the event, so that a step is never cut in two; a second one kills as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number, frame):
        event.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, handle)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
