"""One process at a time: a lock file that names its holder, and whose lock goes with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def lock(path: Path, *, wait: bool = False, note: str = "", unlocked: str = "start no second run here") -> IO[str]:
    """Hold the lock file `path` until the file returned is closed or the process ends.

    What is written in it is this process and `note`. `BlockingIOError`, its text what the holder wrote, where another has
    it, unless this one shall `wait`. A file system that knows no locks is a warning, which advises `unlocked`.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  closing it gives the lock back
        except FileNotFoundError:  # who held the lock removed the folder meanwhile
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise BlockingIOError(holder or "another process") from None
        except OSError as error:
            warnings.warn(f"{path.parent}: cannot be locked ({error.strerror}): {unlocked}", stacklevel=3)
            break
        if _is_at(path, file):
            break
        file.close()  # the lock of one who ended meanwhile, and removed it
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}{note}")
    file.flush()
    return file


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Within, this process alone holds the lock file `path`, which is removed afterwards.

    Raises `ValueError` naming the process that holds it, unless this one shall `wait`.
    """
    try:
        file = lock(path, wait=wait)
    except BlockingIOError as holder:
        raise ValueError(f"{path.parent}: {holder} holds {path.name} here; let it end first") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
