"""Recommend next items: for one history of raw item ids, for some users of a file, or for all of them, file to file.

    bin/recommend.py MODEL --history "i1 i2"
    bin/recommend.py MODEL --histories users.parquet --user 42 43
    bin/recommend.py MODEL --histories users.parquet --out recs.parquet
    bin/recommend.py MODEL --histories users.parquet --out recs/ --shard 3/8

MODEL is a folder that bin/retrain.py wrote. --histories reads what training reads, and rows of (user, history). Output is
Parquet, CSV, TSV or JSON lines, by the suffix. A killed run, started again by the same command, goes on where it was; what
tells it so lies hidden beside the output (.recs.parquet.json) or in its folder (_shard-3-of-8.json).
"""

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.runs.cli import machine, main


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Model folder, e.g. runs/demo/model."""
    history: str | None = None
    """Raw item ids of one user in time order, separated by blanks."""
    histories: Path | None = None
    """File of many users, or a folder of such files."""
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
    include_seen: bool = False
    """Also recommend items of the user's own history."""
    on_unknown: Literal["skip", "error", "popular"] = "skip"
    """Items unknown to the model: skip them (who has no others gets nothing), or popular items for such, or an error."""


ONLY_WITH = {
    "histories": (
        "user",
        "out",
        "user_column",
        "item_column",
        "time_column",
        "history_column",
        "input_format",
        "separator",
        "equal_times",
        "missing_ids",
    ),
    "out": ("overwrite", "titles", "csv_safe", "shard", "format", "part_events"),
}


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    if (arguments.history is None) == (arguments.histories is None):
        raise ValueError("expected either --history or --histories")
    defaults = {field.name: field.default for field in fields(Arguments)}
    for needed, names in ONLY_WITH.items():
        given = [name for name in names if getattr(arguments, name) != defaults[name]]
        if given and getattr(arguments, needed) is None:
            raise ValueError(f"--{given[0]}: expected only with --{needed}")
    if arguments.histories is not None and (arguments.out is None) == (not arguments.user):
        raise ValueError(
            "expected --histories with --out (a file or folder for everyone's), or with --user (ids, to print)"
        )
    if arguments.out is not None:
        all_users(arguments, arguments.out)
    else:
        some_users(arguments)


def some_users(arguments: Arguments) -> None:
    """Print the answers for --history, or for --user."""
    from easrec_jax.serving.recommend import Recommender

    recommender = Recommender.load(arguments.model)
    options = {"exclude_seen": not arguments.include_seen, "on_unknown": arguments.on_unknown}
    started = time.perf_counter()
    if arguments.history is not None:
        items = arguments.history.split()
        if items and arguments.on_unknown == "skip" and not recommender.item_ids.encode(items).any():
            raise ValueError(f"--history: no known item in {shown(items)}; {hint(arguments.history)}")
        answers = recommender.recommend([items], arguments.k, **options)
    else:
        answers = recommender.recommend_users(read(arguments), arguments.user, arguments.k, **options)
    for user, answer in zip(arguments.user or ("",), answers, strict=True):
        if len(answers) > 1:
            print(f"user {printable(user)}")
        for rank, (item, score) in enumerate(answer, 1):
            title = recommender.titles.get(item, "")
            print(f"{rank:3d}  {printable(item):20s} {score:8.4f}  {printable(title)}".rstrip())
        if not answer:
            print("     nothing: no item of the history is known to the model, or nothing is left")
    print(f"{(time.perf_counter() - started) * 1e3:.0f} ms, compilation included")


def read(arguments: Arguments):
    """The interactions of --histories, of every user, however short."""
    from easrec_jax.data.read import read_interactions

    return read_interactions(
        arguments.histories, user_column=arguments.user_column, item_column=arguments.item_column,
        time_column=arguments.time_column, history_column=arguments.history_column, format=arguments.input_format,
        separator=arguments.separator, equal_times=arguments.equal_times, missing_ids=arguments.missing_ids,
        min_history=1,
    )  # fmt: skip


def shown(ids: Sequence[str]) -> str:
    return ", ".join(repr(raw[:60]) for raw in ids[:5]) + (", ..." if len(ids) > 5 else "")


def hint(history: str) -> str:
    separator = next((sign for sign in ",;|" if sign in history), None)
    if separator is None:
        return "expected ids of items that the model was trained on"
    return f"ids are separated by blanks, is {separator!r} meant to separate them?"


def printable(text: str) -> str:
    """On one line and without commands to the terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def all_users(arguments: Arguments, out: Path) -> None:
    from tqdm import tqdm

    from easrec_jax.serving.batch import Request, recommend_file, spare_memory
    from easrec_jax.serving.recommend import Recommender

    number, _, shards = arguments.shard.partition("/")
    if not (number.isdecimal() and shards.isdecimal()):
        raise ValueError(f"--shard: expected i/n, such as 1/4, got {arguments.shard!r}")
    assert arguments.histories is not None
    request = Request(
        arguments.k, not arguments.include_seen, arguments.on_unknown, arguments.user_column, arguments.item_column,
        arguments.time_column, arguments.history_column, arguments.input_format, arguments.separator,
        arguments.equal_times, arguments.missing_ids, arguments.titles, arguments.csv_safe,
    )  # fmt: skip
    spare_memory()
    recommender = Recommender.load(arguments.model)
    started = time.perf_counter()
    said = started
    with tqdm(unit=" users", unit_scale=True, desc="recommend", leave=False, delay=0.5, disable=None) as bar:

        def show(users: int, about: int) -> None:
            nonlocal said
            if bar.disable and time.perf_counter() - said > 30:  # no terminal: a plain line now and then
                said = time.perf_counter()
                print(f"recommend: {users:,} of about {about:,} users", file=sys.stderr, flush=True)
            bar.total = max(users, about)
            bar.update(users - bar.n)

        done = recommend_file(
            recommender, arguments.histories, out, request, shard=(int(number), int(shards)), format=arguments.format,
            part_events=arguments.part_events, overwrite=arguments.overwrite, on_progress=show,
        )  # fmt: skip
    if not done.written:
        print(f"already there, of the same input, model and request: {out}")
        return
    seconds = time.perf_counter() - started
    if done.unknown_events:
        warnings.warn(f"skipped {done.unknown_events:,} events of unknown items", stacklevel=1)
    if done.without_items:
        what = "answered by popularity" if arguments.on_unknown == "popular" else "left without recommendations"
        warnings.warn(f"{done.without_items:,} users without a known item: {what}", stacklevel=1)
    before = f" ({done.parts - done.written} of {done.parts} parts were there)" if done.written < done.parts else ""
    rate = f"{done.users:,} users in {seconds:.1f} s, {done.users / seconds:,.0f} users/s{before}"
    print(f"{rate}; {machine()['peak_memory_mb']} MB at most; written to {out}")


if __name__ == "__main__":
    main(command)
