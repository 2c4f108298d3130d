"""Recommend next items for a history of raw item ids: MODEL is a folder that bin/retrain.py wrote."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.cli import main


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional]
    """Model folder, e.g. runs/demo/model."""
    history: str
    """Raw item ids in time order, separated by blanks."""
    k: int = 10
    """How many items."""
    include_seen: bool = False
    """Also recommend items of the history."""
    on_unknown: Literal["skip", "error", "popular"] = "skip"
    """Unknown items: skip with a warning; an error; skip, and answer by popularity if none is known."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.recommend import Recommender

    recommender = Recommender.load(arguments.model)
    started = time.perf_counter()
    (items,) = recommender.recommend(
        [arguments.history.split()],
        arguments.k,
        exclude_seen=not arguments.include_seen,
        on_unknown=arguments.on_unknown,
    )
    for rank, (item, score) in enumerate(items, 1):
        print(f"{rank:3d}  {item:20s} {score:8.4f}")
    print(f"{(time.perf_counter() - started) * 1e3:.0f} ms, compilation included")


if __name__ == "__main__":
    main(command)
