"""Prepare a log of any size once: SRC... -> DIR, which --data.path of every other command then reads by memory map.

    bin/prepare.py clicks/ --out prepared
    bin/prepare.py "s3://bucket/log/*.parquet" archive.parquet --out prepared --k_core 5
    bin/search.py configs/demo.py --data.path prepared --data.k_core 5

Memory is needed for a part at a time, not for the log. Flags are those of --data of the same names; what shapes the data
(k_core, min_history, duplicates, equal_times, missing_ids) is asked for again where the folder is read. The folder appears
when it is whole: a killed run leaves none, the same command starts over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.data.reading import Options
from easrec_jax.memory import spare_memory
from easrec_jax.runs.cli import machine


@dataclass(frozen=True)
class Arguments:
    """The flags of the command."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """Files, folders of parts, patterns such as "log/*.parquet", addresses such as s3://bucket/log/, one after the other."""
    out: Path
    """Folder to write."""
    overwrite: bool = False
    """Replace a folder that was prepared of another log or with other settings."""
    part_events: int = 1 << 19
    """Interactions a part: what memory is needed for at a time."""
    format: Literal["auto", "atomic", "pairs", "csv", "tsv", "parquet", "jsonl", "movielens", "headerless", "lists"] = (
        "auto"
    )
    """File format; auto: by suffix and first lines. Parquet, JSON lines, CSV and TSV stream, others are read whole."""
    separator: str = ""
    """What parts the fields of text; empty: found by the header or the first line."""
    user_column: str = ""
    """Column of user ids; empty: the usual names are tried."""
    item_column: str = ""
    """Column of item ids; empty: the usual names are tried."""
    time_column: str = ""
    """Column of timestamps; empty: the usual names are tried; without one the row order counts, parts in the order of names."""
    history_column: str = ""
    """Column of histories, one row a user; empty: the usual names are tried."""
    equal_times: Literal["mixed", "file"] = "mixed"
    """Order of a user's events at the same time: mixed: by a fixed hash, whatever the order of the rows; file: by row."""
    missing_ids: Literal["error", "drop"] = "error"
    """Rows without a user or item id: an error that names the first, or left out and counted."""
    min_history: int = 3
    """Users with fewer interactions are dropped."""
    k_core: int = 0
    """Drop users and items with fewer interactions than this, until none is left; each round is a pass."""
    duplicates: Literal["keep", "drop"] = "keep"
    """Repeated (user, item) pairs: keep all, or only the first."""
    split: str = "leave-one-out"
    """A split by time (time:0.8/0.1/0.1) needs the times, which are kept for it; leave-one-out and ratio can be asked of any folder."""
    valid: str = ""
    """File or folder of validation events, beside --test and --split files; then all is read whole."""
    test: str = ""
    """File or folder of test events."""


def command() -> None:
    """Prepare the log and say what is in the folder."""
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    spare_memory()

    from tqdm import tqdm

    from easrec_jax.data.prepare import prepare

    started = time.perf_counter()
    names = [field.name for field in fields(Options) if field.name != "times"]  # which a prepared folder does not keep
    options = {name: getattr(arguments, name) for name in names}
    with tqdm(desc="prepare", unit="part", leave=False, disable=None) as progress:

        def show(part: int, of: int) -> None:
            progress.total, progress.n = of, part
            progress.refresh()

        done = prepare(
            arguments.sources, arguments.out, overwrite=arguments.overwrite, part_events=arguments.part_events,
            on_part=show, **options,
        )  # fmt: skip
    if not done.written:
        print(f"already there, of the same log and settings: {arguments.out}")
        return
    counts = done.counts
    print(f"data: {counts['users']:,} users, {counts['items']:,} items, {counts['interactions']:,} interactions")
    for note in done.notes:
        print(f"data: {note}")
    seconds = time.perf_counter() - started
    print(f"  {seconds:.0f} s, {machine()['peak_memory_mb']} MB at most; written to {arguments.out}")
