"""Recommend next items: for one history of raw item ids, or for all users of a file, killed and started again at will.

    bin/recommend.py MODEL --history "i1 i2"
    bin/recommend.py MODEL --histories users.parquet --out recs.parquet
    bin/recommend.py MODEL --histories users.parquet --out recs/ --shard 3/8

MODEL is a folder that bin/retrain.py wrote. Input and output are Parquet, CSV, TSV or JSON lines, by the suffix. A row of the
input is an interaction (user, item[, timestamp]) or a user (user, history: a list, or ids between blanks).
"""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.cli import machine, main


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional]
    """Model folder, e.g. runs/demo/model."""
    history: str | None = None
    """Raw item ids of one user in time order, separated by blanks."""
    histories: Path | None = None
    """File of many users, or a folder of such files."""
    out: Path | None = None
    """With --histories: a file (.parquet, .csv, .tsv, .jsonl), or a folder for part files."""
    shard: str = "1/1"
    """With a folder as --out: compute the i-th of n shares, i from 1."""
    format: Literal["parquet", "csv", "tsv", "jsonl"] = "parquet"
    """Of the part files in a folder."""
    part_events: int = 500_000
    """Interactions a part: what memory is needed for at a time, and what a killed run does again."""
    user_column: str = ""
    """Column of user ids; empty: the usual names are tried."""
    item_column: str = ""
    """Column of item ids; empty: the usual names are tried."""
    time_column: str = ""
    """Column of timestamps; empty: the usual names are tried, and without one the row order is the time order."""
    history_column: str = ""
    """Column of histories, one row a user; empty: history or items, where there is such a column."""
    k: int = 10
    """How many items."""
    include_seen: bool = False
    """Also recommend items of the history."""
    on_unknown: Literal["skip", "error", "popular"] = "skip"
    """Items unknown to the model: skip them, and a history of nothing else is an error (of --histories: gets no
    recommendations); always an error; or skip them, and answer such a history by popularity."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    if (arguments.history is None) == (arguments.histories is None):
        raise ValueError("expected either --history or --histories")
    if (arguments.histories is None) != (arguments.out is None):
        raise ValueError("expected --histories and --out together")
    if arguments.history is not None:
        one_user(arguments, arguments.history)
    else:
        all_users(arguments)


def one_user(arguments: Arguments, history: str) -> None:
    from easrec_jax.recommend import Recommender

    recommender = Recommender.load(arguments.model)
    started = time.perf_counter()
    (items,) = recommender.recommend(
        [history.split()],
        arguments.k,
        exclude_seen=not arguments.include_seen,
        on_unknown=arguments.on_unknown,
    )
    for rank, (item, score) in enumerate(items, 1):
        print(f"{rank:3d}  {item:20s} {score:8.4f}")
    print(f"{(time.perf_counter() - started) * 1e3:.0f} ms, compilation included")


def all_users(arguments: Arguments) -> None:
    from tqdm import tqdm

    from easrec_jax.batch import Request, recommend_file, spare_memory
    from easrec_jax.recommend import Recommender

    number, _, shards = arguments.shard.partition("/")
    if not (number.isdecimal() and shards.isdecimal()):
        raise ValueError(f"--shard: expected i/n, such as 1/4, got {arguments.shard!r}")
    assert arguments.histories is not None and arguments.out is not None
    request = Request(
        arguments.k, not arguments.include_seen, arguments.on_unknown, arguments.user_column, arguments.item_column,
        arguments.time_column, arguments.history_column,
    )  # fmt: skip
    spare_memory()
    recommender = Recommender.load(arguments.model)
    started = time.perf_counter()
    with tqdm(unit=" users", unit_scale=True, desc="recommend", leave=False, delay=0.5) as bar:

        def show(users: int, about: int) -> None:
            bar.total = max(users, about)
            bar.update(users - bar.n)

        done = recommend_file(
            recommender, arguments.histories, arguments.out, request, shard=(int(number), int(shards)),
            format=arguments.format, part_events=arguments.part_events, on_progress=show,
        )  # fmt: skip
    seconds = time.perf_counter() - started
    if done.unknown_events:
        warnings.warn(f"skipped {done.unknown_events:,} events of unknown items", stacklevel=1)
    if done.without_items:
        what = "answered by popularity" if arguments.on_unknown == "popular" else "left without recommendations"
        warnings.warn(f"{done.without_items:,} users without a known item: {what}", stacklevel=1)
    rate = (
        f"{done.users:,} users in {seconds:.1f} s, {done.users / seconds:,.0f} users/s"
        if done.users
        else "nothing left"
    )
    print(f"{rate}; {machine()['peak_memory_mb']} MB at most; written to {arguments.out}")


if __name__ == "__main__":
    main(command)
