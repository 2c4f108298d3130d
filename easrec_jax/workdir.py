"""A run's folder on disk: its config, one line of figures an epoch, and the refusal to mix two runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from easrec_jax.config import Config
from easrec_jax.config_files import from_json, to_json
from easrec_jax.files import write_text


def open_run(folder: Path, config: Config, *, parts: tuple[str, ...], resume: bool, overwrite: bool) -> None:
    """Make `folder` the home of this run and write its config.json.

    A folder that holds a run already is an error (`ValueError`), unless it is resumed with the same `parts` of the
    config, or overwritten.
    """
    if resume and overwrite:
        raise ValueError("--resume and --overwrite: expected at most one of them")
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    path = folder / "config.json"
    if path.is_file():
        changes = differences(from_json(path.read_text(), source=str(path)), config, parts)
        if changes:
            raise ValueError(
                f"{folder} holds a run of another config ({'; '.join(changes)}): use another --workdir, or --overwrite"
            )
        if not resume:
            raise ValueError(f"{folder} holds a run already: --resume continues it, --overwrite starts anew")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(config))


def differences(there: Config, here: Config, parts: tuple[str, ...]) -> list[str]:
    """`part.field: VALUE there, VALUE here` for every field of `parts` that differs."""
    return [f"{name}: {x!r} there, {y!r} here" for name, (x, y) in changed_fields(there, here, parts).items()]


def changed_fields(there: Config, here: Config, parts: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """(value there, value here) by `part.field`, of every field of `parts` that differs."""
    found = {}
    for part in parts:
        a, b = getattr(there, part), getattr(here, part)
        pairs = [(part, a, b)]
        if dataclasses.is_dataclass(a):
            pairs = [(f"{part}.{f.name}", getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)]
        found |= {name: (x, y) for name, x, y in pairs if x != y}
    return found


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
        before = [r for r in self.records() if r["epoch"] < record["epoch"]]
        write_text(self.path, "".join(json.dumps(r) + "\n" for r in [*before, record]))
