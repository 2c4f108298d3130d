"""A run's folder has one owner, and what stands in it is resumed by the same run on the same data alone."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from easrec_jax.config import Config
from easrec_jax.data.interactions import IdMap
from easrec_jax.runs.workdir import open_run, own
from easrec_jax.train.checkpoint import Checkpoints

ROOT = Path(__file__).parent.parent
HOLD = """
import sys
from pathlib import Path
from easrec_jax.runs.workdir import own
file = own(Path(sys.argv[1]))
print("mine", flush=True)
sys.stdin.read()
"""
PARTS = ("data", "model", "retrain", "evaluate", "seed")


def hold(folder: Path) -> subprocess.Popen:
    """A process that owns the folder until its stdin ends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    return process


def test_the_owner_is_named_and_a_dead_one_owns_nothing(tmp_path):
    process = hold(tmp_path / "run")
    with pytest.raises(BlockingIOError, match=rf"run: process {process.pid} on \S+ has been running here since 20"):
        own(tmp_path / "run")
    process.kill()
    process.communicate()
    mine = own(tmp_path / "run")
    with pytest.raises(BlockingIOError, match=f"process {os.getpid()} on"):
        own(tmp_path / "run")
    mine.close()
    own(tmp_path / "run").close()


def opened(folder, data, seed: int = 0, **options):
    """As a command would, which ends at once."""
    given = {"parts": PARTS, "resume": False, "overwrite": False} | options
    open_run(folder, Config(seed=seed), data, **given).close()


def test_neither_resume_nor_overwrite_touch_the_run_of_a_living_process(tmp_path, data):
    opened(tmp_path / "retrain", data)
    before = {p.name: p.read_bytes() for p in (tmp_path / "retrain").iterdir()}
    process = hold(tmp_path)
    for options in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(BlockingIOError, match=f"process {process.pid} on"):
            opened(tmp_path / "retrain", data, seed=1, **options)
    assert {p.name: p.read_bytes() for p in (tmp_path / "retrain").iterdir()} == before
    process.communicate("")


def test_data_that_changed_are_not_resumed_and_it_is_said_how(tmp_path, data, interactions):
    folder = tmp_path / "retrain"
    opened(folder, data)
    opened(folder, data, resume=True)
    histories = [data.history(user).tolist() for user in range(data.num_users)]
    fewer = interactions(histories[:-1], 30)
    with pytest.raises(
        ValueError, match=r"on other data \(40 users there, 39 here, \d+ interactions there, \d+ here\)"
    ):
        opened(folder, fewer, resume=True)
    histories[0] = histories[0][::-1]
    with pytest.raises(ValueError, match=r"on other data \(the same counts, but other content\)"):
        opened(folder, interactions(histories, 30), resume=True)
    renamed = dataclasses.replace(data, item_ids=IdMap(tuple(f"j{k}" for k in range(1, 31))))
    with pytest.raises(ValueError, match="other content"):
        opened(folder, renamed, resume=True)
    with pytest.raises(ValueError, match="began with other weights"):
        opened(folder, data, resume=True, start="of another search")
    (folder / "data.json").unlink()
    with pytest.raises(ValueError, match=r"does not say which data.*--overwrite"):
        opened(folder, data, resume=True)
    opened(folder, fewer, overwrite=True)


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(tmp_path):
    tree = {"a": np.zeros(3)}
    first = Checkpoints(tmp_path).of_run({"seed": 0, "sizes": (1, 2), "fingerprint": "x"})
    first.save(16, tree)
    first.restore(tree)
    with pytest.raises(ValueError, match=r"16\.json: the checkpoint is another run's \(seed: 0 there, 7 here\)"):
        first.of_run(first.run | {"seed": 7}).restore(tree)
    with pytest.raises(ValueError, match=r"another version's or .* \(speed: None there, 7 here\)"):
        first.of_run(first.run | {"speed": 7}).restore(tree)
    (tmp_path / "16.json").write_text(json.dumps(json.loads((tmp_path / "16.json").read_text())["sha256"]))
    with pytest.raises(ValueError, match="does not say which run's"):
        first.restore(tree)


TINY = [
    "--data.planted.users=60", "--data.planted.items=100", "--model.width=16", "--model.inner=16", "--model.layers=1",
    "--retrain.buckets=1", "--retrain.baselines", "--evaluate.protocols", "full", "--retrain.architecture=full",
    "--retrain.patience=1000", "--workdir=run",
]  # fmt: skip


def test_a_second_command_in_a_live_run_is_one_line_and_the_first_loses_nothing(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def command(*arguments: str) -> list[str]:
        return [sys.executable, str(ROOT / "bin/retrain.py"), str(ROOT / "configs/demo.py"), *TINY, *arguments]

    first = subprocess.Popen(
        command("--retrain.epochs=1000", "--resume"), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "run/retrain/metrics.jsonl"
    while not metrics.is_file() and first.poll() is None:
        time.sleep(0.1)
    for second in (["--retrain.epochs=1000", "--resume"], ["--retrain.epochs=5", "--seed=7", "--overwrite"]):
        done = subprocess.run(command(*second), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert f"error: run: process {first.pid} on " in done.stderr.splitlines()[-1]
    first.send_signal(signal.SIGINT)
    _, stderr = first.communicate(timeout=120)
    assert first.returncode == 2 and "--resume continues" in stderr
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == list(range(1, len(epochs) + 1))
    assert json.loads((tmp_path / "run/retrain/config.json").read_text())["seed"] == 0
