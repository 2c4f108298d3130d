"""What `prepare` lays aside between its passes: histories in order, part by part, and arrays that grow in a file.

Imports polars: import this where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import polars as pl

from easrec_jax.data.read import Coded


class Kept(NamedTuple):
    """Which codes are kept."""

    users: list[np.ndarray]  # bool [users of the part], by part
    items: np.ndarray  # bool [items]

    def counts(self) -> tuple[int, int]:
        """How many users and items."""
        return sum(int(users.sum()) for users in self.users), int(self.items.sum())


class Laid:
    """Parts of histories below a folder: of each its users' ids and lengths, its items by code, and times where needed."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.folder, self.path = folder, path  # path: of the log, for messages
        self.users: list[int] = []  # of each part
        self.item_ids = pl.Series("id", [], dtype=pl.String)  # by code

    def add(self, coded: Coded) -> None:
        """Lay a part aside."""
        folder = self._of(len(self.users))
        folder.mkdir(parents=True)
        coded.users.cast(pl.String).alias("id").to_frame().write_parquet(folder / "users.parquet")
        arrays = {"lengths": np.bincount(coded.user), "items": coded.item, "times": coded.times}
        for name, array in arrays.items():
            if array is not None:
                np.save(folder / f"{name}.npy", array)
        self.users.append(len(coded.users))

    def load(self, part: int, name: str) -> np.ndarray:
        """lengths [users], items [events] or times [events] of a part."""
        return np.load(self._of(part) / f"{name}.npy", allow_pickle=False)

    def events(self, kept: Kept, part: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(user, item, whether both are kept), [events] each, of a part."""
        user, item = np.repeat(np.arange(self.users[part]), self.load(part, "lengths")), self.load(part, "items")
        return user, item, kept.users[part][user] & kept.items[item]

    def core(self, k: int) -> tuple[Kept, list[str]]:
        """The k-core, in which each user and item has k events or more, and a note of what is not in it.

        Each round of leaving out is a pass over the parts.
        """
        kept = Kept([np.ones(users, bool) for users in self.users], np.ones(len(self.item_ids), bool))
        everyone, before = kept.counts(), (0, 0)
        while k > 1 and kept.counts() != before:
            before, counts = kept.counts(), np.zeros(len(kept.items), np.int64)
            users = []
            for part, here in enumerate(kept.users):
                user, item, inside = self.events(kept, part)
                counts += np.bincount(item[inside], minlength=len(counts))
                users.append(here & (np.bincount(user[inside], minlength=len(here)) >= k))
            kept = Kept(users, kept.items & (counts >= k))
        if kept.counts() == everyone:
            return kept, []
        events = stay = 0
        for part in range(len(self.users)):
            inside = self.events(kept, part)[2]
            events, stay = events + len(inside), stay + int(inside.sum())
        if not stay:
            sizes = f"{everyone[0]} users and {everyone[1]} items"
            raise ValueError(f"{self.path}: k_core={k} leaves nothing of {events} interactions of {sizes}")
        users, items = (all - left for all, left in zip(everyone, kept.counts(), strict=True))
        return kept, [f"{events - stay:,} interactions, {users:,} users, {items:,} items dropped (k_core={k})"]

    def keep_users(self, part: int, which: np.ndarray) -> None:
        """Write the ids of those users of a part alone; its number of them stays."""
        path = self._of(part) / "users.parquet"
        pl.read_parquet(path, glob=False, hive_partitioning=False).filter(which).write_parquet(path)

    def sink_users(self, path: Path) -> None:
        """Write the users' ids of all parts into one file."""
        files = [self._of(part) / "users.parquet" for part in range(len(self.users))]
        pl.scan_parquet(files, glob=False, hive_partitioning=False).sink_parquet(path)

    def _of(self, part: int) -> Path:
        return self.folder / f"part-{part}"


class Growing:
    """An .npy file to which arrays of one type are appended."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._kind = file, None
        self.length = 0

    def append(self, array: np.ndarray) -> None:
        """Write more of it."""
        if self._kind is None:
            self._kind = array.dtype
            self.write_header()
        assert array.dtype == self._kind, f"{array.dtype} after {self._kind}"
        self._file.write(np.ascontiguousarray(array).data)
        self.length += len(array)

    def write_header(self) -> None:
        """Write the header, which leaves room for any length, at the start of the file."""
        assert self._kind is not None, "nothing was appended"
        kind = np.lib.format.dtype_to_descr(self._kind)
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": kind, "fortran_order": False, "shape": (self.length,)}
        )


@contextmanager
def growing_array(path: Path) -> Iterator[Growing]:
    """Within: arrays can be appended to the file; at the end it is one array."""
    with path.open("wb") as file:
        growing = Growing(file)
        yield growing
        growing.write_header()
