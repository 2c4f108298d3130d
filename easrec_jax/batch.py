"""Everyone's recommendations, file to file: in parts of bounded size, each written whole or not at all.

What is written, one row a user, best item first: `user`, `items`, `scores` (lists) in Parquet and JSON lines; in CSV and
TSV one row a recommendation: `user`, `rank`, `item`, `score`. A folder OUT gets `part-00003-of-00064.parquet` and so on,
and a `shard-1-of-4.json` that says how they came about; a file OUT is joined at the end from such a folder beside it,
`OUT.parts`, which then goes. The same command goes on where a killed one stopped: a part that is there is done.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from easrec_jax.files import aside_of, clear_asides, read_json, write_bytes, write_text
from easrec_jax.recommend import Recommender

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

    from easrec_jax.data.histories import Part, Source

FORMAT = "easrec_jax recommendations 1"
EVENTS_PER_PART = 500_000
ANSWERS_PER_PART = 2_000_000  # users x k
PARTS_PER_SHARD = 500  # files that are open at a time when the input is split; beyond, parts and memory grow
USERS_PER_CALL = 8_192


@dataclass(frozen=True)
class Request:
    """What is asked for each user, and the names of the input's columns ("": the usual names are tried)."""

    k: int = 10
    exclude_seen: bool = True
    on_unknown: str = (
        "skip"  # "popular": who has no known item is answered by popularity; "skip": an empty list; "error"
    )
    user_column: str = ""
    item_column: str = ""
    time_column: str = ""
    history_column: str = ""


class Done(NamedTuple):
    """What a run did: parts that were there before count in `parts` alone."""

    parts: int
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
    format: str = "parquet",
    part_events: int = EVENTS_PER_PART,
    on_progress: Callable[[int, int], Any] | None = None,
) -> Done:
    """Write the k best next items of every user of the file (or folder of files) `histories`; see `data.histories` for its forms.

    `out` is a file (.parquet, .csv, .tsv, .jsonl) or a folder of parts in `format`. With `shard` (i, n), i from 1, only
    the i-th of n shares is computed, into a folder; all shares together are the whole. A part has about `part_events`
    interactions: what memory is needed for, and what a killed run does again. `on_progress(users, of_about)`.
    Raises `ValueError` naming the file and row of bad input, or saying that `out` holds another run's results.
    """
    from easrec_jax.data.histories import SUFFIXES, format_of, open_source
    from easrec_jax.data.readers import Columns

    out, (number, shards) = Path(out), shard
    single = out.suffix.lower() in SUFFIXES
    if out.suffix and not single and not out.is_dir():
        raise ValueError(
            f"{out}: expected a name that ends in one of {', '.join(SUFFIXES)}, or a folder's: without a dot, or there already"
        )
    _check_request(recommender, request, part_events, shard, out if single else None)
    format = format_of(out) if single else format
    columns = Columns(request.user_column, request.item_column, request.time_column)
    source = open_source(histories, columns, history_column=request.history_column)
    size = max(source.events / part_events, source.users * request.k / ANSWERS_PER_PART)
    each = min(max(1, int(np.ceil(size / shards))), PARTS_PER_SHARD)
    parts, chosen = each * shards, range(each * (number - 1), each * number)
    settings = _settings(recommender, source, request, format, parts, shards)
    folder = out.with_name(out.name + ".parts") if single else out
    if single and out.exists():
        _same(settings, out.with_name(out.name + ".json"), out)
        shutil.rmtree(folder, ignore_errors=True)
        return Done(parts, 0, 0, 0)
    _claim(folder, settings, f"shard-{number}-of-{shards}.json")
    targets = {part: folder / f"part-{part:05d}-of-{parts:05d}.{format}" for part in chosen}
    done = _score_parts(
        recommender, source, request, targets, parts, folder / f".input-{number}-of-{shards}", on_progress
    )
    if single:
        write_text(out.with_name(out.name + ".json"), json.dumps(settings, indent=2) + "\n")
        _join([*targets.values()], out, format)
        shutil.rmtree(folder, ignore_errors=True)
    return done


def _check_request(
    recommender: Recommender, request: Request, part_events: int, shard: tuple[int, int], single: Path | None
) -> None:
    recommender._check_k(request.k)
    if request.on_unknown not in ("skip", "error", "popular"):
        raise ValueError(f"on_unknown: expected 'skip', 'error' or 'popular', got {request.on_unknown!r}")
    if part_events < 1:
        raise ValueError(f"part_events: expected 1 or more, got {part_events}")
    if not 1 <= shard[0] <= shard[1]:
        raise ValueError(f"shard: expected i/n with i from 1 to n, got {shard[0]}/{shard[1]}")
    if single and shard[1] > 1:
        raise ValueError(f"{single}: a shard writes parts, expected the name of a folder for them")


