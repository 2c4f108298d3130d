"""Everyone's recommendations, file to file: in parts of bounded size, each written whole or not at all.

What is written, one row a user, best item first: `user`, `items`, `scores` (lists) in Parquet and JSON lines; in CSV and
TSV one row a recommendation: `user`, `rank`, `item`, `score`; `titles` or `title` where asked for. A folder OUT gets
`part-00003-of-00064.parquet` and so on; a file OUT is joined at the end from such a folder beside it, `OUT.parts`, which
then goes. The same command goes on where a killed one stopped: a part that is there is done (see `parts`).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import operator
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from easrec_jax.files import write_bytes
from easrec_jax.serving.parts import claimed, encode, is_done, join, locked, remove_whole, safe_cells
from easrec_jax.serving.recommend import Recommender

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

    from easrec_jax.data.histories import Histories, Source

FORMAT = "easrec_jax recommendations 2"
EVENTS_PER_PART = 500_000
ANSWERS_PER_PART = 2_000_000  # users x k
PARTS_PER_SHARD = 500  # files that are open at a time when the input is split; beyond, parts and memory grow
USERS_PER_CALL = 8_192


@dataclass(frozen=True)
class Request:
    """What is asked for each user, and how the input is read (see `data.read.Reading`)."""

    k: int = 10
    exclude_seen: bool = True
    on_unknown: str = (
        "skip"  # "popular": who has no known item is answered by popularity; "skip": an empty list; "error"
    )
    user_column: str = ""
    item_column: str = ""
    time_column: str = ""
    history_column: str = ""
    input_format: str = "auto"
    separator: str = ""
    equal_times: str = "mixed"
    missing_ids: str = "error"
    titles: bool = False  # also write the items' titles
    csv_safe: bool = False  # CSV and TSV: an apostrophe before what a spreadsheet would take for a formula


class Done(NamedTuple):
    """What a run did: parts that were there before count in `parts` alone."""

    parts: int
    written: int  # parts
    users: int
    without_items: int  # users of these without any known item
    unknown_events: int


def recommend_file(
    recommender: Recommender,
    histories: str | Path,
    out: str | Path,
    request: Request,
    *,
    shard: tuple[int, int] = (1, 1),
    format: str | None = None,
    part_events: int = EVENTS_PER_PART,
    overwrite: bool = False,
    on_progress: Callable[[int, int], Any] | None = None,
) -> Done:
    """Write the k best next items of every user of the file (or folder of files) `histories`; see `data.histories` for its forms.

    `out` is a file (.parquet, .csv, .tsv, .jsonl) or a folder of parts in `format` (None: parquet). With `shard` (i, n), i
    from 1, only the i-th of n shares is computed, into a folder; all shares together are the whole. A part has about
    `part_events` interactions: what memory is needed for, and what a killed run does again. `on_progress(users, of_about)`.
    Results that `out` holds already are left as they are if input, model and request are the same, and replaced with
    `overwrite` if not: a file at the end, by the whole new one. Raises `ValueError` naming the file and row of bad input, or
    saying that `out` holds another run's results.
    """
    from easrec_jax.data.columns import Columns
    from easrec_jax.data.histories import SUFFIXES, open_source

    out, (number, shards) = Path(out), (operator.index(shard[0]), operator.index(shard[1]))
    single = out.suffix.lower() in SUFFIXES
    format = _format(out, single, format, shards)
    request = _checked(recommender, request, part_events, (number, shards), format)
    columns = Columns(request.user_column, request.item_column, request.time_column)
    files = _files(Path(histories).expanduser())  # before they are counted: what changes later is noticed
    source = open_source(
        histories, columns, history_column=request.history_column, format=request.input_format,
        separator=request.separator, equal_times=request.equal_times, missing_ids=request.missing_ids,
    )  # fmt: skip
    _check_apart(source.path, out)
    size = max(source.events / part_events, source.users * request.k / ANSWERS_PER_PART)
    each = min(max(1, int(np.ceil(size / shards))), PARTS_PER_SHARD)
    parts, chosen = each * shards, range(each * (number - 1), each * number)
    settings = _settings(recommender, files, request, format, parts, shards)
    folder = out.with_name(out.name + ".parts") if single else out
    targets = {part: folder / f"part-{part:05d}-of-{parts:05d}.{format}" for part in chosen}
    spill = folder / f".input-{number}-of-{shards}"

    def compute() -> Done:
        with claimed(folder, settings, (number, shards), overwrite=overwrite):
            return _score_parts(recommender, source, request, targets, settings, spill, on_progress)

    if not single:
        return compute()
    with locked(out.with_name(f".{out.name}.lock")):
        done = Done(parts, 0, 0, 0, 0)
        if not is_done(out, settings, overwrite=overwrite):
            done = compute()
            join([*targets.values()], out, format, settings)
        shutil.rmtree(folder, ignore_errors=True)
        return done


def _format(out: Path, single: bool, format: str | None, shards: int) -> str:
    """The format of what is written; `ValueError` if the name `out` says something else, or cannot be written."""
    from easrec_jax.data.histories import SUFFIXES, format_of

    if not single:
        if out.suffix and not out.is_dir():
            names = ", ".join(SUFFIXES)
            raise ValueError(
                f"{out}: expected a name that ends in one of {names}, or a folder's: without a dot, or there already"
            )
        return format or "parquet"
    if format not in (None, format_of(out)):
        raise ValueError(f"format: expected that of the name {out}, got {format!r}; a folder's parts may have any")
    if shards > 1:
        raise ValueError(f"{out}: a shard writes parts, expected the name of a folder for them")
    return format_of(out)


def _checked(
    recommender: Recommender, request: Request, part_events: int, shard: tuple[int, int], format: str
) -> Request:
    """The request with plain numbers; `ValueError` says what cannot be had."""
    k = recommender._check_k(request.k)
    if request.on_unknown not in ("skip", "error", "popular"):
        raise ValueError(f"on_unknown: expected 'skip', 'error' or 'popular', got {request.on_unknown!r}")
    if part_events < 1:
        raise ValueError(f"part_events: expected 1 or more, got {part_events}")
    if not 1 <= shard[0] <= shard[1]:
        raise ValueError(f"shard: expected i/n with i from 1 to n, got {shard[0]}/{shard[1]}")
    if request.csv_safe and format not in ("csv", "tsv"):
        raise ValueError(f"csv_safe: expected CSV or TSV output, got {format}")
    if request.titles and not recommender.titles:
        raise ValueError("titles: the model has none; they come from data.titles when it is trained")
    return replace(request, k=k)


def _check_apart(histories: Path, out: Path) -> None:
    """The output is neither the input nor a file of it: it would be read at the next start, or be lost."""
    inside = (out, out.parent) if histories.is_dir() else (out,)
    if histories.resolve() in [path.resolve() for path in inside]:
        raise ValueError(f"{out}: lies where the histories are read from; use another --out")


def _score_parts(
    recommender: Recommender, source: Source, request: Request, targets: dict[int, Path], settings: dict, spill: Path,
    on_progress: Callable[[int, int], Any] | None,
) -> Done:  # fmt: skip
    """Write those of the parts that are not there; `spill` is where the input is split to, once."""
    from easrec_jax.data.histories import read_part, write_parts

    todo, parts = [part for part, path in targets.items() if not path.exists()], settings["parts"]
    if todo and not spill.is_dir():
        write_parts(source, spill, range(min(targets), max(targets) + 1), parts)
        if _files(source.path) != settings["input"]:
            remove_whole(spill)
            raise ValueError(f"{source.path}: was changed while it was read; start again when it is whole")
    about = max(1, round(source.users * len(todo) / parts))
    done = Done(len(targets), 0, 0, 0, 0)
    items = _items(recommender, request)
    for part in todo:
        data = read_part(source, spill, part)

        def tell(users: int, before: int = done.users) -> None:
            if on_progress is not None:
                on_progress(before + users, about)

        answers, counts = _answer(recommender, data, request, source, tell)
        users = data.users
        if request.csv_safe and not users.dtype.is_numeric():
            users = safe_cells(users)
        path = targets[part]
        write_bytes(path, encode(users, items, *answers, path.suffix[1:]))
        _give_back_memory()
        done = Done(done.parts, *(a + b for a, b in zip(done[1:], (1, *counts), strict=True)))
    remove_whole(spill)
    return done


def _items(recommender: Recommender, request: Request) -> pl.DataFrame:
    """What is written of each item, by inner id: item and, where asked for, title (null where it has none)."""
    import polars as pl

    raw = recommender.item_ids.raw
    columns = {"item": pl.Series("item", raw, dtype=pl.String)}
    if request.titles:
        columns["title"] = pl.Series("title", [recommender.titles.get(item) for item in raw], dtype=pl.String)
    return pl.DataFrame([safe_cells(text) if request.csv_safe else text for text in columns.values()])


def _answer(
    recommender: Recommender, part: Histories, request: Request, source: Source, tell: Callable[[int], None]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[int, int, int]]:
    """(scores, inner ids), [users k] each, -inf where there is none; and the counts of `Done`."""
    inner = _lookup(recommender, part.items)
    known = inner > 0
    if request.on_unknown == "error" and not known.all():
        event = int(np.argmin(known))
        user = part.users[int(np.searchsorted(part.ends, event, side="right")) - 1]
        raise ValueError(f"{source.path}: user {str(user)[:60]!r}: unknown item {str(part.items[event])[:60]!r}")
    ends = np.concatenate([[0], np.cumsum(known)])[part.ends]
    items = np.append(inner[known], np.int32(0))
    users = len(part.users)
    scores = np.full((users, request.k), -np.inf, np.float32)
    best = np.zeros((users, request.k), np.int32)
    for first in range(0, users, USERS_PER_CALL):
        last = min(first + USERS_PER_CALL, users)
        scores[first:last], best[first:last] = recommender.top_items(
            items, ends[first : last + 1], request.k, exclude_seen=request.exclude_seen
        )
        tell(last)
    nobody = np.flatnonzero(np.diff(ends) == 0)
    if request.on_unknown == "popular" and len(nobody):
        popular = np.argsort(-recommender.popularity[1:], kind="stable")[: request.k] + 1
        best[nobody], scores[nobody] = popular, recommender.popularity[popular]
    return (scores, best), (users, len(nobody), int(np.count_nonzero(~known)))


def spare_memory() -> None:
    """Settle how this process allocates, so that memory stays flat over many parts; a command's, before polars is loaded.

    Polars holds more the more threads it has, and its allocator keeps freed pages unless it is told otherwise; glibc
    scatters arrays over heaps that never shrink unless large ones get pages of their own.
    """
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:500,muzzy_decay_ms:0")
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(-3, 1 << 18)  # M_MMAP_THRESHOLD, bytes
        tune(-8, 2)  # M_ARENA_MAX


def _give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps what a part's arrays leave in pieces."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _lookup(recommender: Recommender, items: pl.Series) -> np.ndarray:
    """Inner ids, int32 [items], 0 where unknown."""
    import polars as pl

    distinct = items.unique().drop_nulls()
    inner = recommender.item_ids.encode(distinct.to_list())
    table = pl.DataFrame({"item": distinct, "inner": inner})
    found = pl.DataFrame({"item": items}).join(table, on="item", how="left", maintain_order="left")
    return found["inner"].fill_null(0).to_numpy()


def _files(path: Path) -> list[list]:
    """Name, size and time of what is read."""
    from easrec_jax.data.inputs import input_files

    paths = [file.path for file in input_files(path)]
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _settings(
    recommender: Recommender, files: list, request: Request, format: str, parts: int, shards: int
) -> dict[str, Any]:
    """All that decides what the parts hold."""
    import polars as pl

    return {
        "format": FORMAT, "model": _identity(recommender), "input": files, "request": asdict(request),
        "output": format, "parts": parts, "shards": shards, "polars": pl.__version__,
    }  # fmt: skip


def _identity(recommender: Recommender) -> str:
    """A checksum of all of the model that answers: with the same weights, other ids or titles are another model."""
    ids, titles = recommender.item_ids.raw, sorted(recommender.titles.items())
    about = [recommender.architecture.to_json(), ids, recommender.popularity.tolist(), titles]
    digest = hashlib.sha256(json.dumps(about).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(recommender.weights):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
