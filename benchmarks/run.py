"""Speed and memory beside the machine's limits: tables, JSON, pictures.

    python benchmarks/run.py --data ml-1m.txt --model runs/ml1m/model --json speed.json

Every measurement runs in a process of its own (its peak memory is its own), medians after warm-up. Without --data the
embedded planted data stand in, without --model a network of random weights of `configs/ml1m.py`'s largest single layer.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from easrec_jax.runs.cli import main

HERE = Path(__file__).parent
SUITES = {
    "train": ["train-sasrec", "train-model"],
    "search": ["search"],
    "inference": ["bulk-model", "bulk-sasrec", "long-model", "long-sasrec", "one-user", "start"],
    "scaling": ["scaling", "catalogue"],
}


@dataclass(frozen=True)
class Arguments:
    suite: Literal["train", "search", "inference", "scaling", "all"] = "all"
    """What to measure."""
    data: Path | None = None
    """File of interactions."""
    model: Path | None = None
    """Model folder to measure."""
    json: Path | None = None
    """Write all figures there, flat keys."""
    rival: Path | None = None
    """Python of an environment with RecBole 1.2.1: its SASRec is measured in the same run (needs --data)."""
    pictures: Path = Path("runs/speed")
    """Folder for scaling.png and roofline.png."""


def measure(name: str, arguments: Arguments, limits: dict) -> dict:
    """One measurement in a fresh process."""
    request = {"name": name, "data": arguments.data and str(arguments.data), "limits": limits}
    request["model"] = arguments.model and str(arguments.model)
    done = subprocess.run(
        [sys.executable, str(HERE / "measure.py"), json.dumps(request)], capture_output=True, text=True
    )
    return printed(name, done)


def rival(python: Path, data: Path | None) -> dict:
    """RecBole's SASRec, in its own environment."""
    if data is None:
        raise ValueError("--rival: expected --data too")
    return printed("rival", subprocess.run([python, HERE / "rival.py", data], capture_output=True, text=True))


def printed(name: str, done: subprocess.CompletedProcess) -> dict:
    """The figures that a measurement printed last, each on a line."""
    if done.returncode:
        raise ValueError(f"{name}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}")
    figures = json.loads(done.stdout.splitlines()[-1])
    for key, value in figures.items():
        print(f"{key:44s} {value:>14,.4g}" if isinstance(value, (int, float)) else f"{key:44s} {value}")
    return figures


def ratios(figures: dict) -> dict:
    """Figures of two measurements of this run, divided."""
    pairs = {
        "search.epoch_over_sasrec_epoch": ("search.epoch_s", "train.sasrec.epoch_s"),
        "train.model_over_sasrec": ("train.model.targets_per_s", "train.sasrec.targets_per_s"),
        "inference.over_softmax_sasrec": ("inference.users_per_s", "inference.sasrec.users_per_s"),
        "inference.long_memory_over_sasrec": ("inference.long.call_mb", "inference.long_sasrec.call_mb"),
        "train.over_rival": ("train.sasrec.targets_per_s", "rival.train_samples_per_s"),
        "inference.over_rival": ("inference.users_per_s", "rival.users_per_s"),
    }
    return {key: figures[a] / figures[b] for key, (a, b) in pairs.items() if a in figures and b in figures}


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    names = [name for suite, all_ in SUITES.items() if arguments.suite in (suite, "all") for name in all_]
    figures = measure("limits", arguments, {})
    limits = dict(figures)
    for name in names:
        figures |= measure(name, arguments, limits)
        # a later measurement may fail: what is there is kept
        write(figures, arguments)
    if arguments.rival is not None:
        figures |= rival(arguments.rival, arguments.data)
    more = ratios(figures)
    for key, value in more.items():
        print(f"{key:44s} {value:>14.4g}")
    write(figures | more, arguments)


def write(figures: dict, arguments: Arguments) -> None:
    """The JSON file and the pictures, as far as the figures are there."""
    from pictures import draw

    from easrec_jax.files import write_text

    draw(figures, arguments.pictures)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main(command)
