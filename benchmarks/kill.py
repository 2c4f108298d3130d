"""Kill a command with SIGKILL at random moments, start it again, and compare what it leaves with an undisturbed run.

    python benchmarks/kill.py --what all --rounds 100

search, retrain, batch   the command is killed and started again until it ends by itself; then its files must be those of
                         the undisturbed run, byte for byte, and nothing half written may lie about. And anew, for `rounds` kills
artifact                 a process that saves one of two models over and over is killed; a reader must find one of them, whole
disk                     a file system fills up, another turns read-only under a training: one clear line, then it goes on
                         when there is room again (needs root, for mounts)
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

ROOT = Path(__file__).resolve().parent.parent
TINY = [
    "--data.planted.users=60", "--data.planted.items=100", "--model.width=16", "--model.inner=16", "--model.layers=1",
    "--search.prune", "0.0", "0.5", "--search.epochs=6", "--search.finalists=1", "--retrain.epochs=6",
    "--search.buckets=1", "--retrain.buckets=1", "--retrain.patience=9", "--evaluate.protocols", "full", "--retrain.baselines",
]  # fmt: skip
What = Literal["search", "retrain", "batch", "artifact", "disk", "all"]


@dataclass(frozen=True)
class Arguments:
    what: tuple[What, ...] = ("all",)
    """What to kill; all: everything but disk."""
    rounds: int = 100
    """Kills of each."""
    seed: int = 0
    """Decides the moments."""


class Subject:
    """A command in a folder of its own: how it is called, and which of its files must come out the same."""

    def __init__(self, what: str, folder: Path) -> None:
        self.what, self.folder, self.run = what, folder, folder / "run"

    def command(self) -> list[str]:
        name, config = f"bin/{self.what}.py", ["configs/demo.py", *TINY, "--workdir", str(self.run), "--resume"]
        if self.what == "batch":
            name = "bin/recommend.py"
            config = [
                str(self.folder / "model"),
                "--histories",
                str(self.folder / "users.csv"),
                "--part_events",
                "9000",
            ]
            config += ["--out", str(self.run / "recs.parquet")]
        return [sys.executable, str(ROOT / name), *config]

    def prepare(self) -> None:
        """What the command needs beforehand, computed once."""
        seed = self.folder / "seed"
        if self.what == "retrain" and not seed.exists():
            search = Subject("search", self.folder)
            search.start().wait()
            shutil.move(self.run, seed)
        if self.what == "retrain":
            shutil.copytree(seed, self.run, dirs_exist_ok=True)
        if self.what == "batch" and not (self.folder / "model").exists():
            trained = Subject("retrain", self.folder)
            trained.start("--retrain.architecture=full", "--retrain.epochs=1").wait()
            shutil.move(self.run / "model", self.folder / "model")
            shutil.rmtree(self.run)
            ids = json.loads((self.folder / "model" / "items.json").read_text())["ids"]
            rng = random.Random(0)
            rows = (f"u{rng.randrange(20_000)},{rng.choice(ids)}\n" for _ in range(120_000))
            (self.folder / "users.csv").write_text("user,item\n" + "".join(rows))
        self.run.mkdir(exist_ok=True)

    def start(self, *more: str) -> subprocess.Popen:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        return subprocess.Popen(
            [*self.command(), *more],
            cwd=ROOT,
            env={**cache, **os.environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def outcome(self) -> dict[str, str]:
        """Checksums of what must not depend on interruptions. Raises if anything else than whole files is there."""
        files = sorted(p for p in self.run.rglob("*") if p.is_file())
        left = [
            p
            for p in self.run.rglob("*")
            if p.name.endswith((".tmp", ".old", ".parts", ".parquet.lock")) or "orbax-checkpoint-tmp" in p.name
        ]
        if left:
            raise SystemExit(f"{self.what}: left behind: {', '.join(map(str, left))}")
        timed = ("results.json", "manifest.json", "config.json", ".recs.parquet.json", ".lock")
        kept = [p for p in files if p.name not in timed and p.suffix != ".png" and "checkpoints" not in p.parts]
        return {str(p.relative_to(self.run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def kill_rounds(what: str, folder: Path, rounds: int, rng: random.Random) -> str:
    """Kill and restart until `rounds` kills are done; a summary."""
    subject = Subject(what, folder)
    subject.prepare()
    if subject.start().wait():  # fills the compilation cache
        raise SystemExit(f"{what}: the undisturbed run failed")
    wanted, spent = subject.outcome(), 0.0
    kills, runs = 0, 0
    for number in range(10**9):
        shutil.rmtree(subject.run)
        subject.prepare()
        while True:
            process, begun = subject.start(), time.monotonic()
            try:
                # the first run of all is undisturbed too: it says how long one takes
                _, stderr = process.communicate(
                    timeout=None if not number or kills >= rounds else rng.uniform(0, spent)
                )
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                print(f"\r{what}: {kills} kills, {runs} runs ended alike", end="", file=sys.stderr)
                continue
            if process.returncode:
                raise SystemExit(f"{what}: after {kills} kills it ended with: {stderr.strip()[-500:]}")
            break
        took = 1.2 * (time.monotonic() - begun)
        spent = (spent + took) / 2 if spent else took  # the machine may be busier or idler than before
        got = subject.outcome()
        if got != wanted:
            names = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
            raise SystemExit(f"{what}: after {kills} kills these differ from the undisturbed run: {', '.join(names)}")
        runs += 1
        if kills >= rounds:
            break
    shutil.rmtree(subject.run)
    return f"{what}: {kills} kills, {runs} runs ended with the files of the undisturbed one ({len(wanted)} compared)"


SAVER = """
import os, sys
import numpy as np, jax
from easrec_jax.architecture import Architecture
from easrec_jax.serving.artifact import Model, save_model
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
arch = Architecture(width=8, inner=8, depth=1, heads=2, max_length=4, attention="softmax", gate_layers=0)
shapes = jax.eval_shape(Network(arch, 5000).init, jax.random.key(0))
models = []
for name in "ab":
    weights = jax.tree.map(lambda x: np.full(x.shape, ord(name), x.dtype), shapes)
    ids = IdMap(tuple(f"{name}{k}" for k in range(5000)))
    models.append(Model(arch, weights, ids, np.zeros(5001, int), {}))
