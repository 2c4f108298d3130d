"""docs/troubleshooting.md shows messages as they appear: each is provoked here."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from documents import ROOT
from tiny import SPLIT, TINY

from easrec_jax import locks, read_interactions
from easrec_jax.precision import check_float32
from easrec_jax.runs import cli
from easrec_jax.runs.workdir import open_run, own
from easrec_jax.serving import forks

SHOWN = re.findall(r"^```text\n(.*?)\n```", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE | re.DOTALL)
LINES = {line.partition(": ")[2] for block in SHOWN for line in block.splitlines()}


def shown(message: object, *changes: tuple[str, str]) -> bool:
    """Whether the page shows the message, where it names a process, host or time another one."""
    text = str(message)
    for pattern, example in changes:
        text = re.sub(pattern, example, text)
    return text in LINES


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("runs/demo")


def test_a_fork_and_float64(monkeypatch):
    monkeypatch.setattr(forks, "_forked", True)
    with pytest.raises(RuntimeError) as forked:
        forks.refuse_fork()
    with pytest.raises(ValueError) as wide:
        check_float32({"tables": {"items": np.zeros(3)}})
    assert shown(forked.value) and shown(wide.value)


def test_devices_and_memory(monkeypatch):
    def no_plugin():
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", no_plugin)
    with pytest.raises(ValueError) as absent:
        cli.check_platform()
    assert shown(absent.value)
    assert shown(
        f"out of memory: RESOURCE_EXHAUSTED: Out of memory allocating 400000000000000 bytes.; {cli.LESS_MEMORY}"
    )


def test_runs_and_locks(here, monkeypatch):
    def run(epochs: int, resume: bool):
        config = replace(TINY, search=replace(TINY.search, epochs=epochs))
        return open_run(here / "search", config, SPLIT.data, parts=("search",), resume=resume, overwrite=False)

    run(2, False).close()
    with pytest.raises(ValueError) as again:
        run(2, False)
    with pytest.raises(ValueError) as other:
        run(5, True)
    assert shown(again.value) and shown(other.value)
    with own(here), pytest.raises(BlockingIOError) as owned:
        own(here)
    host = (f"process \\d+ on {re.escape(socket.gethostname())}", "process 4711 on atlas")
    assert shown(owned.value, host, (r"\d+-\d\d-\d\d \d\d:\d\d:\d\d", "2026-11-28 10:58:24"))

    def unknown(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", unknown)
    with pytest.warns(UserWarning) as warned:
        own(here).close()
    assert shown(warned[0].message)


def test_interrupts_and_columns(here):
    source = (ROOT / "easrec_jax/commands/retrain.py").read_text()
    assert 'fail(f"interrupted; the checkpoint in {folder} is good: --resume continues")' in source
    assert shown("interrupted; the checkpoint in runs/demo/search is good: --resume continues")
    Path("clicks.csv").write_text("who,what\na,b\n")
    with pytest.raises(ValueError) as named:
        read_interactions("clicks.csv")
    assert shown(named.value)
