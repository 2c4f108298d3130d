"""Files that are whole or the old ones, and checksums that say so."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import math
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# of the versions of .npy
READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write_text(path: Path, text: str) -> None:
    """Write aside, flush to the disk, rename: the file is whole or it is the old one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as aside:
        aside.write_bytes(data)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a name aside; when the block ends well, the file of that name is flushed to the disk and becomes `path`.

    An `OSError` that names no file, of a full disk, names `path`.
    """
    clear_asides(path)
    aside = aside_of(path)
    try:
        yield aside
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def aside_of(path: Path) -> Path:
    """Where this process writes what shall become `path`; hidden, in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def clear_asides(path: Path) -> None:
    """Remove what killed processes left aside of `path`; what belongs to a living one stays."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = left.name.removesuffix(".tmp").rpartition(".")[2]
        if process.isdigit() and not _alive(int(process)):
            _remove(left)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder aside; when the block ends well it takes the place of `folder`.

    Killed at any moment, either the old one or the new one is where `standing_folder` says, and the next writer tidies up.
    """
    old, aside = _old(folder), aside_of(folder)
    if old.exists():
        os.replace(old, folder) if not folder.exists() else _remove(old)
    clear_asides(folder)
    _remove(aside)
    try:
        aside.mkdir(parents=True)
        yield aside
        if folder.exists():
            os.replace(folder, old)
        os.replace(aside, folder)
        _remove(old)
    finally:
        _remove(aside)


def standing_folder(folder: Path) -> Path:
    """`folder`, or the old one, where a writer was killed (or stands) between putting that away and the new one there."""
    return _old(folder) if not folder.exists() and _old(folder).is_dir() else folder


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """One .npz file, as `write_text`."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that `write_arrays` wrote; nothing in it is executed, no array is larger than its bytes.

    `ValueError` names a file that is no such thing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file (expected arrays in .npz form)")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise ValueError("expected arrays without compression")
            if sum(m.file_size for m in members) > path.stat().st_size:
                raise ValueError("it declares more bytes than it has")
            if len({m.filename for m in members}) < len(members):
                raise ValueError("an array is there twice")
            return {m.filename.removesuffix(".npy"): _read_array(archive, m) for m in members}
    except Exception as error:  # whatever a crafted file makes zipfile or numpy stumble over
        raise ValueError(f"{path}: damaged, or not a file of arrays: {error}") from None


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array, if its header declares exactly the bytes that follow."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        shape, _, kind = READ_HEADER[version](file)
        there = member.file_size - file.tell()
        if kind.hasobject or kind.itemsize == 0 or math.prod(shape) * kind.itemsize != there:
            raise ValueError(f"{member.filename}: {kind} of shape {shape} is not what {there} bytes can be")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def read_json(path: Path) -> dict:
    """A JSON object; `ValueError` names the file and the place where it is none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file (expected JSON)")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no UTF-8, numbers of 5,000 digits
        raise ValueError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(tree).__name__}")
    return tree


def file_digests(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file below `folder`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): file_digest(p) for p in files}


def check_digests(folder: Path, digests: Any, *, source: Path, needed: Iterable[str] = (), hint: str = "") -> None:
    """Raise `ValueError` naming the first file that is missing or altered; nothing outside `folder` is read.

    `digests` is what the file `source` says: relative path -> SHA-256; the paths in `needed` must be among them.
    """
    if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
        raise ValueError(f"{source}: expected checksums as an object of file names and text")
    unlisted = [name for name in needed if name not in digests]
    if unlisted:
        raise ValueError(f"{source}: there is no checksum of {', '.join(unlisted)}")
    for name, digest in digests.items():
        path = folder / name
        if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{source}: the list of checksums names a file outside: {name[:100]!r}")
        if not path.is_file():
            raise ValueError(f"{path}: missing{hint}")
        if file_digest(path) != digest:
            raise ValueError(f"{path}: damaged (truncated or altered; its checksum differs){hint}")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
