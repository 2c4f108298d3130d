"""What a user sees of a run: time left over all epochs, rates without compilation, plain lines where there is no terminal."""

from __future__ import annotations

import io

import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.runs import cli
from easrec_jax.runs.cli import Progress, clock
from easrec_jax.train import loop


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter

    def strftime(self, form: str) -> str:
        return form


@pytest.fixture
def time(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(loop, "time", made)
    monkeypatch.setattr(cli, "time", made)
    return made


def run(time: Clock, *, epochs: int, steps: int, seconds: float, on_step, on_epoch=None) -> None:
    """Epochs of steps of that many seconds, of two batch shapes whose first steps take 100 seconds more; 10 an evaluation."""
    compiled = set()

    def step(state, batch, number):
        time.now += seconds + (0 if batch.shape in compiled else 100.0)
        compiled.add(batch.shape)
        return state, {"loss": jnp.float32(2.0)}

    def batches(epoch, skip):
        return (np.zeros(1 + n % 2) for n in range(steps))

    def evaluate(state):
        time.now += 10.0
        return {"ndcg@10": 0.1}

    loop.run_epochs(
        loop.LoopState.start({"w": jnp.zeros(1)}, keep=()),
        loop.Procedure(step, batches, evaluate, lambda state: (), lambda step: ""),
        steps_per_epoch=steps,
        epochs=epochs,
        patience=epochs,
        run=loop.Run(on_step=on_step, on_epoch=on_epoch),
    )


def test_rates_leave_compilation_out_and_the_time_left_is_that_of_all_epochs(time):
    seen = []
    run(time, epochs=3, steps=10, seconds=1.0, on_step=seen.append)
    assert [(info["epoch"], info["step"]) for info in seen] == [(e, s) for e in (1, 2, 3) for s in range(1, 11)]
    assert [info["left_s"] for info in seen[:2]] == [None, None] and seen[0]["elapsed_s"] == 101.0
    assert all(info["steps_per_s"] == 1.0 for info in seen[2:])
    assert seen[2]["left_s"] == 27.0  # no evaluation is known yet
    assert seen[10]["left_s"] == 19.0 + 2 * 10.0
    assert seen[-1]["left_s"] == 10.0


def test_short_epochs_keep_the_live_line_fresh(time):
    seen = []
    run(time, epochs=40, steps=2, seconds=0.1, on_step=seen.append)
    assert seen[-1]["epoch"] >= 38


def shown(monkeypatch, terminal: bool) -> io.StringIO:
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(cli.sys, "stderr", stream)
    return stream


def test_without_a_terminal_there_are_plain_lines_one_an_epoch_and_one_each_half_minute(time, monkeypatch):
    stream = shown(monkeypatch, terminal=False)
    with Progress("retrain") as progress:
        assert stream.getvalue() == "retrain: started\n"  # from the first second
        run(time, epochs=2, steps=100, seconds=1.0, on_step=progress.step, on_epoch=progress.epoch)
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()
    ends = [line for line in lines if "elapsed" not in line]
    assert ends[1:] == [f"retrain: epoch   {n}  loss 2.0000  NDCG@10 0.1000{' *' * (n == 1)}" for n in (1, 2)]
    between = [line for line in lines if "elapsed" in line]
    assert 7 <= len(between) <= 11  # 420 seconds, 200 of them in two steps
    assert between[-1].endswith("left at most") and "step " in between[-1] and "1.0 steps/s" in between[-1]


def test_on_a_terminal_the_line_is_drawn_over_and_says_what_is_left(time, monkeypatch):
    stream = shown(monkeypatch, terminal=True)
    with Progress("retrain") as progress:
        run(time, epochs=1, steps=10, seconds=1.0, on_step=progress.step, on_epoch=progress.epoch)
    assert "\r" in stream.getvalue() and "0:01 left at most" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(7.9, "0:07"), (727.0, "12:07"), (11527.0, "3:12:07")])
def test_clock(seconds, text):
    assert clock(seconds) == text


@pytest.fixture
def ended(monkeypatch, capsys):
    """`ended(error)`: exit status and stderr of a command that raises it."""
    monkeypatch.setattr(cli, "setup_jax", lambda: None)
    monkeypatch.setattr(cli, "use_huge_pages", lambda: None)
    monkeypatch.setattr(cli.warnings, "showwarning", cli.warnings.showwarning)  # put back after

    def run(error: BaseException) -> tuple[object, str]:
        def command():
            raise error

        with pytest.raises(SystemExit) as end:
            cli.main(command)
        return end.value.code, capsys.readouterr().err

    return run


def test_an_interrupt_outside_of_the_steps_is_one_line_and_no_success(ended):
    """So that `search && retrain` ends there."""
    assert ended(KeyboardInterrupt()) == (130, "interrupted\n")


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError])
def test_too_little_memory_is_one_line_with_the_flags_that_help(ended, kind):
    code, said = ended(kind("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nmore"))
    assert code == 2 and said.startswith(
        "error: out of memory: RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.; "
    )
    assert "--retrain.batch_size" in said and len(said.splitlines()) == 1


def test_an_error_of_the_program_keeps_its_traceback(ended):
    with pytest.raises(RuntimeError, match="else"):
        ended(RuntimeError("something else"))
