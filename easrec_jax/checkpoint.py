"""Checkpoints of a running search or training: the one module that knows Orbax.

A checkpoint is complete or it is not there: Orbax writes aside and renames, and a list of checksums, written last,
says what the files were. A damaged file is named; it is never restored as something else.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from easrec_jax.files import check_digests, file_digests, read_json, write_text


class Checkpoints:
    """The newest `keep` checkpoints of one run, under `folder`, numbered by step."""

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        self.folder = Path(folder).absolute()
        self.keep = keep

    def steps(self) -> list[int]:
        """Complete checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            int(p.stem) for p in self.folder.glob("*.json") if p.stem.isdigit() and self._data(int(p.stem)).is_dir()
        )

    def latest(self) -> int | None:
        steps = self.steps()
        return steps[-1] if steps else None

    def save(self, step: int, tree: Any) -> None:
        """Write `tree` (arrays) as the checkpoint of `step`, then drop the oldest beyond `keep`."""
        import orbax.checkpoint as ocp

        data = self._data(step)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._list(step).unlink(missing_ok=True)
        self._tidy()
        try:
            with _without_orbax_tracebacks(), ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(data, jax.tree.map(np.asarray, jax.device_get(tree)), force=True)
        except Exception as error:  # of many kinds: a full disk is a ValueError or a RuntimeError to Orbax
            self._tidy()
            kept = f"; the one of step {self.latest()} is intact" if self.steps() else ""
            raise OSError(f"{data}: the checkpoint cannot be written: {reason(error)}{kept}") from error
        write_text(self._list(step), json.dumps(file_digests(data)))
        for old in self.steps()[: -self.keep]:
            self._list(old).unlink()
            shutil.rmtree(self._data(old))

    def restore(self, like: Any) -> Any:
        """The newest checkpoint, with the structure, shapes and types of `like`.

        Raises `ValueError` naming the damaged file, or saying that the checkpoint is another network's.
        """
        import orbax.checkpoint as ocp

        step = self.latest()
        if step is None:
            raise FileNotFoundError(f"{self.folder}: no checkpoint to resume from")
        data = self._data(step)
        older = self.steps()[:-1]
        hint = f"; delete {self._list(step)} to go back to step {older[-1]}" if older else "; no older one is left"
        check_digests(data, read_json(self._list(step)), source=self._list(step), hint=hint)
        wanted = jax.tree.map(np.asarray, jax.device_get(like))
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                restored = checkpointer.restore(data, wanted)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{data}: the checkpoint does not fit this network (another config's?): {first_line(error)}"
            ) from error

        def typed(value: Any, model: Any) -> Any:
            if np.shape(value) != np.shape(model):
                raise ValueError(
                    f"{data}: the checkpoint does not fit this network (another config's?): "
                    f"expected an array of shape {np.shape(model)}, got {np.shape(value)}"
                )
            return np.asarray(value) if isinstance(model, np.ndarray | np.generic) else jax.numpy.asarray(value)

        return jax.tree.map(typed, restored, like)

    def _tidy(self) -> None:
        """Remove what killed or failed writers left: all that belongs to no complete checkpoint."""
        whole = {path.name for step in self.steps() for path in (self._data(step), self._list(step))}
        for left in self.folder.iterdir():
            if left.name not in whole and left.name.lstrip(".")[:1].isdigit():
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)

    def _data(self, step: int) -> Path:
        return self.folder / str(step)

    def _list(self, step: int) -> Path:
        return self.folder / f"{step}.json"


@contextmanager
def _without_orbax_tracebacks() -> Iterator[None]:
    """Its threads log what they raise, and then raise it again where it is caught."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def reason(error: Exception) -> str:
    """Why a write failed: the system's words, where they are in the message, else its first line."""
    known = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EDQUOT)
    return next((text for text in map(os.strerror, known) if text in str(error)), first_line(error))


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
