"""A log that was prepared once: a folder of arrays that are read by memory map, and of ids that stay in their files.

    items.npy          int32 [interactions], inner ids, the histories of the users one after the other
    offsets.npy        int64 [users + 1], where each history begins
    times.npy          [interactions], where the split needs them
    part_ends.npy      int64 [users 2], where the split is by files
    item_ids.parquet   column id, text: raw ids of the inner ids 1, 2, ...
    user_ids.parquet   the same of the users
    manifest.json      format, version, sources, settings, counts, notes, SHA-256 of the other files

`data.prepare` writes it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.config.splits import parse_split
from easrec_jax.data.id_column import IdColumn
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.parts import parted
from easrec_jax.data.reading import Options
from easrec_jax.files import check_digests, read_json, standing_folder

FORMAT, VERSION = "easrec_jax prepared interactions", 1
MANIFEST = "manifest.json"
NEEDED = ("items.npy", "offsets.npy", "item_ids.parquet", "user_ids.parquet")
SHAPING = ("equal_times", "missing_ids", "min_history", "k_core", "duplicates")  # what they say is in the arrays
LOOKS = ("format", "separator", "user_column", "item_column", "time_column", "history_column")  # of the log
PARTS = ("valid", "test")


def is_prepared(data: Any) -> bool:
    """Whether it is a folder that `prepare` wrote."""
    return isinstance(data, (str, os.PathLike)) and manifest_of(Path(data).expanduser()) is not None


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """What the folder says of itself; None where it is no prepared one."""
    path = standing_folder(folder) / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = read_json(path)
    except ValueError:
        if (path.parent / "items.npy").is_file():
            raise
        return None
    return manifest if manifest.get("format") == FORMAT else None


def refuse_prepared(data: Any) -> None:
    """Raise `ValueError` for a prepared folder, where a log is read a part at a time anyway."""
    if is_prepared(data):
        raise ValueError(f"{data}: a prepared folder, expected the log that it was made of")


def settings_of(how: Options) -> dict[str, Any]:
    """The settings that decide what a prepared folder holds, by name; of files of validation and test events their names."""
    settings = {name: getattr(how, name) for name in (*SHAPING, *LOOKS)}
    return settings | {name: Path(str(getattr(how, name))).name for name in PARTS}


def open_prepared(folder: str | os.PathLike, how: Options) -> Interactions:
    """The interactions of a prepared folder, split as asked.

    Raises `ValueError` where a file is missing or altered, or where the folder was made with other settings.
    """
    folder = standing_folder(Path(folder).expanduser())
    if how.times:
        raise ValueError(
            f"{folder}: a prepared folder does not keep the times of events: expected model.times no, or the log itself"
        )
    path, manifest = folder / MANIFEST, read_json(folder / MANIFEST)
    if manifest.get("version") != VERSION:
        raise ValueError(f"{path}: expected version {VERSION}, got {manifest.get('version')!r}: prepare the log again")
    settings, counts, notes = (manifest.get(name) for name in ("settings", "counts", "notes"))
    if not (isinstance(settings, dict) and isinstance(counts, dict) and isinstance(notes, list)):
        raise ValueError(f"{path}: expected settings, counts and notes")
    _check_settings(folder, settings, how)
    check_digests(folder, manifest.get("sha256"), source=path, needed=NEEDED, hint="; prepare the log again")
    ends = folder / "part_ends.npy"
    data = Interactions(
        items=_mapped(folder / "items.npy"),
        offsets=_mapped(folder / "offsets.npy"),
        user_ids=IdMap(IdColumn(folder / "user_ids.parquet", counts["users"])),
        item_ids=IdMap(IdColumn(folder / "item_ids.parquet", counts["items"])),
        dropped_users=counts["dropped_users"],
        notes=tuple(notes),
        part_ends=_mapped(ends) if how.files else None,
    )
    if how.files:
        return data
    times = folder / "times.npy"
    if parse_split(how.split).kind == "time" and not times.is_file():
        raise ValueError(
            f"{folder}: prepared without times, expected them for data.split {how.split}: prepare.py --split {how.split}"
        )
    return parted(data, how.split, times=_mapped(times) if times.is_file() else None)


def _check_settings(folder: Path, made: dict[str, Any], how: Options) -> None:
    """Raise `ValueError` naming the first setting of which something else is asked; how the log looks need not be said again."""
    for name, asked in settings_of(how).items():
        if asked == made.get(name) or (name in LOOKS and asked == getattr(Options(), name)):
            continue
        again = f"--data.{name} {made.get(name)}" if made.get(name) not in ("", None) else f"no --data.{name}"
        raise ValueError(
            f"{folder}: prepared with {name}={made.get(name)!r}, expected what is asked, {asked!r}: {again} reads it as it is, "
            f"prepare.py --{name} makes another"
        )


def _mapped(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
