"""Prepare a log of any size once, for training that reads it by memory map: what a folder then holds is in `prepared`.

The log is split by ranges of users (`user_parts`); then a part at a time is in memory. What the reader would make of the same
log, `prepare` makes too, to the last bit. Imports polars: import this where it is used.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from easrec_jax.config.splits import parse_split
from easrec_jax.data.histories import Source, open_source
from easrec_jax.data.inputs import are_paths, input_files
from easrec_jax.data.interactions import Interactions
from easrec_jax.data.laid import Kept, Laid, growing_array
from easrec_jax.data.prepared import FORMAT, MANIFEST, VERSION, manifest_of, settings_of
from easrec_jax.data.read import by_appearance, read_interactions, warn_of_ties, without_repeats
from easrec_jax.data.reading import Options
from easrec_jax.data.user_parts import Catalogue, look_over, read_parts, split_by_users
from easrec_jax.files import file_digests, whole_folder, write_text
from easrec_jax.memory import give_back_memory

PART_EVENTS = 1 << 19  # a part, when nothing else is asked: about 150 MB beside what is imported

Tell = Callable[[int, int], Any]


class Prepared(NamedTuple):
    """What `prepare` left."""

    folder: Path
    written: bool  # False: it was there already, of the same log and settings
    counts: dict[str, int]  # users, items, interactions, dropped_users
    notes: tuple[str, ...]  # what was left out, a line each


def prepare(
    sources: Any,
    folder: str | Path,
    *,
    overwrite: bool = False,
    part_events: int = PART_EVENTS,
    on_part: Tell | None = None,
    **options: Any,
) -> Prepared:
    """Write a folder that `read_interactions` and `--data.path` open without reading the log again.

    `sources` is a file, folder, pattern or address, or several; `options` are those of `read_interactions`. About `part_events`
    events are in memory at a time; a log whose split is by files, or whose format does not stream, is read whole.
    `on_part(part, of)` is called after each. The folder appears when it is whole: killed, the same call starts over. One that
    holds the same is left as it is, another is replaced with `overwrite`. Raises what `read_interactions` raises.
    """
    how, folder = Options(**options), Path(folder).expanduser()
    if part_events < 1:
        raise ValueError(f"part_events: expected 1 or more, got {part_events}")
    made_of = {"sources": _sources(sources, how), "settings": settings_of(how) | {"times": _needs_times(how)}}
    if (there := _standing(folder, made_of, overwrite)) is not None:
        return Prepared(folder, False, there["counts"], tuple(there["notes"]))
    with whole_folder(folder) as aside:
        if how.files:
            counts, notes = _write_whole(read_interactions(sources, **options), aside)
        else:
            counts, notes = _stream(sources, how, aside, part_events, on_part or (lambda part, of: None))
        manifest = {"format": FORMAT, "version": VERSION, **made_of, "counts": counts, "notes": notes}
        _flush(aside)
        write_text(aside / MANIFEST, json.dumps(manifest | {"sha256": file_digests(aside)}, indent=1))
    return Prepared(folder, True, counts, tuple(notes))


def _needs_times(how: Options) -> bool:
    return parse_split(how.split).kind == "time"


def _sources(sources: Any, how: Options) -> list[list]:
    """Name, size and time of each file; `ValueError` for what is no file."""
    given = [sources, how.valid, how.test] if how.files else [sources]
    if not all(isinstance(one, (str, os.PathLike)) or are_paths(one) for one in given):
        raise ValueError(
            "prepare: expected files, folders, patterns or addresses; what is in memory need not be prepared"
        )
    return [file.state() for one in given for file in input_files(one)]


def _standing(folder: Path, made_of: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """What the folder says of itself if it was made of the same; `ValueError` where something else would be lost."""
    there = manifest_of(folder)
    if there is None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"{folder}: holds something else, expected a new or empty folder")
        return None
    if {name: there.get(name) for name in made_of} == json.loads(json.dumps(made_of)):
        return None if overwrite else there
    if not overwrite:
        raise ValueError(f"{folder}: was prepared from another log or with other settings; --overwrite replaces it")
    return None


def _flush(folder: Path) -> None:
    """Put the files of the folder on the disk."""
    for path in folder.iterdir():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _write_whole(data: Interactions, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Write what is in memory."""
    assert data.part_ends is not None
    for name, array in (("items", data.items), ("offsets", data.offsets), ("part_ends", data.part_ends)):
        np.save(folder / f"{name}.npy", array)
    for name, ids in (("item_ids", data.item_ids), ("user_ids", data.user_ids)):
        pl.DataFrame({"id": pl.Series(ids.raw, dtype=pl.String)}).write_parquet(folder / f"{name}.parquet")
    sizes = {"users": data.num_users, "items": data.num_items, "interactions": data.num_interactions}
    return sizes | {"dropped_users": data.dropped_users}, list(data.notes)