def _score_parts(
    recommender: Recommender, source: Source, request: Request, targets: dict[int, Path], parts: int, spill: Path,
    on_progress: Callable[[int, int], Any] | None,
) -> Done:  # fmt: skip
    """Write those of the parts that are not there; `spill` is where the input is split to, once."""
    from easrec_jax.data.histories import read_part, split

    todo = [part for part, path in targets.items() if not path.exists()]
    if todo and not spill.is_dir():
        split(source, spill, range(min(targets), max(targets) + 1), parts)
    about = max(1, round(source.users * len(todo) / parts))
    done = Done(len(targets), 0, 0, 0)
    for part in todo:
        data = read_part(source, spill, part)

        def tell(users: int, before: int = done.users) -> None:
            if on_progress is not None:
                on_progress(before + users, about)

        answers, counts = _answer(recommender, data, request, source, tell)
        path = targets[part]
        write_bytes(path, _encode(recommender, data.users, *answers, path.suffix[1:]))
        _give_back_memory()
        done = Done(done.parts, *(a + b for a, b in zip(done[1:], counts, strict=True)))
    shutil.rmtree(spill, ignore_errors=True)
    return done


def _answer(
    recommender: Recommender, part: Part, request: Request, source: Source, tell: Callable[[int], None]
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

    raw = recommender.item_ids.raw
    table = pl.DataFrame({"item": pl.Series(raw, dtype=pl.String), "inner": np.arange(1, len(raw) + 1, dtype=np.int32)})
    found = pl.DataFrame({"item": items}).join(table, on="item", how="left", maintain_order="left")
    return found["inner"].fill_null(0).to_numpy()


def _encode(recommender: Recommender, users: pl.Series, scores: np.ndarray, best: np.ndarray, format: str) -> bytes:
    """The answers of one part as a file's content."""
    import polars as pl

    real = np.isfinite(scores)
    user, rank = np.nonzero(real)
    items = pl.Series(recommender.item_ids.raw, dtype=pl.String).gather(best[real] - 1)
    buffer = io.BytesIO()
    if format in ("csv", "tsv"):
        columns = {"user": users.gather(user), "rank": rank + 1, "item": items, "score": scores[real]}
        pl.DataFrame(columns).write_csv(buffer, separator="," if format == "csv" else "\t")
        return buffer.getvalue()
    rows = pl.DataFrame({"row": user.astype(np.uint32), "items": items, "scores": scores[real]})
    lists = rows.group_by("row", maintain_order=True).agg("items", "scores")
    everyone = pl.DataFrame({"row": np.arange(len(users), dtype=np.uint32), "user": users})
    frame = everyone.join(lists, on="row", how="left", maintain_order="left").drop("row")
    frame = frame.with_columns(pl.col("items", "scores").fill_null([]))
    frame.write_parquet(buffer) if format == "parquet" else frame.write_ndjson(buffer)
    return buffer.getvalue()


def _join(parts: list[Path], out: Path, format: str) -> None:
    """All parts as one file, in order; it appears whole."""
    import polars as pl

    clear_asides(out)
    aside = aside_of(out)
    try:
        if format == "parquet":
            try:
                pl.scan_parquet(parts, glob=False).sink_parquet(aside)
            except pl.exceptions.PolarsError as error:
                raise OSError(f"{out}: {str(error).splitlines()[0]}") from None
        with open(aside, "ab") as file:
            if format != "parquet":
                _concatenate(parts, file, header=format in ("csv", "tsv"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, out)
    finally:
        aside.unlink(missing_ok=True)


def _concatenate(parts: list[Path], file: Any, *, header: bool) -> None:
    for number, part in enumerate(parts):
        with open(part, "rb") as source:
            if header and number:
                source.readline()
            shutil.copyfileobj(source, file, 1 << 20)


def _settings(
    recommender: Recommender, source: Source, request: Request, format: str, parts: int, shards: int
) -> dict[str, Any]:
    """All that decides what the parts hold."""
    from dataclasses import asdict

    import polars as pl

    from easrec_jax.data.histories import input_files

    files = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in input_files(source.path)]
    return {
        "format": FORMAT, "model": recommender.fingerprint, "input": files, "request": asdict(request), "output": format,
        "parts": parts, "shards": shards, "polars": pl.__version__,
    }  # fmt: skip


def _claim(folder: Path, settings: dict, name: str) -> None:
    """Make `folder` this run's: every shard's settings that are there must be the same."""
    there = sorted(folder.glob("shard-*.json")) if folder.is_dir() else []
    if folder.exists() and (not folder.is_dir() or (not there and any(folder.iterdir()))):
        raise ValueError(f"{folder}: holds something else than recommendations; use another --out")
    for path in there:
        _same(settings, path, folder)
    write_text(folder / name, json.dumps(settings, indent=2) + "\n")


def _same(settings: dict, path: Path, out: Path) -> None:
    there = read_json(path) if path.is_file() else {}
    changed = [key for key in settings if there.get(key) != settings[key]]
    if changed:
        what = f"of another {', '.join(changed)}" if there else "of an unknown run"
        raise ValueError(f"{out}: holds results {what}; delete it or use another --out")
