"""Show that a change of the code moved no figure: two checkouts make the same runs, which are compared bit by bit.

    python benchmarks/unchanged.py BEFORE AFTER --data ml-100k.inter --workdir runs/unchanged

Runs: every experiment at smoke scale, the demo, a short search and retraining of MovieLens-100k, each with the checkout's
own bin/ and library on one core. A finished run is kept under a digest of its code and not made again.
Differences that count: figures on validation and test items, ranks, best epochs, picks, FLOPs, weights. Times, memory and
versions are not compared. What a search logs on its way (losses, probabilities, finalists) is only reported, where it is
more than 1e-5 off: its format may change. Exit status 1 where a figure moved or is gone, 2 where a run failed.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

EXPERIMENTS = ("space", "wide", "table3", "table4", "table5", "figure4", "headline")
SMOKE = ["--dataset", "planted", "--scale", "smoke", "--seeds", "1"]
SHORT = [
    "--search.epochs", "2", "--search.warmup_epochs", "1", "--search.finalists", "2", "--retrain.epochs", "2",
    "--retrain.baselines", "popularity",
]  # fmt: skip
NAMES = ("demo", *EXPERIMENTS, "ml100k")
STEPS = ("search", "retrain")  # of the demo and of MovieLens-100k
CODE = ("bin", "configs", "easrec_jax", "experiments")
FILES = ("search/architecture.json", "search/metrics.jsonl", "search/supernet.npz", "retrain/metrics.jsonl")
FILES += ("model/architecture.json", "model/results.json", "model/weights.npz", "model/items.json")
# names within a path of a JSON file
UNLIKE = re.compile(
    r"seconds|_ms|latency|memory|_mb|^time|^ms_|^device|^jax$|^commit|^about$|^changes$|^settings$|elapsed"
)
LOGGED = re.compile(r"^chosen_by$|^finalists$|loss|^p$|^q$|shares|temperature|expected_cost")
SHOWN = 5  # differences of a run
TOLERANCE = 1e-5  # relative, of what is logged
MISSING = object()


@dataclass(frozen=True)
class Arguments:
    before: Annotated[Path, tyro.conf.Positional]
    """Checkout: a folder with bin/, configs/ and easrec_jax/."""
    after: Annotated[Path, tyro.conf.Positional]
    """The other one; the same one twice: its runs are made, and compared with themselves."""
    data: Path
    """MovieLens-100k as a RecBole file (ml-100k.inter)."""
    workdir: Path = Path("runs/unchanged")
    """Where the runs are kept."""
    only: tuple[str, ...] = ()
    """Only these runs (default: all)."""


class Failed(Exception):
    """A command ended with an error, or its code changed under it."""


class Side:
    """One checkout and its runs."""

    def __init__(self, checkout: Path, data: Path, workdir: Path) -> None:
        self.checkout, self.data, self.cache = checkout.resolve(), data.resolve(), workdir.resolve() / "xla"
        self.digest = self.digest_now()
        self.folder = workdir.resolve() / self.digest

    def digest_now(self) -> str:
        """Of the code: the runs of other code are other runs."""
        digest = hashlib.sha256()
        for path in sorted(path for folder in CODE for path in (self.checkout / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(self.checkout)}\n".encode() + path.read_bytes())
        return digest.hexdigest()[:10]

    def commands(self, name: str) -> list[list[str]]:
        """What makes a run; every command may be started again after it was broken off."""
        if name in EXPERIMENTS:
            return [["bin/reproduce.py", name, *SMOKE, "--workdir", str(self.folder / "reproduce")]]
        flags = ["--overwrite", "--workdir", str(self.folder / name)]
        if name == "ml100k":
            flags += ["--data.path", str(self.data), *SHORT]
        return [[f"bin/{command}.py", str(self.checkout / f"configs/{name}.py"), *flags] for command in STEPS]

    def make(self, name: str) -> list[Path]:
        """Make the run if it is not finished; its files, relative to the folder. Cells that an earlier run made are in that."""
        done = self.folder / f"{name}.json"
        if done.is_file():
            return [Path(path) for path in json.loads(done.read_text())["files"]]
        before, started = self.cells() if name in EXPERIMENTS else set(), time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        for command in self.commands(name):
            self.run(command, self.folder / f"{name}-{Path(command[0]).stem}.log")
        if self.digest_now() != self.digest:
            raise Failed(f"{self.checkout}: its code changed during the run")
        if name in EXPERIMENTS:
            files = sorted(self.cells() - before) + [Path(f"reproduce/planted-smoke/{name}.json")]
        else:
            files = [Path(name) / file for file in FILES]
        found = {"seconds": round(time.perf_counter() - started), "files": [str(path) for path in files]}
        done.write_text(json.dumps(found, indent=2) + "\n")
        return files

    def cells(self) -> set[Path]:
        """Finished cells and their ranks."""
        cells = self.folder / "reproduce/planted-smoke/cells"
        return {path.relative_to(self.folder) for path in cells.glob("[!.]*") if path.suffix in (".json", ".npz")}

    def run(self, command: list[str], log: Path) -> None:
        """A command of this checkout in its own process; `Failed` shows the end of its log."""
        environment = os.environ | {"PYTHONPATH": str(self.checkout), "JAX_COMPILATION_CACHE_DIR": str(self.cache)}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # a checkout is only read
        command = [sys.executable, str(self.checkout / command[0]), *command[1:]]
        print(f"  {self.checkout.name}: {' '.join(command[1:])}", flush=True)
        with open(log, "w") as out:
            status = subprocess.run(command, cwd=self.folder, env=environment, stdout=out, stderr=out).returncode
        if status:
            raise Failed("\n".join([f"exit status {status}, {log}:", *log.read_text().splitlines()[-8:]]))


@dataclass
class Comparison:
    """What two runs have in common and what they have not."""

    figures: int = 0
    arrays: int = 0
    moved: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    added: set[str] = field(default_factory=set)

    def files(self, before: Path, after: Path, name: Path) -> None:
        """Compare one file of both folders."""
        there = [(folder / name).is_file() for folder in (before, after)]
        if not all(there):
            if any(there):
                self.moved.append(f"{name}: only {'before' if there[0] else 'after'}")
        elif name.suffix == ".npz":
            self.npz(before / name, after / name, name)
        else:
            self.json(before / name, after / name, name)

    def npz(self, before: Path, after: Path, name: Path) -> None:
        with np.load(before) as old, np.load(after) as new:
            self.moved += [f"{name} {leaf}: only in one" for leaf in sorted(set(old) ^ set(new))]
            for leaf in sorted(set(old) & set(new)):
                a, b = old[leaf], new[leaf]
                self.arrays += 1
                if (a.dtype, a.shape) != (b.dtype, b.shape):
                    self.moved.append(f"{name} {leaf}: {a.dtype} {a.shape} before, {b.dtype} {b.shape} after")
                elif a.tobytes() != b.tobytes():
                    count, most = np.sum(a != b), np.max(np.abs(a.astype(np.float64) - b))
                    self.moved.append(f"{name} {leaf}: {count} of {a.size} differ, by {most:.3g} at most")

    def json(self, before: Path, after: Path, name: Path) -> None:
        old, new = dict(leaves(read(before))), dict(leaves(read(after)))
        self.added |= {f"{name.name} {'.'.join(path)}" for path in set(new) - set(old)}
        for path, a in old.items():
            place, b = f"{name} {'.'.join(path)}", new.get(path, MISSING)
            if is_logged(name, path):
                if b is not MISSING and not close(a, b):
                    self.logged.append(f"{place}: {a} before, {b} after")
                continue
            self.figures += 1
            if b is MISSING or not (a == b or a != a and b != b):
                self.moved.append(f"{place}: {a} before, {'nothing' if b is MISSING else b} after")

    def report(self) -> str:
        """In lines, the first one a verdict."""
        size = f"{self.figures} figures, {self.arrays} arrays"
        lines = [f"DIFFERENT in {len(self.moved)} places ({size})" if self.moved else f"same ({size})"]
        for title, found in (("", self.moved), ("logged, ", self.logged), ("new, ", sorted(self.added))):
            lines += [f"  {title}{line}" for line in found[:SHOWN]]
            if len(found) > SHOWN:
                lines.append(f"  {title}and {len(found) - SHOWN} more")
        return "\n".join(lines)


def read(path: Path) -> Any:
    """A JSON file, or a list of the lines of one."""
    text = path.read_text()
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, number, text or None) of a JSON value, without times, memory and versions."""
    if path and UNLIKE.search(path[-1]):
        return
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, str(key)))
    else:
        yield path, value


