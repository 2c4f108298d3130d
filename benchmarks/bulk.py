"""Everyone's recommendations, file to file: what bin/recommend.py says of its speed and memory at several numbers of users.

    python benchmarks/bulk.py runs/ml1m/model --users 100000 1000000

The users are made: as many events as a geometric distribution gives, items by the model's own popularity.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

ROOT = Path(__file__).parents[1]
USERS_A_FILE = 100_000


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional]
    """Model folder."""
    users: tuple[int, ...] = (100_000, 1_000_000)
    """Numbers of users; each is a process of its own."""
    events: int = 22
    """Events of a user, on average."""


def write_users(folder: Path, recommender, users: int, events: int) -> None:
    """Parquet files of one row an interaction."""
    import polars as pl

    rng = np.random.default_rng(0)
    share = recommender.popularity[1:] + 1.0
    raw = pl.Series(recommender.item_ids.raw, dtype=pl.String)
    for first in range(0, users, USERS_A_FILE):
        names = np.arange(first, min(first + USERS_A_FILE, users))
        count = rng.geometric(1 / events, len(names))
        items = rng.choice(len(raw), int(count.sum()), p=share / share.sum())
        table = pl.DataFrame({"user_id": np.repeat(names, count), "item_id": raw.gather(items)})
        table.write_parquet(folder / f"{first:09d}.parquet")


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.serving.recommend import Recommender

    recommender = Recommender.load(arguments.model)
    for users in arguments.users:
        with tempfile.TemporaryDirectory() as folder:
            histories = Path(folder) / "users"
            histories.mkdir()
            write_users(histories, recommender, users, arguments.events)
            program = [sys.executable, ROOT / "bin" / "recommend.py", arguments.model, "--histories", histories]
            done = subprocess.run(
                [*program, "--out", Path(folder) / "recs.parquet"], check=True, stdout=subprocess.PIPE, text=True
            )
        print(done.stdout.partition("; written")[0])


if __name__ == "__main__":
    command()
