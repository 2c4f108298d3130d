"""Whose results an output holds: one run's, by settings that lie beside them.

They are `_shard-1-of-4.json` in a folder of parts, the hidden `.recs.parquet.json` beside the file recs.parquet; by them
the same command, started again, knows what is done. A lock keeps a second process out; results of other settings are
replaced only where that is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from easrec_jax.files import aside_of, clear_asides, read_json, write_text
from easrec_jax.locks import locked


def record_of(out: Path) -> Path:
    """Where the settings of the file `out` lie."""
    return out.with_name(f".{out.name}.json")


def write_record(path: Path, settings: dict) -> None:
    """Write settings as a file that appears whole."""
    write_text(path, json.dumps(settings, indent=2) + "\n")


def written(path: Path) -> dict[str, Any]:
    """Size and time of a file: a rename keeps them, whoever writes another one changes them."""
    return {"written": [path.stat().st_size, path.stat().st_mtime_ns]}


def is_done(out: Path, settings: dict, *, overwrite: bool) -> bool:
    """Whether the file `out` is what `part_files.join` wrote of these settings; `ValueError` if it is another's that may not go."""
    if not out.exists():
        return False
    if not out.is_file():
        raise ValueError(f"{out}: is no file; use another --out")
    there = read_json(record_of(out)) if record_of(out).is_file() else {}
    if there.get("written") != written(out)["written"]:
        there = {}
    if there and not changes(there, settings):
        return True
    if not overwrite:
        raise _taken(out, there, settings)
    return False


def changes(there: dict, here: dict) -> list[str]:
    """The settings that differ, with both values where they are short."""
    found = []
    for key in here:
        a, b = there.get(key), here[key]
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            fields = [f"{name}: {a.get(name)!r} there, {b[name]!r} here" for name in b if a.get(name) != b[name]]
            found.append(f"{key} ({'; '.join(fields)})")
        else:
            short = isinstance(b, int) or key in ("output", "polars")
            found.append(f"{key} ({a!r} there, {b!r} here)" if short else key)
    return found


def _taken(out: Path, there: dict, here: dict) -> ValueError:
    what = f"of another {', '.join(changes(there, here))}" if there else "of an unknown run"
    return ValueError(f"{out}: holds results {what}: --overwrite replaces them, or use another --out")


@contextmanager
def claimed(folder: Path, settings: dict, shard: tuple[int, int], *, overwrite: bool) -> Iterator[None]:
    """Within, this process alone computes the shard, in a folder whose results, if any, are all of these settings.

    With `overwrite`, those of others are removed first. Where bad input stops a shard before its first part, nothing of it
    stays. Raises `ValueError` where the folder is not this run's, or where another process is at work in it.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is no folder; use another --out")
    made, name = not folder.exists(), f"{shard[0]}-of-{shard[1]}"
    own = folder / f"_shard-{name}.json"
    try:
        with ExitStack() as held:
            with locked(folder / ".lock", wait=True):  # shards that begin together clear the folder one after the other
                records = sorted(folder.glob("_shard-*.json"))
                if not records and any(not path.name.startswith(".") for path in folder.iterdir()):
                    raise ValueError(f"{folder}: holds something else than recommendations; use another --out")
                others = [path for path in records if changes(read_json(path), settings)]
                if others and not overwrite:
                    raise _taken(folder, read_json(others[0]), settings)
                for path in others:
                    with locked(folder / path.stem.replace("_shard", ".lock")):  # not under a run that is at work
                        pass
                held.enter_context(locked(folder / f".lock-{name}"))
                if others:
                    _clear(folder, records)
                write_record(own, settings)
            try:
                yield
            except ValueError:
                if not any(folder.glob("part-*")):
                    remove_whole(folder / f".input-{name}")
                    own.unlink(missing_ok=True)
                raise
    finally:
        if made:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _clear(folder: Path, records: list[Path]) -> None:
    """Remove what another run left; its records last, so that a killed clearing is taken up again."""
    for path in [*folder.glob("part-*"), *folder.glob(".part-*.tmp"), *folder.glob(".input-*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in records:
        path.unlink(missing_ok=True)


def remove_whole(folder: Path) -> None:
    """Remove a folder at once: killed at any moment, it is there with all it held, or it is gone."""
    clear_asides(folder)
    if folder.is_dir():
        os.replace(folder, aside_of(folder))
    shutil.rmtree(aside_of(folder), ignore_errors=True)
