"""Recommend next items: for one history of raw item ids, for some users of a file, or for all of them, file to file.

    recommend MODEL --history "i1 i2"
    recommend MODEL --histories users.parquet --user 42 43
    recommend MODEL --histories users.parquet --out recs.parquet
    recommend MODEL --histories users.parquet --out recs/ --shard 3/8

MODEL is a folder that retrain wrote. --histories reads what training reads, and rows of (user, history). Output is
Parquet, CSV, TSV or JSON lines, by the suffix. A killed run, started again by the same command, goes on where it was; what
tells it so lies hidden beside the output (.recs.parquet.json) or in its folder (_shard-3-of-8.json).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from easrec_jax.data.reading import Reading
from easrec_jax.runs.cli import machine

if TYPE_CHECKING:
    from easrec_jax.serving.recommend import Recommender


@dataclass(frozen=True)
class Mesh:
    data: int = 1
    """With --out: devices along the users, each with a copy of the part of the item table that it has."""
    items: int = 1
    """With --out: devices along the item table, each with 1 / items of its rows."""


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Model folder, e.g. runs/demo/model."""
    budget: float | None = None
    """Of an elastic model: its most accurate network of at most so many FLOPs over the largest one's, in (0, 1]."""
    per_user: bool = False
    """Of an elastic model with a router (command route): answer each user by the size that it chooses."""
    history: str | None = None
    """Raw item ids of one user in time order, separated by blanks."""
    histories: str | None = None
    """File of many users, a folder of such files, a pattern ("log/*.parquet") or an address (s3://...)."""
    user: tuple[str, ...] = ()
    """With --histories, without --out: print what is recommended to these users of it, by their ids."""
    out: Path | None = None
    """With --histories: where everyone's go, a file (.parquet, .csv, .tsv, .jsonl), or a folder for part files."""
    overwrite: bool = False
    """Replace what --out holds of another input, model or request; a file at the end, by the whole new one."""
    titles: bool = False
    """With --out: also write the items' titles, which the model must have (data.titles when it is trained)."""
    csv_safe: bool = False
    """With CSV or TSV as output: put ' before ids and titles that a spreadsheet would compute (= + - @ tab, line end)."""
    shard: str = "1/1"
    """With a folder as --out: compute the i-th of n shares, i from 1."""
    format: Literal["parquet", "csv", "tsv", "jsonl"] | None = None
    """With a folder as --out: format of the part files (default parquet)."""
    part_events: int = 500_000
    """With --out: interactions a part; what memory is needed for at a time, and what a killed run does again."""
    user_column: str = ""
    """Of --histories: column of user ids; empty: the usual names are tried."""
    item_column: str = ""
    """Of --histories: column of item ids; empty: the usual names are tried."""
    time_column: str = ""
    """Of --histories: column of timestamps; empty: the usual names are tried; without one the row order counts."""
    history_column: str = ""
    """Of --histories with one row a user: column of the histories; empty: the usual names are tried."""
    input_format: Literal[
        "auto", "atomic", "pairs", "csv", "tsv", "parquet", "jsonl", "movielens", "headerless", "lists"
    ] = "auto"
    """Of --histories: file format; auto: by suffix and first lines. lists: one line a user, its id and its items."""
    separator: str = ""
    """Of --histories: what separates the fields of a text file; empty: it is looked for in the first lines."""
    equal_times: Literal["mixed", "file"] = "mixed"
    """Of --histories: events of a user at the same time are ordered by a fixed hash (mixed) or as their rows are (file)."""
    missing_ids: Literal["error", "drop"] = "error"
    """Of --histories: rows without a user or item id: an error that names the first, or left out."""
    k: int = 10
    """How many items to recommend to a user."""
    mesh: Mesh = field(default_factory=Mesh)
    include_seen: bool = False
    """Also recommend items of the user's own history."""
    now: float | None = None
    """Of a model that reads times: when it is asked for, seconds since 1970; without it, what is usual in the training data."""
    history_times: str = ""
    """Of --history and such a model: when each event was, seconds since 1970, separated by blanks."""
    on_unknown: Literal["skip", "error", "popular"] = "skip"
    """Items unknown to the model: skip them (who has no others gets nothing), or popular items for such, or an error."""


# how --histories is read: the flags of the names of `Reading`, but for the format, as --format is that of --out
READING = {field.name: field.name for field in fields(Reading)} | {"format": "input_format"}
ONLY_WITH = {
    "history": ("history_times",),
    "histories": ("user", "out", *READING.values()),
    "out": ("overwrite", "titles", "csv_safe", "shard", "format", "part_events", "mesh"),
}