for _ in sys.stdin:  # each line: a child that saves until it is killed
    child = os.fork()
    while not child:
        for model in models:
            save_model(sys.argv[1], model, architecture=arch.to_json(), config="{}", metrics="")
            print(os.getpid(), flush=True)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def kill_artifact(folder: Path, rounds: int, rng: random.Random) -> str:
    """Kill a process that writes a model again and again; after each kill the folder must hold one of the two, whole."""
    from easrec_jax.serving.artifact import load_model

    target = folder / "artifact" / "model"
    found = {"a": 0, "b": 0}
    command = [sys.executable, "-W", "ignore", "-c", SAVER, str(target)]
    saver = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert saver.stdout is not None and saver.stdin is not None
    for kills in range(1, rounds + 1):
        saver.stdin.write("go\n")
        child = saver.stdout.readline().strip()  # after its first save: what the last one left is tidied up
        if not child:
            raise SystemExit("artifact: the writer failed")
        left = [p.name for p in target.parent.iterdir()]
        time.sleep(rng.uniform(0, 0.15))
        os.kill(int(child), signal.SIGKILL)
        while saver.stdout.readline().strip() != "killed":
            pass
        model = load_model(target)
        name = model.item_ids.raw[0][0]
        if any(raw[0] != name for raw in model.item_ids.raw) or float(model.weights["tables"]["items"][3, 3]) != ord(
            name
        ):
            raise SystemExit(f"artifact: after {kills} kills two models are mixed")
        if len(left) > 3:  # the model, one put away, one being written
            raise SystemExit(f"artifact: leftovers pile up: {left}")
        found[name] += 1
        print(f"\rartifact: {kills} kills", end="", file=sys.stderr)
    saver.stdin.close()
    saver.wait()
    return f"artifact: {rounds} kills, a whole model found each time ({found['a']} and {found['b']} times the one and the other)"


def fill_disk(folder: Path) -> str:
    """A training on a file system that is full, then read-only: one line each, and it goes on to the undisturbed end."""
    subject = Subject("retrain", folder)
    subject.prepare()
    subject.start().wait()
    wanted = subject.outcome()
    checkpoints = [p for p in (subject.run / "retrain" / "checkpoints").rglob("*") if p.is_file()]
    two = sum(-(-p.stat().st_size // 4096) * 4096 for p in checkpoints)
    shutil.rmtree(subject.run)
    subject.run.mkdir()

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(subject.run)], check=True)

    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs")
    lines = []
    try:
        subject.prepare()
        room = shutil.disk_usage(subject.run).used + two  # the config and the figures take some of it
        for options in (f"remount,size={room}", "remount,size=64m,ro"):
            mount("-o", options)
            process = subject.start()
            _, stderr = process.communicate()
            text = [line for line in stderr.splitlines() if line.startswith("error: ")]
            if process.returncode != 2 or "Traceback" in stderr or len(text) != 1:
                raise SystemExit(
                    f"disk: expected one line and exit status 2, got {process.returncode}:\n{stderr[-2000:]}"
                )
            lines.append(text[0])
        mount("-o", "remount,size=64m,rw")
        if subject.start().wait() or subject.outcome() != wanted:
            raise SystemExit("disk: with room again the run did not end as the undisturbed one")
    finally:
        subprocess.run(["umount", str(subject.run)], check=True)
    return (
        "disk: " + "\n      ".join(lines) + "\n      and with room again it ended with the files of the undisturbed run"
    )


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    chosen = ("artifact", "batch", "retrain", "search") if "all" in arguments.what else arguments.what
    with tempfile.TemporaryDirectory() as place:
        for what in chosen:
            folder, rng = Path(place) / what, random.Random(f"{what} {arguments.seed}")
            folder.mkdir()
            if what == "artifact":
                line = kill_artifact(folder, arguments.rounds, rng)
            elif what == "disk":
                line = fill_disk(folder)
            else:
                line = kill_rounds(what, folder, arguments.rounds, rng)
            print(f"\r{line}", flush=True)


if __name__ == "__main__":
    command()
