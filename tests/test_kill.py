"""Killed or out of room at any moment, a run goes on to the same end, and what was whole before is whole after."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from easrec_jax.checkpoint import Checkpoints
from easrec_jax.files import clear_asides, write_bytes, write_text

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("what", ["artifact", "retrain", "batch"])
def test_a_few_random_kills(what):
    rounds = {"artifact": 2}.get(what, 1)
    command = [sys.executable, "benchmarks/kill.py", "--what", what, "--rounds", str(rounds)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{what}: {rounds} kills" in done.stdout


def tree(step: int) -> dict:
    return {"a": np.full(5000, step, np.float32), "step": np.int64(step)}


def test_what_killed_writers_left_goes_with_the_next_checkpoint(tmp_path):
    folder = tmp_path / "c"
    checkpoints = Checkpoints(folder)
    checkpoints.save(1, tree(1))
    checkpoints.save(2, tree(2))
    (folder / ".3.npz.999999999.tmp").write_text("half")
    (folder / ".7.npz.999999999.tmp").write_text("half")
    (folder / f".4.npz.{os.getppid()}.tmp").write_text("of a living process")
    assert checkpoints.latest() == 2
    checkpoints.save(3, tree(3))
    assert sorted(p.name for p in folder.iterdir()) == [f".4.npz.{os.getppid()}.tmp", "2.npz", "3.npz"]
    np.testing.assert_array_equal(checkpoints.restore(tree(0))["a"], tree(3)["a"])


@pytest.mark.parametrize("room", [10, 2000, 100_000], ids=["header", "first array", "last array"])
def test_out_of_room_the_last_checkpoint_stays(tmp_path, capfd, room):
    """A file size limit stands in for the full disk (`benchmarks/kill.py --what disk` fills a real one)."""
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, tree(1))
    large = {f"a{leaf}": np.full(5000, leaf, np.float32) for leaf in range(20)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OSError) as caught:
            checkpoints.save(2, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    gc.collect()  # whatever the failed writer left would complain here
    assert str(caught.value).endswith(
        "2.npz: the checkpoint cannot be written: File too large; the one of step 1 is intact"
    )
    assert capfd.readouterr().err == "" and [p.name for p in (tmp_path / "c").iterdir()] == ["1.npz"]
    np.testing.assert_array_equal(checkpoints.restore(tree(0))["a"], tree(1)["a"])
    checkpoints.save(2, tree(2))
    assert checkpoints.latest() == 2


def test_asides_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    path = tmp_path / "x[1].json"
    dead, living = tmp_path / ".x[1].json.999999999.tmp", tmp_path / f".x[1].json.{os.getppid()}.tmp"
    other = tmp_path / ".x1.json.999999999.tmp"
    for left in (dead, living, other):
        left.write_text("half")
    clear_asides(path)
    assert not dead.exists() and living.exists() and other.exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    write_text(path, json.dumps({"epoch": 1}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_bytes(path, bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert json.loads(path.read_text()) == {"epoch": 1} and [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]