def command() -> None:
    """Print some answers, or write those of everyone."""
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    check(arguments)
    if arguments.out is not None:
        write_everyones(arguments, arguments.out)
    else:
        print_some(arguments)


def check(arguments: Arguments) -> None:
    """Raise `ValueError` naming a flag that goes with another one only, or not with it."""
    if (arguments.history is None) == (arguments.histories is None):
        raise ValueError("expected either --history or --histories")
    defaults = vars(Arguments(arguments.model))
    for needed, names in ONLY_WITH.items():
        given = [name for name in names if getattr(arguments, name) != defaults[name]]
        if given and getattr(arguments, needed) is None:
            raise ValueError(f"--{given[0]}: expected only with --{needed}")
    if arguments.histories is not None and (arguments.out is None) == (not arguments.user):
        raise ValueError(
            "expected --histories with --out (a file or folder for everyone's), or with --user (ids, to print)"
        )


def reading(arguments: Arguments) -> dict:
    """How --histories is read, by the names of `Reading`."""
    return {name: getattr(arguments, flag) for name, flag in READING.items()}


def load(arguments: Arguments) -> Recommender:
    """The model, on the devices that --mesh.* say."""
    from easrec_jax.serving.on_mesh import load_on_mesh
    from easrec_jax.serving.recommend import Recommender

    mesh = arguments.mesh
    if mesh == Mesh():
        return Recommender.load(arguments.model, arguments.budget, per_user=arguments.per_user)
    if min(mesh.data, mesh.items) < 1:
        raise ValueError(f"--mesh.data, --mesh.items: expected 1 or more, got {mesh.data} and {mesh.items}")
    whole = load_on_mesh(arguments.model, mesh.data, mesh.items)
    return whole.per_user() if arguments.per_user else whole.with_budget(arguments.budget)


def print_some(arguments: Arguments) -> None:
    """Print the answers for --history, or for --user."""
    from easrec_jax.data.prepared import refuse_prepared
    from easrec_jax.data.read import read_interactions
    from easrec_jax.serving.listing import check_some_known, listing
    from easrec_jax.serving.recommend import Recommender

    recommender = Recommender.load(arguments.model, arguments.budget, per_user=arguments.per_user)
    options = {"exclude_seen": not arguments.include_seen, "on_unknown": arguments.on_unknown, "now": arguments.now}
    started = time.perf_counter()
    if arguments.history is not None:
        items = arguments.history.split()
        if arguments.on_unknown == "skip":
            check_some_known(recommender.item_ids, arguments.history)
        times: Any = [arguments.history_times.split()] if arguments.history_times else None
        answers = recommender.recommend([items], arguments.k, times=times, **options)
    else:
        refuse_prepared(arguments.histories)
        data = read_interactions(
            arguments.histories, min_history=1, times=recommender.architecture.reads_times, **reading(arguments)
        )
        answers = recommender.recommend_users(data, arguments.user, arguments.k, **options)
    for line in listing(answers, arguments.user or ("",), recommender.titles):
        print(line)
    print(f"{(time.perf_counter() - started) * 1e3:.0f} ms, compilation included")


def write_everyones(arguments: Arguments, out: Path) -> None:
    """Write the answers for all of --histories to --out."""
    from easrec_jax.memory import spare_memory
    from easrec_jax.serving.batch import recommend_file
    from easrec_jax.serving.bulk_progress import UserProgress, summary, warn_of_unknown
    from easrec_jax.serving.part_answers import Request

    number, _, shards = arguments.shard.partition("/")
    if not (number.isdecimal() and shards.isdecimal()):
        raise ValueError(f"--shard: expected i/n, such as 1/4, got {arguments.shard!r}")
    assert arguments.histories is not None
    request = Request(
        k=arguments.k, exclude_seen=not arguments.include_seen, on_unknown=arguments.on_unknown,
        reading=Reading(**reading(arguments)), titles=arguments.titles, csv_safe=arguments.csv_safe,
        part_events=arguments.part_events, now=arguments.now,
    )  # fmt: skip
    spare_memory()
    recommender = load(arguments)
    started = time.perf_counter()
    with UserProgress() as progress:
        done = recommend_file(
            recommender, arguments.histories, out, request, shard=(int(number), int(shards)), format=arguments.format,
            overwrite=arguments.overwrite, on_progress=progress,
        )  # fmt: skip
    if not done.written:
        print(f"already there, of the same input, model and request: {out}")
        return
    seconds = time.perf_counter() - started
    warn_of_unknown(done, arguments.on_unknown)
    print(f"{summary(done, seconds)}; {machine()['peak_memory_mb']} MB at most; written to {out}")
