"""An experiment as cells, each one training or search: what is finished is on disk and is not run again."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
import subprocess
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

try:
    from filelock import FileLock, Timeout
except ImportError as error:
    raise ImportError('experiments need filelock: pip install "easrec_jax[reproduce]"') from error

from easrec_jax.architecture import Architecture
from easrec_jax.cells import AnyArchitecture, architecture_from_json
from easrec_jax.config import Config
from easrec_jax.config_files import from_json, names_of_today, to_json
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Split
from easrec_jax.files import read_json, write_bytes, write_text
from easrec_jax.models.rival import find_rival
from easrec_jax.runs.cli import Progress, machine
from easrec_jax.runs.described import data_counts, describe_flops
from easrec_jax.runs.workdir import changed_fields, differences
from easrec_jax.train.loop import Run


class Interrupted(Exception):
    """Ctrl-C in a cell: the cells before it are kept."""


UNKNOWN = "not recorded"
CONFIG_PARTS = ("data", "model", "search", "retrain", "distill", "route", "evaluate")


class Job(NamedTuple):
    """How a cell is made. One that is kept has to be of this config, and of this network where one is given."""

    make: Callable[[Config, Run], dict | None]  # (config, whom to tell) -> a cell, None if it was interrupted
    config: Config  # with its seed
    architecture: AnyArchitecture | None = None


JobOf = Callable[[Config], Job]  # of the recipe with a seed


class Cells:
    """The finished cells of one data set and scale: `folder/cells/NAME.json`, the config and the data that all of them ran on.

    A cell may have an array of ranks beside it, NAME.npz: a user each, by part and protocol (`validation/full`). A cell
    belongs to the process that makes it; another one that comes to it waits, or goes on to the next (`run_all`).
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        split: Split,
        features: ItemFeatures | None = None,
        *,
        command: str = UNKNOWN,
    ) -> None:
        """Raises `ValueError` where the folder holds cells of another config, other data or other item features, wherever the
        files lie. `command` is what the results say they were made by.

        Fields of a config that came later count as their default.
        """
        self.folder, self.config, self.split, self.features, self.command = folder, config, split, features, command
        self.used: dict[str, dict] = {}
        self.rows: tuple[str, ...] = ()  # those of the table, if they are not all
        self.commit = commit()  # of the code that runs, whatever is committed meanwhile
        self._check()

    def _check(self) -> dict[Path, str]:
        """What the folder shall say of its cells, by file; `ValueError` where what it says is another config or other data."""
        path, config = self.folder / "config.json", _without_files(self.config)
        if path.is_file():
            there = _without_files(from_json(path.read_text(), source=str(path)))
            if changes := differences(there, config, CONFIG_PARTS):
                raise ValueError(
                    f"{self.folder} holds cells of another config ({'; '.join(changes)}): use another --workdir"
                )
        histories = self.split.data
        data = {name: histories.counts()[name] for name in ("users", "items", "interactions")}
        data["crc32"] = zlib.crc32(histories.items.tobytes(), zlib.crc32(histories.offsets.tobytes()))
        if self.features is not None:
            data["features_crc32"] = zlib.crc32(b"".join(table.tobytes() for table in self.features.values))
        known = self.folder / "data.json"
        kept = read_json(known) if known.is_file() else {}
        if kept | data != data | kept:
            raise ValueError(
                f"{self.folder} holds cells of other data ({kept} there, {data} here): use another --workdir"
            )
        return {path: to_json(config), known: json.dumps(kept | data, indent=2) + "\n"}

    def run(self, name: str, job: Job) -> dict:
        """The cell of that name, from disk or made; waited for where another process is at it.

        What `job.make` returns as `ranks` goes into NAME.npz. Added are `changes`, what its config has other than the folder's,
        and wall and CPU seconds of all threads, unless it has measured them itself: the second ones mean something on a
        machine that others use too. Raises `ValueError` for a kept cell of another job.
        """
        self._finish(name, job, wait=True)
        self.used[name] = self._with_all_positions(name, read_json(self.path(name)))
        return self.used[name]

    def _with_all_positions(self, name: str, cell: dict) -> dict:
        """Cells of versions that counted the FLOPs of a request alone get those with all layers at all positions."""
        known = cell.get("architecture", {})
        if "flops" in known and "flops_all" not in known:
            architecture, stacks = Architecture.from_json(known), find_rival("fdsa")[0].stacks if "-fdsa" in name else 1
            counted = describe_flops(
                known["flops"], architecture, self.config, self.split.data.num_items, stacks=stacks
            )
            known |= {key: value for key, value in counted.items() if key.startswith("flops_all")}
        return cell

    def run_all(self, jobs: Mapping[str, Job]) -> list[dict]:
        """All these cells, in order. What other processes are at is left to them until the rest is done: started several
        times, an experiment is shared."""
        for name, job in jobs.items():
            self._finish(name, job, wait=False)
        return [self.run(name, job) for name, job in jobs.items()]

    def shown_rows(
        self, known: Iterable[str], only: tuple[str, ...], cells_of: Callable[[str], list[str]]
    ) -> list[str]:
        """The rows of a table, in the order of `known`: those asked for (all, if `only` names none), and those beside them whose
        cells are finished, so that a table never loses a row. `ValueError` for a name that is none."""
        known = list(known)
        unknown = [name for name in only if name not in known]
        if unknown:
            raise ValueError(
                f"rows: expected some of {', '.join(map(repr, known))}, got {', '.join(map(repr, unknown))}"
            )
        finished = {row for row in known if all(self.path(name).is_file() for name in cells_of(row))}
        shown = [row for row in known if not only or row in only or row in finished]
        self.rows = tuple(shown) if len(shown) < len(known) else ()
        return shown

    def path(self, name: str) -> Path:
        """Where the cell of that name is, once it is finished."""
        return self.folder / "cells" / f"{name}.json"

    def _changes(self, job: Job) -> dict[str, Any]:
        """The fields of a job's config that are other than the folder's, as JSON reads them back."""
        fields = changed_fields(_without_files(self.config), _without_files(job.config), CONFIG_PARTS)
        return json.loads(json.dumps({name: here for name, (_, here) in fields.items()}))

    def _check_kept(self, path: Path, job: Job) -> None:
        cell, changes = read_json(path), self._changes(job)
        again = "; remove it to have it made again"
        # cells of the first versions do not say; the tables changed what strategies shared for EASRec, which has the first name
        kept = {names_of_today(name)[0]: value for name, value in cell.get("changes", changes).items()}
        if kept != changes:
            raise ValueError(f"{path} was made with {cell['changes']}, expected {changes}{again}")
        if job.architecture is not None and "architecture" in cell:
            kept = architecture_from_json(cell["architecture"], source=str(path))
            if kept != job.architecture:
                raise ValueError(f"{path} is of {kept.describe()}, expected {job.architecture.describe()}{again}")

    def _finish(self, name: str, job: Job, *, wait: bool) -> None:
        """Make the cell if it is not there; without `wait`, not one that another process is making."""
        path = self.path(name)
        if path.is_file():
            self._check_kept(path, job)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{name}.lock")
        try:
            with FileLock(lock, blocking=wait):
                if not path.is_file():  # else it was finished while this process waited
                    self._make(name, job)
        except Timeout:
            return
        lock.unlink(missing_ok=True)

    def _make(self, name: str, job: Job) -> None:
        with self._alone():
            for path, text in self._check().items():  # again: another process may have come first
                write_text(path, text)
        wall, cpu = time.perf_counter(), time.process_time()
        jax.clear_caches()  # programs keep memory maps: after a dozen networks a process has all that Linux allows
        with Progress(name) as progress:
            cell = job.make(job.config, Run(on_step=progress.step, on_epoch=progress.epoch))
        if cell is None:
            raise Interrupted
        spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        ranks: Any = cell.pop("ranks", None)
        spent = {key: round(cell.pop(key, value), 2) for key, value in spent.items()}
        cell = cell | {"changes": self._changes(job)} | spent | machine() | {"commit": self.commit}
        path = self.path(name)
        if ranks is not None:  # first: a cell that is there is whole
            packed = io.BytesIO()
            np.savez_compressed(packed, **{key: value.astype(np.int32) for key, value in ranks.items()})
            write_bytes(path.with_suffix(".npz"), packed.getvalue())
        write_text(path, json.dumps(cell, indent=2) + "\n")

    def ranks(self, name: str) -> dict[str, np.ndarray] | None:
        """`kept_ranks` of a finished cell."""
        return kept_ranks(self.path(name))

    def about(self, seeds: int) -> dict:
        """How results were made: the command, the data, the protocols, and what the cells asked for so far ran on."""
        counts, used = data_counts(self.config, self.split), self.used.values()
        return {
            "command": self.command + (f" --rows {shlex.join(self.rows)}" if self.rows else ""),
            "seeds": seeds,
            "data": {key: counts[key] for key in ("source", "users", "items", "interactions")},
            "protocols": list(self.config.evaluate.protocols),
            "select_by": self.config.evaluate.select_by,
            "targets": self.config.data.targets,
            "commits": sorted({cell.get("commit", UNKNOWN) for cell in used}),
            "devices": sorted({cell["device"] for cell in used}),
            "jax": sorted({cell["jax"] for cell in used}),
            "cells": len(self.used),
        }

    def write(self, name: str, results: dict, rows: list[dict], markdown: str, *, seeds: int) -> str:
        """NAME.csv (one line a row), NAME.md (the table as printed, which is returned) and NAME.json (everything, and `about`)."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines = [columns, *([_field(row.get(key, "")) for key in columns] for row in rows)]
        everything = json.dumps(results | {"about": self.about(seeds)}, indent=2, allow_nan=False)
        with self._alone():  # three files of one process
            write_text(self.folder / f"{name}.csv", "".join(",".join(line) + "\n" for line in lines))
            write_text(self.folder / f"{name}.md", markdown + "\n")
            write_text(self.folder / f"{name}.json", everything + "\n")
        return markdown

    def _alone(self) -> FileLock:
        """For what concerns the folder as a whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".folder.lock")


def kept_ranks(cell: Path) -> dict[str, np.ndarray] | None:
    """int32 [users] by `part/protocol`, of the file of a finished cell; None where it kept none."""
    path = cell.with_suffix(".npz")
    if not path.is_file():
        return None
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def _without_files(config: Config) -> Config:
    """The config without the names of its data files: what was in them is in data.json."""
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, path="", titles="", features="", item_vectors="")
    )


@cache
def commit() -> str:
    """The commit of the code that runs, "+" if tracked files differ from it; "not recorded" outside of a git checkout."""
    folder = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # not installed into a folder that belongs to another checkout
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(folder))
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN


def _field(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text
