"""One GPU, measured in nine minutes: search and retraining, inference, 10^7 items, one exported file; JSON, and a table.

    benchmarks/gpu.sh --json gpu.json --data ml-1m.txt

Checks come in the order of their worth, each in a process of its own. What time does not allow is named, not guessed; what failed
is named with its reason, and the next one goes on. Without --data the embedded planted data stand in for MovieLens-1M.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from subject import ROOT

from easrec_jax.files import write_text
from easrec_jax.runs.cli import main

CONFIGS = ROOT / "configs"
FULL: list[dict[str, Any]] = [  # in this order; `most` are seconds
    {"name": "about", "most": 60, "product": 8192},
    {"name": "smoke", "most": 90, "tests": ["network", "mixers"]},
    {"name": "export", "most": 60},
    {"name": "inference", "most": 120, "lengths": [[200, 1024], [2000, 64]]},
    {"name": "sampled", "most": 90, "items": 10**7, "rows": 1280, "widths": [64, 128]},
    {"name": "full_loss", "most": 60, "items": 10**6, "rows": 64},
    {"name": "best", "most": 60, "items": 10**7, "rows": 256},
    {"name": "recipe", "as": "ml1m", "most": 240, "config": str(CONFIGS / "ml1m.py"), "flags": [], "commands": 2},
    {
        "name": "recipe", "as": "paper", "most": 180, "config": str(CONFIGS / "ml1m_paper.py"), "commands": 1,
        "flags": ["--search.epochs", "1"],
    },
]  # fmt: skip
SMALL: list[dict[str, Any]] = [  # seconds on a CPU, so that none of them rots
    {"name": "about", "product": 64},
    {"name": "export"},
    {"name": "inference", "lengths": [[16, 4]]},
    {"name": "sampled", "items": 1000, "rows": 4, "widths": [16]},
    {"name": "full_loss", "items": 1000, "rows": 4},
    {"name": "best", "items": 1000, "rows": 32},
    {
        "name": "recipe", "as": "ml1m", "config": str(CONFIGS / "demo.py"), "commands": 2,
        "flags": [
            "--search.epochs", "2", "--search.warmup_epochs", "1", "--search.finalists", "1", "--retrain.epochs", "1",
            "--retrain.baselines", "popularity", "--data.planted.users", "100", "--data.planted.items", "80",
        ],
    },
]  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    json: Path | None = None
    """Write all figures there, after every check."""
    data: Path | None = None
    """MovieLens-1M, one `user item` a line."""
    size: Literal["full", "small"] = "full"
    """full: for a GPU; small: that all of it runs."""
    minutes: float = 9.0
    """No check begins, or goes on, after so many."""
    only: tuple[str, ...] = ()
    """Only these checks, by name."""


def checks(arguments: Arguments) -> list[dict[str, Any]]:
    """The requests, as they are sent. `ValueError` for a name that is none."""
    plan = FULL if arguments.size == "full" else SMALL
    names = [check.get("as", check["name"]) for check in plan]
    if unknown := [name for name in arguments.only if name not in names]:
        raise ValueError(f"--only: expected some of {', '.join(names)}, got {', '.join(unknown)}")
    if arguments.data is not None and not arguments.data.is_file():
        raise ValueError(f"--data: no such file: {arguments.data}")
    shared = {"data": arguments.data and str(arguments.data.resolve()), "model": None, "size": arguments.size}
    wanted = ("about", *arguments.only) if arguments.only else names  # the others divide by what it measures
    return [shared | check for check, name in zip(plan, names, strict=True) if name in wanted]


def asked(request: dict[str, Any], most: float) -> tuple[dict, str]:
    """(figures, why there are none) of one check in a process of its own, of so many seconds at most."""
    call = [sys.executable, str(Path(__file__).parent / "measure.py"), json.dumps(request)]
    try:
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=most)
    except subprocess.TimeoutExpired:
        return {}, f"more than {most:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {}, lines[-1] if lines else f"exit status {done.returncode}"
    return json.loads(done.stdout.splitlines()[-1]), ""


def measure(arguments: Arguments) -> dict:
    """All figures, flat; under `not run` what is missing, and why."""
    begun, missing, figures = time.perf_counter(), {}, {}
    for request in checks(arguments):
        name = request.get("as", request["name"])
        left = 60 * arguments.minutes - (time.perf_counter() - begun)
        most, why = min(request.get("most", 600), left), "no time left"
        if left > 10:
            print(f"{name}: at most {most:.0f} s ...", flush=True)
            found, why = asked(request | {"limits": figures}, most)
            figures |= found
        if why:
            missing[name] = why
            print(f"{name}: not run: {why}", flush=True)
        if arguments.json is not None:  # a later one may take the machine down
            write_text(arguments.json, json.dumps(figures | {"not run": missing}, indent=2) + "\n")
    return figures | {"not run": missing}


def table(figures: dict) -> str:
    """Markdown, a line a figure."""
    lines = [f"| {figures.get('device', 'device not known')} | |", "|---|---|"]
    for name, value in figures.items():
        if name != "device":
            shown = f"{value:,.4g}" if isinstance(value, float) else value
            lines.append(f"| {name} | {shown} |")
    return "\n".join(lines)


def command() -> None:
    print(table(measure(tyro.cli(Arguments, description=__doc__, use_underscores=True))))


if __name__ == "__main__":
    main(command)
