"""Killed or out of room at any moment, a run goes on to the same end, and what was whole before is whole after."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from easrec_jax.files import clear_asides, write_bytes, write_text
from easrec_jax.train import checkpoint
from easrec_jax.train.checkpoint import Checkpoints

ROOT = Path(__file__).parent.parent


def test_a_few_random_kills():
    """Of saving a model, in processes that are killed; of whole runs: python benchmarks/kill.py --what all."""
    command = [sys.executable, "benchmarks/kill.py", "--what", "artifact", "--rounds", "2"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "artifact: 2 kills" in done.stdout


def tree(step: int) -> dict:
    return {"a": np.full(5000, step, np.float32), "step": np.int64(step)}


def test_what_killed_writers_left_goes_with_the_next_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, tree(1))
    checkpoints.save(2, tree(2))
    (tmp_path / "c" / "3.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "c" / "0").mkdir()
    (tmp_path / "c" / "0" / "half").write_text("half")  # its list of checksums is gone
    (tmp_path / "c" / "9.json").write_text("{}")  # its data never came
    (tmp_path / "c" / ".2.json.999999999.tmp").write_text("half")
    assert checkpoints.latest() == 2
    checkpoints.save(3, tree(3))
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["2", "2.json", "3", "3.json"]
    np.testing.assert_array_equal(checkpoints.restore(tree(0))["a"], tree(3)["a"])


@pytest.mark.parametrize("moment", ["data", "list"])
def test_out_of_room_the_last_checkpoint_stays(tmp_path, monkeypatch, capfd, moment):
    """A file size limit stands in for the full disk (`benchmarks/kill.py --what disk` fills a real one)."""
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, tree(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(*args, original=write_text):
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        return original(*args)

    if moment == "list":
        monkeypatch.setattr(checkpoint, "write_text", limited)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError) as caught:
            checkpoints.save(2, {"a": np.random.default_rng(0).random(5000).astype(np.float32), "step": np.int64(2)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in str(caught.value) and capfd.readouterr().err == ""
    if moment == "data":
        assert "the checkpoint cannot be written: File too large; the one of step 1 is intact" in str(caught.value)
    monkeypatch.undo()
    assert checkpoints.latest() == 1
    np.testing.assert_array_equal(checkpoints.restore(tree(0))["a"], tree(1)["a"])
    checkpoints.save(3, tree(3))
    assert checkpoints.latest() == 3


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
