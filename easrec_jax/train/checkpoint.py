"""Checkpoints of a running search or training: the one module that knows Orbax.

A checkpoint is complete or it is not there: Orbax writes aside and renames, and a list of checksums, written last,
says what the files were, and which run's. A damaged file is named; it is never restored as something else, nor by
another run.

Arrays that lie on several devices are written and read where they lie, each process its own part; what was written by so many
devices is read by any other number. Where there are several processes, they have one folder, and the first keeps its order.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from easrec_jax.files import check_digests, file_digests, read_json, write_text
from easrec_jax.parallel.layout import is_table
from easrec_jax.parallel.processes import first_does, is_writer


class Checkpoints:
    """The newest `keep` checkpoints of one run, under `folder`, numbered by step.

    `run` says which run that is: names and values that make JSON. A checkpoint of another one is not restored.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, run: dict[str, Any] | None = None) -> None:
        self.folder = Path(folder).absolute()
        self.keep = keep
        self.run: dict[str, Any] = json.loads(json.dumps(run or {}))  # tuples are lists then, as in what is read back

    def of_run(self, run: dict[str, Any]) -> Checkpoints:
        """The same folder's, of the run that `run` describes."""
        return Checkpoints(self.folder, keep=self.keep, run=run)

    def steps(self) -> list[int]:
        """Complete checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            int(p.stem) for p in self.folder.glob("*.json") if p.stem.isdigit() and self._data(int(p.stem)).is_dir()
        )

    def latest(self) -> int | None:
        """The newest of them; None where there is none."""
        steps = self.steps()
        return steps[-1] if steps else None

    def save(self, step: int, tree: Any) -> None:
        """Write `tree` (arrays) as the checkpoint of `step`, then drop the oldest beyond `keep`."""
        import orbax.checkpoint as ocp

        data = self._data(step)
        first_does(lambda: self._make_room(step))
        try:
            # the synchronous form: the other one's threads wait for each other's signals when a write has failed
            with _quiet_writers(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
                arrays = jax.tree.map(lambda leaf: leaf if _is_placed(leaf) else np.asarray(leaf), tree)
                checkpointer.save(data, args=ocp.args.StandardSave(arrays), force=True)
        except Exception as error:  # of many kinds: a full disk is a ValueError or a RuntimeError to Orbax
            if is_writer():
                self._tidy()
            kept = f"; the one of step {self.latest()} is intact" if self.steps() else ""
            raise OSError(f"{data}: the checkpoint cannot be written: {reason(error)}{kept}") from error
        first_does(lambda: self._complete(step))

    def _make_room(self, step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._list(step).unlink(missing_ok=True)
        self._tidy()

    def _complete(self, step: int) -> None:
        digests = file_digests(self._data(step))
        write_text(self._list(step), json.dumps({"run": self.run, "sha256": digests}))
        for old in self.steps()[: -self.keep]:
            self._list(old).unlink()
            shutil.rmtree(self._data(old))

    def restore(self, like: Any) -> Any:
        """The newest checkpoint, with the structure, shapes, types and places of `like`.

        Of an item table, rows of zeros that fill it up on several devices come and go with their number. Raises `ValueError` naming
        the damaged file, or saying that the checkpoint is another run's or network's.
        """
        step = self.latest()
        if step is None:
            raise FileNotFoundError(f"{self.folder}: no checkpoint to resume from")
        data = self._data(step)
        older = self.steps()[:-1]
        hint = f"; delete {self._list(step)} to go back to step {older[-1]}" if older else "; no older one is left"
        listed = read_json(self._list(step))
        self._check_run(listed.get("run"), self._list(step))
        check_digests(data, listed.get("sha256"), source=self._list(step), hint=hint)
        try:
            restored = _restored(data, like)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{data}: the checkpoint does not fit this network (another config's?): {first_line(error)}"
            ) from error

        def typed(path: tuple, value: Any, model: Any) -> Any:
            if _is_placed(model):
                return value
            if is_table(path) and len(value) > len(model) and not np.any(value[len(model) :]):
                value = value[: len(model)]
            if np.shape(value) != np.shape(model):
                raise ValueError(
                    f"{data}: the checkpoint does not fit this network (another config's?): "
                    f"expected an array of shape {np.shape(model)}, got {np.shape(value)}"
                )
            return np.asarray(value) if isinstance(model, np.ndarray | np.generic) else jax.numpy.asarray(value)

        return jax.tree_util.tree_map_with_path(typed, restored, like)

    def _check_run(self, there: Any, source: Path) -> None:
        if not isinstance(there, dict):
            raise ValueError(
                f"{source}: it does not say which run's checkpoint this is (an older version's?): start anew"
            )
        names = sorted(name for name in there.keys() | self.run.keys() if there.get(name) != self.run.get(name))
        if names:
            changes = "; ".join(f"{name}: {there.get(name)!r} there, {self.run.get(name)!r} here" for name in names)
            whose = "another run's" if there.keys() == self.run.keys() else "another version's or another run's"
            raise ValueError(f"{source}: the checkpoint is {whose} ({changes[:600]}): start anew (--overwrite)")

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


def _is_placed(leaf: Any) -> bool:
    """Whether an array lies on several devices."""
    return isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1


def _restored(data: Path, like: Any) -> Any:
    """The arrays of a checkpoint, of NumPy or placed as those of `like` are."""
    import orbax.checkpoint as ocp

    placed = any(map(_is_placed, jax.tree.leaves(like)))
    if not placed:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(data, jax.tree.map(np.asarray, jax.device_get(like)))

    def wanted(path: tuple, leaf: Any) -> ocp.RestoreArgs:
        if not _is_placed(leaf):
            return ocp.RestoreArgs(restore_type=np.ndarray, dtype=np.asarray(leaf).dtype)
        return ocp.ArrayRestoreArgs(
            restore_type=jax.Array, sharding=leaf.sharding, global_shape=leaf.shape, dtype=leaf.dtype,
            strict=not is_table(path),
        )  # fmt: skip

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), like)
    arguments = ocp.args.PyTreeRestore(item=shapes, restore_args=jax.tree_util.tree_map_with_path(wanted, like))
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(data, args=arguments)


@contextmanager
def _quiet_writers() -> Iterator[None]:
    """Without the tracebacks of a failed save on stderr; the error itself is raised where it is caught.

    Orbax logs what it raises; and the writes of other arrays end, from threads of their own, after its event loop has been
    closed, perhaps only after this block: so of a failed save, those reports stay silenced.
    """
    logger = logging.getLogger("absl")
    logged, reported, logger.disabled = logger.disabled, sys.unraisablehook, True

    def hook(unraisable: Any) -> None:
        if not (isinstance(unraisable.exc_value, RuntimeError) and "loop is closed" in str(unraisable.exc_value)):
            reported(unraisable)

    sys.unraisablehook = hook
    try:
        yield
        sys.unraisablehook = reported
    finally:
        logger.disabled = logged


def reason(error: Exception) -> str:
    """Why a write failed: the system's words, where they are in the message, else its first line."""
    known = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EDQUOT)
    return next((text for text in map(os.strerror, known) if text in str(error)), first_line(error))


def first_line(error: Exception) -> str:
    """The first line of its text; its type where it has none."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
