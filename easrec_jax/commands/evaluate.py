"""Evaluate saved models on a data set by any protocols, alone or against others: MODEL is a folder that retrain wrote.

Several models are the seeds of one: each user's gain is averaged over them. With --against, the other models' are
compared user by user: the difference, its standard error by users and, of several seeds, by them too, and the p of a
t-test; and their costs are measured beside each other, in turn. Events of items that the models do not know are left out, and counted.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.config import DataConfig, EvaluateConfig
from easrec_jax.runs.cli import machine


@dataclass(frozen=True)
class Arguments:
    models: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL...")]
    """Model folders, e.g. runs/demo/model."""
    budget: float | None = None
    """Of elastic models: their most accurate networks of at most so many FLOPs over the largest one's, in (0, 1]."""
    against: tuple[Path, ...] = ()
    """Model folders to compare with, which know the same items; elastic ones at their largest size."""
    part: Literal["validation", "test"] = "test"
    """Which held-out items are the targets."""
    data: DataConfig = field(default_factory=DataConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    seed: int = 0
    """Seed of planted data: that of the training."""
    beyond: bool = False
    """Also of the lists: catalogue coverage, novelty, share of popular items and, with --data.features, diversity."""
    out: Path | None = None
    """File for figures and lists of every user: .parquet or .jsonl, a row for each model, protocol and user."""
    json: bool = False
    """Print figures, comparisons, counts and settings as one line of JSON instead of tables."""


def command() -> None:
    """Evaluate the models and print tables, or one line of JSON."""
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.evaluate.latency import BULK_USERS
    from easrec_jax.runs.evaluation import Wanted, evaluate_models
    from easrec_jax.runs.tables import comparison_table, costs_table, metrics_table

    done = evaluate_models(
        arguments.models,
        arguments.against,
        arguments.data,
        arguments.evaluate,
        part=arguments.part,
        seed=arguments.seed,
        budget=arguments.budget,
        wanted=Wanted(arguments.beyond, arguments.out),
    )
    if arguments.json:
        settings = {"settings": dataclasses.asdict(arguments.evaluate)}
        timing = {"prepare_s": done.prepare_s, "evaluate_s": done.evaluate_s}
        print(json.dumps({"part": arguments.part} | done.record() | settings | timing | machine()))
        return
    print(metrics_table(done.figures))
    if done.beyond:
        print(f"\n{metrics_table(done.beyond)}\n")
    if done.against:
        print(f"\nagainst {', '.join(map(str, arguments.against))}, user by user\n{comparison_table(done.against)}")
        print(f"\nin batches of {BULK_USERS} users of N events\n{costs_table(done.costs)}\n")
    for line in done.remarks():
        print(line)
    print(
        f"{arguments.part} items of {done.users} users; read and prepared in {done.prepare_s:.2f} s, "
        f"evaluated in {done.evaluate_s:.2f} s (compilation included), {machine()['peak_memory_mb']} MB at most"
    )
