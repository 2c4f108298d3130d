"""A log in Parquet parts: read whole, prepared, and batches from the prepared folder; CPU seconds and memory of each.

    python benchmarks/prepare.py --events 10000000 --parts 16 --folder /tmp/large

Planted: 20 events a user, items by Zipf's law, events/50 of them. Each step is a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from subject import peak_mb

from easrec_jax.memory import spare_memory
from easrec_jax.runs.cli import main

STEPS = ("read", "prepare", "batches")
PER_USER, PER_ITEM, ZIPF = 20, 50, 1.05


@dataclass(frozen=True)
class Arguments:
    events: int = 10_000_000
    """Interactions of the log."""
    parts: int = 16
    """Parquet files that it is in."""
    folder: Path = Path("/tmp/easrec-large")
    """Where the log and the prepared folder are made; a log that is there is taken."""
    texts: bool = False
    """Ids of text instead of integers."""
    part_events: int = 1 << 19
    """Events a part when preparing."""
    batches: int = 3000
    """How many training batches of 32 x 50 positions are made."""
    step: Literal["all", "read", "prepare", "batches"] = "all"
    """One step alone, in this process; without: each in its own."""

    @property
    def log(self) -> Path:
        """The folder of parts."""
        return self.folder / f"log-{self.events}-{self.parts}{'-texts' if self.texts else ''}"

    @property
    def prepared(self) -> Path:
        """What is made of it."""
        return self.folder / f"prepared-{self.events}{'-texts' if self.texts else ''}"


def make_log(arguments: Arguments) -> None:
    """Write the parts, users and times in no order."""
    import polars as pl

    users, items = arguments.events // PER_USER, arguments.events // PER_ITEM
    shares = np.cumsum(np.arange(1, items + 1) ** -ZIPF)
    arguments.log.mkdir(parents=True)
    for part in range(arguments.parts):
        rng = np.random.default_rng(part)
        count = arguments.events * (part + 1) // arguments.parts - arguments.events * part // arguments.parts
        columns = {
            "user": rng.integers(0, users, count),
            "item": np.searchsorted(shares, rng.random(count) * shares[-1]),
            "timestamp": rng.integers(1_600_000_000, 1_700_000_000, count),
        }
        frame = pl.DataFrame(columns)
        if arguments.texts:
            frame = frame.with_columns(pl.format("user-{}", "user"), pl.format("item-{}", "item"))
        frame.write_parquet(arguments.log / f"part-{part}.parquet")


def read(arguments: Arguments) -> dict:
    """The reader: everything in memory."""
    from easrec_jax.data.batches import training_samples
    from easrec_jax.data.read import read_interactions
    from easrec_jax.data.split import Split

    split = Split(read_interactions(arguments.log))
    samples = training_samples(split, max_length=50, targets="all", windows="all")
    return {"samples": len(samples)}


def prepare(arguments: Arguments) -> dict:
    """The folder, as the command makes it."""
    spare_memory()
    from easrec_jax.data.prepare import prepare as prepared

    done = prepared(arguments.log, arguments.prepared, overwrite=True, part_events=arguments.part_events)
    size = sum(path.stat().st_size for path in arguments.prepared.iterdir())
    return done.counts | {"folder_mb": round(size / 1e6)}


def batches(arguments: Arguments) -> dict:
    """Training batches from the folder: what opening costs, and what is made a second of CPU."""
    import polars as pl  # what it takes itself is no part of the figure

    from easrec_jax.data.batches import epoch_batches, training_samples
    from easrec_jax.data.read import read_interactions
    from easrec_jax.data.split import Split

    pl.DataFrame({"id": ["1"]}).lazy().collect()
    before, begun = anonymous_mb(), time.process_time()
    split = Split(read_interactions(arguments.prepared))
    opened = time.process_time() - begun
    samples = training_samples(split, max_length=50, targets="all", windows="all")
    planned = time.process_time() - begun - opened
    begun, positions, most = time.process_time(), 0, 0.0
    for number, batch in enumerate(epoch_batches(samples, max_length=50, batch_size=32, seed=0, epoch=0)):
        if number == 0:
            planned, begun = planned + time.process_time() - begun, time.process_time()
        if number == arguments.batches:
            break
        positions += batch.items.size
        if number % 100 == 0:
            most = max(most, anonymous_mb() - before)
    seconds = time.process_time() - begun
    return {
        "open_s": round(opened, 2), "plan_s": round(planned, 2), "anonymous_mb": round(most),
        "million_positions_per_cpu_s": round(positions / seconds / 1e6, 1),
    }  # fmt: skip


def anonymous_mb() -> float:
    """Resident memory of this process that is no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    if arguments.step == "all":
        if not arguments.log.is_dir():
            make_log(arguments)
        for step in STEPS:
            found = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--step", step], check=True, capture_output=True, text=True
            )
            print(found.stdout.splitlines()[-1], flush=True)
        return
    base, begun = peak_mb(), time.process_time()
    figures = {"read": read, "prepare": prepare, "batches": batches}[arguments.step](arguments)
    cost = {"cpu_s": round(time.process_time() - begun, 1), "peak_mb": peak_mb(), "peak_before_mb": base}
    print(json.dumps({"step": arguments.step, "events": arguments.events, **figures, **cost}))


if __name__ == "__main__":
    main(command)
