"""Checkpoints of a running search or training: one .npz file a checkpoint, whole or not there at all.

Plain files and not Orbax: when a disk is full, Orbax's writers outlive the save that failed, print tracebacks from their
threads, and make the caller wait for one another's signals for minutes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from easrec_jax.files import clear_asides, read_arrays, write_arrays


class Checkpoints:
    """The newest `keep` checkpoints of one run, `STEP.npz` under `folder`, an array a leaf, named by its path in the tree."""

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        self.folder = Path(folder).absolute()
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, ascending."""
        return sorted(int(path.stem) for path in self.folder.glob("*.npz") if path.stem.isdigit())

    def latest(self) -> int | None:
        steps = self.steps()
        return steps[-1] if steps else None

    def save(self, step: int, tree: Any) -> None:
        """Write `tree` (arrays) as the checkpoint of `step`, then drop the oldest beyond `keep`.

        Raises `OSError` saying why it cannot be written; those that were there are then still there.
        """
        path = self._file(step)
        for left in self.folder.glob(".*.npz.*.tmp"):  # a killed writer's, perhaps of a step that never comes again
            clear_asides(self.folder / left.name.removeprefix(".").rsplit(".", 2)[0])
        try:
            write_arrays(path, _named(tree))
        except OSError as error:
            kept = f"; the one of step {self.latest()} is intact" if self.steps() else ""
            raise OSError(f"{path}: the checkpoint cannot be written: {reason(error)}{kept}") from error
        for old in self.steps()[: -self.keep]:
            self._file(old).unlink()

    def restore(self, like: Any) -> Any:
        """The newest checkpoint, with the structure, shapes and types of `like`.

        Raises `ValueError` naming the damaged file, or saying that the checkpoint is another network's.
        """
        step = self.latest()
        if step is None:
            raise FileNotFoundError(f"{self.folder}: no checkpoint to resume from")
        path, older = self._file(step), self.steps()[:-1]
        try:
            arrays = read_arrays(path)  # a zip file: each array has its checksum
        except ValueError as error:
            hint = f"delete it to go back to step {older[-1]}" if older else "no older one is left"
            raise ValueError(f"{error}; {hint}") from None
        wanted, misfit = _named(like), f"{path}: the checkpoint does not fit this network (another config's?)"
        for name in sorted(wanted.keys() ^ arrays.keys()):
            raise ValueError(f"{misfit}: {name}: {'missing' if name in wanted else 'not an array of this network'}")
        for name, want in wanted.items():
            got = arrays[name]
            if (got.shape, got.dtype) != (want.shape, want.dtype):
                shapes = f"{want.dtype} of shape {want.shape}, got {got.dtype} of shape {got.shape}"
                raise ValueError(f"{misfit}: {name}: expected {shapes}")
        leaves, structure = jax.tree.flatten(like)
        restored = [
            array if isinstance(leaf, np.ndarray | np.generic) else jax.numpy.asarray(array)
            for leaf, array in zip(leaves, (arrays[name] for name in wanted), strict=True)
        ]
        return jax.tree.unflatten(structure, restored)

    def _file(self, step: int) -> Path:
        return self.folder / f"{step}.npz"


def _named(tree: Any) -> dict[str, np.ndarray]:
    """Path in the tree -> array, in the order of the tree's leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}
    assert len(named) == len(leaves), "two leaves of one name"
    return named


def reason(error: OSError) -> str:
    """Why a write failed, in the system's words."""
    return os.strerror(error.errno) if error.errno else str(error)