def _stream(sources: Any, how: Options, folder: Path, part_events: int, tell: Tell) -> tuple[dict[str, int], list[str]]:
    """Write what no more than a part at a time is in memory of; counts and notes."""
    aside = folder / "aside"
    laid, notes = _lay_aside(open_source(sources, how), how, aside, part_events, tell)
    kept, cored = laid.core(how.k_core)
    counts, short = _write_parts(laid, kept, how, folder, tell)
    shutil.rmtree(aside)
    return counts, [*notes, *cored, *short]


def _lay_aside(source: Source, how: Options, folder: Path, part_events: int, tell: Tell) -> tuple[Laid, list[str]]:
    """The histories of all users in order, as parts below `folder`, and notes of what is left out of them."""
    timed = _needs_times(how)
    if timed and not source.columns.time:
        raise ValueError(
            f"data.split: {how.split} needs times, the data have none; data.time_column names their column"
        )
    whole, spill, catalogue, laid = look_over(source), folder / "spill", Catalogue(), Laid(folder, source.path)
    parts = split_by_users(whole, spill, part_events)
    give_back_memory()
    tied, in_order, events, dropped, repeats = 0, True, 0, source.dropped, 0
    for part in read_parts(whole, spill, parts, catalogue, drop=how.missing_ids == "drop"):
        coded, all_events = part.coded, len(part.coded.user)
        tied, in_order, events = tied + part.tied, in_order and part.in_order, events + all_events
        dropped += part.dropped
        if how.duplicates == "drop":
            coded, _ = without_repeats(coded)
            repeats += all_events - len(coded.user)
        laid.add(coded if timed else coded._replace(times=None))
        give_back_memory()
        tell(len(laid.users), 2 * parts)
    if not events:
        raise ValueError(f"{source.path}: there is no event")
    if how.equal_times == "mixed":
        warn_of_ties(source.path, tied, events, in_order=in_order)
    shutil.rmtree(spill)
    laid.item_ids = catalogue.ids
    notes = [f"{dropped:,} rows without a user or item id dropped (missing_ids=drop)"] if dropped else []
    return laid, notes + ([f"{repeats:,} repeated interactions dropped (duplicates=drop)"] if repeats else [])


def _write_parts(laid: Laid, kept: Kept, how: Options, folder: Path, tell: Tell) -> tuple[dict[str, int], list[str]]:
    """Write the arrays and ids of the users who have enough events; counts, and a note of the others."""
    least, inner, met = how.min_history, np.zeros(len(laid.item_ids), np.int32), 0
    short_users = short_events = longest = in_core = users = 0
    order: list[np.ndarray] = []
    with ExitStack() as stack:
        items = stack.enter_context(growing_array(folder / "items.npy"))
        offsets = stack.enter_context(growing_array(folder / "offsets.npy"))
        times = stack.enter_context(growing_array(folder / "times.npy")) if _needs_times(how) else None
        offsets.append(np.zeros(1, np.int64))
        for part in range(len(laid.users)):
            user, item, inside = laid.events(kept, part)
            lengths = np.bincount(user[inside], minlength=laid.users[part])
            enough = lengths >= least
            short = (lengths > 0) & ~enough
            short_users, short_events = short_users + int(short.sum()), short_events + int(lengths[short].sum())
            longest, in_core = max(longest, int(lengths.max(initial=0))), in_core + int((lengths > 0).sum())
            inside &= enough[user]
            item = item[inside]
            new = by_appearance(item[inner[item] == 0], len(inner))[1].astype(
                np.int32
            )  # a copy: it is a view of all items
            inner[new] = np.arange(met + 1, met + len(new) + 1)
            met += len(new)
            order.append(new)
            offsets.append(items.length + np.cumsum(lengths[enough]))
            items.append(inner[item])
            if times is not None:
                times.append(laid.load(part, "times")[inside])
            laid.keep_users(part, enough)
            users += int(enough.sum())
            give_back_memory()
            tell(len(laid.users) + part + 1, 2 * len(laid.users))
        if not users:
            longest_of = f"the longest of {in_core} users has {longest}"
            raise ValueError(f"{laid.path}: every history is shorter than {least}: {longest_of} (see min_history)")
    laid.item_ids.gather(np.concatenate(order)).alias("id").to_frame().write_parquet(folder / "item_ids.parquet")
    laid.sink_users(folder / "user_ids.parquet")
    few = f"{short_users:,} users with fewer than {least} events dropped, {short_events:,} events in all"
    sizes = {"users": users, "items": met, "interactions": items.length, "dropped_users": sum(laid.users) - users}
    return sizes, [few] if short_users else []
