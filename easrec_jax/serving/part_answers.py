"""The parts of everyone's recommendations: each read, answered and written, those that are there left as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from easrec_jax.data.clock import Events, Timed, as_seconds, timed_flat
from easrec_jax.data.reading import Reading
from easrec_jax.files import write_bytes
from easrec_jax.memory import give_back_memory
from easrec_jax.serving.answer import most_popular
from easrec_jax.serving.claims import remove_whole
from easrec_jax.serving.part_files import encode, safe_cells
from easrec_jax.serving.recommend import Recommender

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

    from easrec_jax.data.histories import Histories, Source

EVENTS_PER_PART = 500_000
USERS_PER_CALL = 8_192


@dataclass(frozen=True)
class Request:
    """What is asked for each user, and how the input is read."""

    k: int = 10
    """Items for each user."""
    exclude_seen: bool = True
    """Leave out the items of the history."""
    on_unknown: str = "skip"
    """Who has no known item: popular: is answered by popularity; skip: by an empty list; error: `ValueError`."""
    reading: Reading = field(default_factory=Reading)
    titles: bool = False
    """Also write the items' titles."""
    csv_safe: bool = False
    """CSV and TSV: an apostrophe before what a spreadsheet would take for a formula."""
    part_events: int = EVENTS_PER_PART
    """Interactions of a part, about: what memory is needed for, and what a killed run does again."""
    now: float | None = None
    """Of a model that reads times: when it is asked for, seconds since 1970."""


class Done(NamedTuple):
    """What a run did: parts that were there before count in `parts` alone."""

    parts: int
    written: int  # parts
    users: int
    without_items: int  # users of these without any known item
    unknown_events: int


def write_parts(
    recommender: Recommender, source: Source, request: Request, targets: dict[int, Path], settings: dict, spill: Path,
    on_progress: Callable[[int, int], Any] | None,
) -> Done:  # fmt: skip
    """Write those of the parts that are not there; `spill` is where the input is split to, once.

    `settings` holds the number of all shards' `parts` and the `input` as `input_state` found it.
    """
    from easrec_jax.data import histories

    todo, parts = [part for part, path in targets.items() if not path.exists()], settings["parts"]
    if todo and not spill.is_dir():
        histories.write_parts(source, spill, range(min(targets), max(targets) + 1), parts)
        if input_state(source.path) != settings["input"]:
            remove_whole(spill)
            raise ValueError(f"{source.path}: was changed while it was read; start again when it is whole")
    about = max(1, round(source.users * len(todo) / parts))
    done = Done(len(targets), 0, 0, 0, 0)
    items = item_columns(recommender, request)
    for part in todo:
        data = histories.read_part(source, spill, part)

        def tell(users: int, before: int = done.users) -> None:
            if on_progress is not None:
                on_progress(before + users, about)

        answers, counts = answer_part(recommender, data, request, source.path, tell)
        users = data.users
        if request.csv_safe and not users.dtype.is_numeric():
            users = safe_cells(users)
        path = targets[part]
        write_bytes(path, encode(users, items, *answers, path.suffix[1:]))
        give_back_memory()
        done = Done(done.parts, *(a + b for a, b in zip(done[1:], (1, *counts), strict=True)))
    remove_whole(spill)
    return done


def input_state(path: str | Path) -> list[list]:
    """Name, size and time of each file that is read."""
    from easrec_jax.data.inputs import input_files

    return [file.state() for file in input_files(path)]


def item_columns(recommender: Recommender, request: Request) -> pl.DataFrame:
    """What is written of each item, by inner id: item and, where asked for, title (null where it has none)."""
    import polars as pl

    raw = recommender.item_ids.raw
    columns = {"item": pl.Series("item", raw, dtype=pl.String)}
    if request.titles:
        columns["title"] = pl.Series("title", [recommender.titles.get(item) for item in raw], dtype=pl.String)
    return pl.DataFrame([safe_cells(text) if request.csv_safe else text for text in columns.values()])


def answer_part(
    recommender: Recommender, part: Histories, request: Request, path: Path, tell: Callable[[int], None]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[int, int, int]]:
    """(scores, inner ids), [users k] each, -inf where there is none; and the last three counts of `Done`.

    `tell(users)` hears how many are answered; `path` is named in errors.
    """
    inner = _lookup(recommender, part.items)
    known = inner > 0
    if request.on_unknown == "error" and not known.all():
        event = int(np.argmin(known))
        user = part.users[int(np.searchsorted(part.ends, event, side="right")) - 1]
        raise ValueError(f"{path}: user {str(user)[:60]!r}: unknown item {str(part.items[event])[:60]!r}")
    ends = np.concatenate([[0], np.cumsum(known)])[part.ends]
    items: Events = np.append(inner[known], np.int32(0))
    users = len(part.users)
    if recommender.architecture.reads_times and part.times is not None:
        items = _timed(items, ends, as_seconds(part.times, path)[known], request.now, path)
    scores = np.full((users, request.k), -np.inf, np.float32)
    best = np.zeros((users, request.k), np.int32)
    for first in range(0, users, USERS_PER_CALL):
        last = min(first + USERS_PER_CALL, users)
        some = items._replace(request=items.request[first:last]) if isinstance(items, Timed) else items
        scores[first:last], best[first:last] = recommender.top_items(
            some, ends[first : last + 1], request.k, exclude_seen=request.exclude_seen
        )
        tell(last)
    nobody = np.flatnonzero(np.diff(ends) == 0)
    if request.on_unknown == "popular" and len(nobody):
        popular = most_popular(recommender.ranking, request.k)
        best[nobody], scores[nobody] = popular, recommender.popularity[popular]
    return (scores, best), (users, len(nobody), int(np.count_nonzero(~known)))


def _timed(items: np.ndarray, ends: np.ndarray, times: np.ndarray, now: float | None, path: Path) -> Timed:
    """The events with their times and that of the request."""
    if now is not None and len(times) and now < times.max():
        raise ValueError(f"{path}: expected events until {now:.17g}, when --now is, got one at {times.max():.17g}")
    return timed_flat(items, ends, times, np.full(len(ends) - 1, np.nan if now is None else now))


def _lookup(recommender: Recommender, items: pl.Series) -> np.ndarray:
    """Inner ids, int32 [items], 0 where unknown."""
    import polars as pl

    distinct = items.unique().drop_nulls()
    inner = recommender.item_ids.encode(distinct.to_list())
    table = pl.DataFrame({"item": distinct, "inner": inner})
    found = pl.DataFrame({"item": items}).join(table, on="item", how="left", maintain_order="left")
    return found["inner"].fill_null(0).to_numpy()
