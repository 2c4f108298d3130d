"""How this process gets memory from the system, and gives it back: glibc's malloc and polars' allocator, on Linux."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's mallopt


def use_huge_pages() -> None:
    """Start over with malloc on huge pages, where Linux leaves the choice to the program and nobody has made it.

    A step's buffers come and go by the hundred megabytes; on 4 KB pages the kernel clears them one page fault at a time,
    which is up to half of the time (`benchmarks/README.md`). glibc reads the setting only when a process starts.
    """
    policy = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" in tunables or not policy.is_file() or "[madvise]" not in policy.read_text():
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, "glibc.malloc.hugetlb=1")))
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)


def spare_memory() -> None:
    """Settle how this process allocates, so that memory stays flat over many parts; a command's, before polars is loaded.

    Polars holds more the more threads it has, and its allocator keeps freed pages unless it is told otherwise; glibc
    scatters arrays over heaps that never shrink unless large ones get pages of their own.
    """
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:500,muzzy_decay_ms:0")
    if (tune := _glibc("mallopt")) is not None:
        tune(M_MMAP_THRESHOLD, 1 << 18)  # bytes
        tune(M_ARENA_MAX, 2)


def give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps what a part's arrays leave in pieces."""
    if (trim := _glibc("malloc_trim")) is not None:
        trim(0)


def _glibc(function: str) -> Any:
    """A function of the C library; None where it has no such one."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
