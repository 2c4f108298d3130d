"""A run's folder on disk: its owner, its config and data, one line of figures an epoch, and the refusal to mix two runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import IO, Any

from easrec_jax.config import Config
from easrec_jax.config_files import from_json, to_json
from easrec_jax.data.interactions import Interactions
from easrec_jax.files import read_json, write_text
from easrec_jax.locks import lock

LOCK = ".lock"  # in a work directory; it stays there, its lock goes with the process


def own(workdir: Path) -> IO[str]:
    """Become the one process that writes in `workdir`, until the file returned is closed or the process ends, however it does.

    `BlockingIOError` names the process that is there already.
    """
    since = f" has been running here since {time.strftime('%F %T')}\n"
    try:
        return lock(workdir / LOCK, note=since, unlocked="let no other process write there")
    except BlockingIOError as owner:
        raise BlockingIOError(f"{workdir}: {owner}: wait until it ends, stop it, or use another --workdir") from None


def open_run(
    folder: Path, config: Config, data: Interactions, *, parts: tuple[str, ...], start: str = "", resume: bool,
    overwrite: bool,
) -> IO[str]:  # fmt: skip
    """Make `folder` the home of this run: `own` the work directory that it lies in, write config.json and data.json.

    `start` says what the run starts from. A folder that holds a run already is an error (`ValueError`), unless it is
    resumed with the same `parts` of the config, the same data and start, or overwritten. Returns what `own` does.
    """
    if resume and overwrite:
        raise ValueError("--resume and --overwrite: expected at most one of them")
    owner = own(folder.parent)
    try:
        if overwrite:
            shutil.rmtree(folder, ignore_errors=True)
        here = data.identity() | {"start": start}
        if (folder / "config.json").is_file():
            _check_same_run(folder, config, here, parts, resume)
        write_text(folder / "data.json", json.dumps(here, indent=2) + "\n")
        write_text(folder / "config.json", to_json(config))  # last: without it there is no run
    except BaseException:
        owner.close()
        raise
    return owner


def _check_same_run(folder: Path, config: Config, here: dict, parts: tuple[str, ...], resume: bool) -> None:
    path = folder / "config.json"
    again = "use another --workdir, or --overwrite"
    if changes := differences(from_json(path.read_text(), source=str(path)), config, parts):
        raise ValueError(f"{folder} holds a run of another config ({'; '.join(changes)}): {again}")
    if not resume:
        raise ValueError(f"{folder} holds a run already: --resume continues it, --overwrite starts anew")
    if not (folder / "data.json").is_file():
        raise ValueError(
            f"{folder} does not say which data its run is on (an older version's?): --overwrite starts anew"
        )
    there = read_json(folder / "data.json")
    if changes := changed_data(there, here):
        raise ValueError(f"{folder} holds a run on other data ({changes}): {again}")
    if there.get("start") != here["start"]:
        raise ValueError(
            f"{folder} holds a run that began with other weights (its search, or the model of --retrain.from, has "
            f"changed since): {again}"
        )


def changed_data(there: dict, here: dict) -> str:
    """What differs between two of `Interactions.identity`, in words; empty if nothing does."""
    counts = [name for name in ("users", "items", "interactions") if there.get(name) != here[name]]
    if counts:
        return ", ".join(f"{there.get(name)} {name} there, {here[name]} here" for name in counts)
    return "" if there.get("fingerprint") == here["fingerprint"] else "the same counts, but other content"


def differences(there: Config, here: Config, parts: tuple[str, ...]) -> list[str]:
    """`part.field: VALUE there, VALUE here` for every field of `parts` that differs."""
    return [f"{name}: {x!r} there, {y!r} here" for name, (x, y) in changed_fields(there, here, parts).items()]


def changed_fields(there: Config, here: Config, parts: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """(value there, value here) by dotted name, of every field of `parts` that differs."""
    changed = (_changed(part, getattr(there, part), getattr(here, part)) for part in parts)
    return {name: values for found in changed for name, values in found.items()}


def _changed(name: str, there: Any, here: Any) -> dict[str, tuple[Any, Any]]:
    if not dataclasses.is_dataclass(there):
        return {name: (there, here)} if there != here else {}
    fields = [(f"{name}.{f.name}", getattr(there, f.name), getattr(here, f.name)) for f in dataclasses.fields(there)]
    return {inner: values for field in fields for inner, values in _changed(*field).items()}


class MetricsLog:
    """`metrics.jsonl`: one JSON object an epoch. A resumed run replaces the lines from its epoch on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> list[dict]:
        """All whole lines, up to the first that is none: cut short by a crash, its epoch will be written again."""
        records = []
        for line in self.path.read_bytes().split(b"\n") if self.path.is_file() else []:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(record, dict) or type(record.get("epoch")) is not int:
                break
            records.append(record)
        return records

    def append(self, record: dict) -> None:
        """Add an epoch's line; later epochs' lines that are there already go."""
        before = [r for r in self.records() if r["epoch"] < record["epoch"]]
        write_text(self.path, "".join(json.dumps(r) + "\n" for r in [*before, record]))
