"""An experiment as cells, each one training or search: what is finished is on disk and is not run again."""

from __future__ import annotations

import io
import json
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from easrec_jax.cli import Progress, machine
from easrec_jax.config import Config
from easrec_jax.config_files import from_json, to_json
from easrec_jax.files import read_json, write_bytes, write_text
from easrec_jax.workdir import differences


class Interrupted(Exception):
    """Ctrl-C in a cell: the cells before it are kept."""


class Cells:
    """The finished cells of one experiment: `folder/cells/NAME.json`, and the config that all of them ran under.

    A cell may have an array of ranks beside it, NAME.npz: a user each, by part and protocol (`validation/full`).
    """

    def __init__(self, folder: Path, config: Config) -> None:
        """Raises `ValueError` where the folder holds cells of another config. Fields that came later count as their default."""
        self.folder = folder
        self.used: dict[str, dict] = {}
        path = folder / "config.json"
        if path.is_file():
            parts = ("data", "model", "search", "retrain", "evaluate")
            changes = differences(from_json(path.read_text(), source=str(path)), config, parts)
            if changes:
                raise ValueError(
                    f"{folder} holds cells of another config ({'; '.join(changes)}): use another --workdir"
                )
        write_text(path, to_json(config))

    def run(self, name: str, make: Callable[[dict], dict | None]) -> dict:
        """The cell of that name, from disk or from `make(callbacks)`, which returns None if it was interrupted.

        What `make` returns as `ranks` goes into NAME.npz. Wall and CPU seconds of all threads are added: the second ones
        mean something on a machine that others use too.
        """
        path = self.folder / "cells" / f"{name}.json"
        if not path.is_file():
            wall, cpu = time.perf_counter(), time.process_time()
            jax.clear_caches()  # programs keep memory maps: after a dozen networks a process has all that Linux allows
            with Progress(name) as progress:
                cell = make({"on_step": progress.step, "on_epoch": progress.epoch})
            if cell is None:
                raise Interrupted
            spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
            ranks: Any = cell.pop("ranks", None)
            cell = cell | {key: round(value, 2) for key, value in spent.items()} | machine() | {"commit": commit()}
            if ranks is not None:  # first: a cell that is there is whole
                packed = io.BytesIO()
                np.savez_compressed(packed, **{key: value.astype(np.int32) for key, value in ranks.items()})
                write_bytes(path.with_suffix(".npz"), packed.getvalue())
            write_text(path, json.dumps(cell, indent=2) + "\n")
        self.used[name] = read_json(path)
        return self.used[name]

    def ranks(self, name: str) -> dict[str, np.ndarray] | None:
        """int32 [users] by `part/protocol` of a finished cell, None where it kept none."""
        path = self.folder / "cells" / f"{name}.npz"
        if not path.is_file():
            return None
        with np.load(path) as file:
            return {key: file[key] for key in file.files}

    def made(self) -> dict:
        """Where the cells asked for so far come from: the commits and devices they ran on, and how many they are."""
        cells = self.used.values()
        return {
            "commits": sorted({cell.get("commit", UNKNOWN) for cell in cells}),
            "devices": sorted({cell["device"] for cell in cells}),
            "jax": sorted({cell["jax"] for cell in cells}),
            "cells": len(self.used),
        }


UNKNOWN = "not recorded"


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


def write_results(folder: Path, name: str, results: dict, rows: list[dict], markdown: str) -> None:
    """NAME.json (everything), NAME.csv (one line a row) and NAME.md (the table as printed)."""
    write_text(folder / f"{name}.json", json.dumps(results, indent=2) + "\n")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([_field(row.get(key, "")) for key in columns] for row in rows)]
    write_text(folder / f"{name}.csv", "".join(",".join(line) + "\n" for line in lines))
    write_text(folder / f"{name}.md", markdown + "\n")


def _field(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def plus_minus(values: Any, digits: int = 4) -> str:
    """Mean ± standard deviation over seeds, the mean alone for one."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])