def is_logged(name: Path, path: tuple[str, ...]) -> bool:
    """Whether a value only tells how a search went; in a log those are all but the figures on validation items."""
    if name.suffix == ".jsonl":
        return not any(part in ("validation", "ndcg@10", "best_epoch") for part in path)
    return any(LOGGED.search(part) for part in path)


def close(a: Any, b: Any) -> bool:
    """Equal, or numbers that are nearly so."""
    numbers = all(isinstance(value, int | float) for value in (a, b))
    return a == b or numbers and abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def main() -> int:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    names = arguments.only or NAMES
    if unknown := set(names) - set(NAMES):
        raise SystemExit(f"error: only: expected some of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    if hasattr(os, "sched_setaffinity"):  # the order of sums depends on the number of threads
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    before, after = (
        Side(checkout, arguments.data, arguments.workdir) for checkout in (arguments.before, arguments.after)
    )
    print(f"before: {before.checkout}, runs in {before.folder}\nafter:  {after.checkout}, runs in {after.folder}")
    status = 0
    for name in names:
        try:
            files = list(dict.fromkeys([*before.make(name), *after.make(name)]))
        except Failed as failure:
            print(f"{name}: FAILED\n{failure}", flush=True)
            status = 2
            continue
        comparison = Comparison()
        for file in files:
            comparison.files(before.folder, after.folder, file)
        if not comparison.figures:
            comparison.moved.append("no figure found")
        print(f"{name}: {comparison.report()}", flush=True)
        status = max(status, int(bool(comparison.moved)))
    return status


if __name__ == "__main__":
    raise SystemExit(main())
