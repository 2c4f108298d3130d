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

from easrec_jax.parallel.processes import any_of, several
from easrec_jax.train.checkpoint import Checkpoints

AGREE = 20  # steps after which several processes ask each other whether one of them was told to stop


class Run(NamedTuple):
    """Where a run keeps its checkpoints, and whom it tells how far it is."""

    checkpoints: Checkpoints | None = None
    """None: none are kept."""
    resume: bool = False
    """Go on from the newest checkpoint, if there is one."""
    on_step: Callable[[dict], Any] | None = None
    """Told about twice a second: step, epoch, rates, seconds left."""
    on_epoch: Callable[[dict], Any] | None = None
    """Told one record an epoch."""


QUIET = Run()


class LoopState(NamedTuple):
    """All that a resumed run needs, arrays only. `state` is the procedure's own; `kept` is what the best epoch left."""

    state: Any
    kept: Any
    steps_done: Any  # int64 []
    epochs_done: Any  # int64 [], epochs evaluated
    loss_sum: Any  # float64 [], over the steps of the running epoch
    best: Any  # float64 [], best validation NDCG@10, -1 before the first
    best_epoch: Any  # int64 [], from 1; 0 before the first, or if nothing was better than the start
    finished: Any  # bool []

    @classmethod
    def start(cls, state: Any, *, keep: Any) -> LoopState:
        """Before the first step; `keep` is copied."""
        copy = jax.tree.map(jnp.array, keep)  # `state` will be donated
        zero = np.int64(0)
        return cls(state, copy, zero, zero, np.float64(0), np.float64(-1), zero, np.bool_(False))


class Procedure(NamedTuple):
    """What an epoch is made of."""

    step: Callable[
        [Any, Any, int], tuple[Any, dict]
    ]  # (state, batch, number) -> (state, device scalars, `loss` among them)
    batches: Callable[[int, int], Iterator]  # (epoch, skip): the epoch's batches from the `skip`-th on
    evaluate: Callable[[Any], dict]  # (state) -> a record with `ndcg@10`
    keep: Callable[[Any], Any]  # (state) -> what is kept of the best epoch
    advice: Callable[[int], str]  # (step) -> what to try where numbers stopped being finite


def run_epochs(
    loop: LoopState,
    procedure: Procedure,
    *,
    steps_per_epoch: int,
    epochs: int,
    patience: int,
    evaluate_start: bool = False,
    run: Run = QUIET,
) -> LoopState:
    """Run to the last epoch, or until `patience` epochs brought nothing better.

    After every epoch, and on Ctrl-C, the whole state is saved; with `run.resume` it is read back and the run goes on as if it
    had never stopped. An interrupted run is never `finished`. With `evaluate_start` the state before the first step counts
    as epoch 0: what is kept is never worse.

    A loss or a state that is not finite raises `FloatingPointError` with `advice(step)`, within a second or at the end of the epoch.
    """
    checkpoints, on_epoch = run.checkpoints, run.on_epoch
    if run.resume and checkpoints is not None and checkpoints.latest() is not None:
        loop = checkpoints.restore(loop)
    elif evaluate_start:
        record = {"epoch": 0, "step": 0} | procedure.evaluate(loop.state) | {"best_epoch": 0}
        loop = loop._replace(best=np.float64(record["ndcg@10"]))
        if on_epoch is not None:
            on_epoch(record)
    pace = Pace(steps_per_epoch, epochs)
    with _interrupts() as interrupted:
        try:
            while not loop.finished and int(loop.epochs_done) < epochs:
                loop, stopped = _run_epoch(loop, procedure, pace, interrupted, run.on_step)
                if not stopped:
                    loop, record = _close_epoch(loop, procedure, pace, patience)
                    if on_epoch is not None:
                        on_epoch(record)
                if checkpoints is not None:
                    checkpoints.save(int(loop.steps_done), loop)
                if _asked(interrupted):  # after the last epoch too, so that the caller starts nothing that follows it
                    return loop._replace(finished=np.bool_(False))
        except NotFinite as error:
            raise FloatingPointError(
                f"{error}: {procedure.advice(error.step)}; {_kept(checkpoints, steps_per_epoch)}"
            ) from None
    return loop


