"""An experiment as cells, each one training or search: what is finished is on disk and is not run again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.cli import Progress, machine
from easrec_jax.config import Config, from_json, to_json
from easrec_jax.files import read_json, write_text
from easrec_jax.workdir import differences


class Interrupted(Exception):
    """Ctrl-C in a cell: the cells before it are kept."""


class Cells:
    """The finished cells of one experiment: `folder/cells/NAME.json`, and the config that all of them ran under."""

    def __init__(self, folder: Path, config: Config) -> None:
        """Raises `ValueError` where the folder holds cells of another config."""
        self.folder = folder
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

        Wall and CPU seconds of all threads are added: the second ones mean something on a machine that others use too.
        """
        path = self.folder / "cells" / f"{name}.json"
        if path.is_file():
            return read_json(path)
        wall, cpu = time.perf_counter(), time.process_time()
        with Progress(name) as progress:
            cell = make({"on_step": progress.step, "on_epoch": progress.epoch})
        if cell is None:
            raise Interrupted
        spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        cell = cell | {key: round(value, 2) for key, value in spent.items()} | machine()
        write_text(path, json.dumps(cell, indent=2) + "\n")
        return cell


def write_results(folder: Path, name: str, results: dict, rows: list[dict], markdown: str) -> None:
    """NAME.json (everything), NAME.csv (one line a row) and NAME.md (the table as printed)."""
    write_text(folder / f"{name}.json", json.dumps(results, indent=2) + "\n")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([_field(row.get(key, "")) for key in columns] for row in rows)]
    write_text(folder / f"{name}.csv", "".join(",".join(line) + "\n" for line in lines))
    write_text(folder / f"{name}.md", markdown + "\n")


def _field(value: Any) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def plus_minus(values: Any, digits: int = 4) -> str:
    """Mean ± standard deviation over seeds, the mean alone for one."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])
