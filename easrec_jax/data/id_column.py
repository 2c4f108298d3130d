"""Raw ids that stay in a Parquet file: what is asked for is read, nothing is a Python string before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

ROWS = 1 << 16  # read at a time


class IdColumn(Sequence[str]):
    """The column `id` of a Parquet file, text, as a sequence of its rows."""

    def __init__(self, path: Path, length: int) -> None:
        self.path, self._length = path, length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            return self._frame().slice(start, max(stop - start, 0)).collect()["id"].to_list()[::step]
        return self[(place := range(len(self))[place]) : place + 1][0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), ROWS):
            yield from self[start : start + ROWS]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (IdColumn, tuple, list)):
            return NotImplemented
        return len(self) == len(other) and all(
            list(other[start : start + ROWS]) == self[start : start + ROWS] for start in range(0, len(self), ROWS)
        )

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """int32 [ids], the place of each, counted from 1; 0 where it is not there."""
        import polars as pl

        asked = pl.Series("id", ids, dtype=pl.String)
        among = pl.col("id").is_in(asked.unique().implode())
        found = self._frame().with_row_index("place", 1).filter(among).collect(engine="streaming")
        places = asked.to_frame().join(found, on="id", how="left", maintain_order="left")["place"]
        return places.fill_null(0).to_numpy().astype(np.int32)

    def take(self, places: np.ndarray) -> list[str]:
        """The ids at places that are counted from 0."""
        import polars as pl

        asked = pl.Series("place", places.astype(np.uint32))
        among = pl.col("place").is_in(asked.unique().implode())
        found = self._frame().with_row_index("place").filter(among).collect(engine="streaming")
        return asked.to_frame().join(found, on="place", how="left", maintain_order="left")["id"].to_list()

    def _frame(self) -> pl.LazyFrame:
        import polars as pl

        return pl.scan_parquet(self.path, glob=False, hive_partitioning=False).select("id")