class NotFinite(Exception):
    """What is not finite, and after which step of the run, from 1."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


def _kept(checkpoints: Checkpoints | None, steps_per_epoch: int) -> str:
    """What is left of a run whose numbers went wrong."""
    if checkpoints is None:
        return "no checkpoints were asked for"
    latest = checkpoints.latest()
    if latest is None:
        return "no checkpoint was written yet"
    epoch, into = divmod(latest, steps_per_epoch)
    where = f"after epoch {epoch}" if not into else f"{into} steps into epoch {epoch + 1}"
    return f"the checkpoint written {where} is good and stays in {checkpoints.folder}"


class Pace:
    """How fast a run goes: seconds of steps, those that compile (the first of their shape) left out, and of evaluations."""

    def __init__(self, steps_per_epoch: int, epochs: int) -> None:
        self.steps_per_epoch, self.epochs = steps_per_epoch, epochs
        self.begun, self.shown = time.perf_counter(), float("-inf")
        self.steps, self.seconds, self.evaluation = 0, 0.0, 0.0
        self._shapes: set = set()

    def count(self, shapes: Any, seconds: float) -> None:
        """A step over arrays of these shapes took so long."""
        if shapes in self._shapes:
            self.steps, self.seconds = self.steps + 1, self.seconds + seconds
        self._shapes.add(shapes)

    def describe(self, done: int, now: float) -> dict:
        """What `on_step` is told after `done` steps: `left_s`, to the end of the last epoch, is None until it is known."""
        epoch, rate = (done - 1) // self.steps_per_epoch, self.steps / self.seconds if self.seconds else 0.0
        left = (self.epochs * self.steps_per_epoch - done) / rate if rate else None
        evaluations = (self.epochs - epoch) * self.evaluation
        return {
            "epoch": epoch + 1, "epochs": self.epochs,
            "step": done - epoch * self.steps_per_epoch, "steps": self.steps_per_epoch, "steps_per_s": rate,
            "elapsed_s": now - self.begun, "left_s": None if left is None else left + evaluations,
        }  # fmt: skip


def _run_epoch(
    loop: LoopState,
    procedure: Procedure,
    pace: Pace,
    interrupted: threading.Event,
    on_step: Callable | None,
) -> tuple[LoopState, bool]:
    """Steps of one epoch from where it stands; True if interrupted before its end."""
    epoch = int(loop.epochs_done)
    done = first = int(loop.steps_done)
    alone = not several()  # else all do the same after the same step, whatever their clocks say
    state, scalars, started = loop.state, [], time.perf_counter()
    for batch in procedure.batches(epoch, first - epoch * pace.steps_per_epoch):
        state, of_step = procedure.step(state, batch, done)
        scalars.append(of_step)
        done += 1
        now = time.perf_counter()
        pace.count((*map(np.shape, jax.tree.leaves(batch)), *of_step), now - started)
        started = now
        if now - pace.shown > 0.5 if alone else done % AGREE == 0:
            pace.shown = now
            of_step = scalars[max(0, len(scalars) - 2)]  # the newest is still being computed
            behind = {name: float(value) for name, value in of_step.items()}
            if not np.isfinite(list(behind.values())).all():
                _losses(scalars, first, epoch)  # raises
            if on_step is not None:
                on_step(pace.describe(done, now) | behind)
        if (alone or done % AGREE == 0) and _asked(interrupted):
            break
    losses = _losses(scalars, first, epoch)
    loop = loop._replace(state=state, steps_done=np.int64(done), loss_sum=loop.loss_sum + np.float64(np.sum(losses)))
    return loop, done < (epoch + 1) * pace.steps_per_epoch


def _losses(scalars: list[dict], first: int, epoch: int) -> np.ndarray:
    """float64 [steps], the losses of the epoch's steps after the `first` of the run; `NotFinite` names the first bad one."""
    fetched = jax.device_get(scalars)
    for number, of_step in enumerate(fetched, first + 1):
        for name, value in of_step.items():
            if not np.isfinite(value):
                what = name.replace("_", " ") if name != "loss" else "training loss"
                raise NotFinite(f"the {what} is {value} at step {number}, in epoch {epoch + 1}", number)
    return np.array([of_step["loss"] for of_step in fetched], np.float64)


def _close_epoch(loop: LoopState, procedure: Procedure, pace: Pace, patience: int) -> tuple[LoopState, dict]:
    epoch, step = int(loop.epochs_done) + 1, int(loop.steps_done)
    if not _all_finite(loop.state):  # a last step of a finite loss; such scores would rank every target first
        raise NotFinite(f"the weights are not finite after step {step}, the last of epoch {epoch}", step)
    begun = time.perf_counter()
    loss = float(loop.loss_sum) / pace.steps_per_epoch
    record = {"epoch": epoch, "step": step, "loss": loss} | procedure.evaluate(loop.state)
    pace.evaluation = time.perf_counter() - begun
    better = record["ndcg@10"] > float(loop.best)
    if better:
        kept = jax.tree.map(jnp.array, procedure.keep(loop.state))
        loop = loop._replace(kept=kept, best=np.float64(record["ndcg@10"]), best_epoch=np.int64(epoch))
    finished = epoch >= pace.epochs or epoch - int(loop.best_epoch) >= patience
    loop = loop._replace(epochs_done=np.int64(epoch), loss_sum=np.float64(0), finished=np.bool_(finished))
    return loop, record | {"best_epoch": int(loop.best_epoch)}


@jax.jit
def _all_finite(tree: Any) -> Any:
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))


def _asked(interrupted: threading.Event) -> bool:
    """Whether this process, or any other of the run, was told to stop; all of them come here after the same steps."""
    if any_of(interrupted.is_set()):
        interrupted.set()
    return interrupted.is_set()


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
