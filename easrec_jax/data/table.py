"""What a reader gives: the columns of one input, and for each row its place there, which errors name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from easrec_jax.data.columns import excerpt

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl


def row_place(row: int) -> str:
    """The place of a row where there are no lines: rows are counted from 1."""
    return f"row {row + 1}"


@dataclass(frozen=True)
class Table:
    """The columns of one input by name; `place(row)` says for a row, from 0, where it stands in the input."""

    path: Path
    columns: dict[str, pl.Series]
    place: Callable[[int], str] = row_place
    kinds: dict[str, str] = field(default_factory=dict)
    """Atomic files: token, token_seq, float or float_seq by column; else empty."""
    named: bool = True
    """False: the file names no columns, they are "1", "2", ..."""
    by_user: bool = False
    """A line of the file was a user; the rows are already its events."""
    dropped: int = 0
    """Rows without an id that were left out."""

    def error(self, row: int, column: str, message: str) -> ValueError:
        """An error that names file, line and column."""
        return ValueError(f"{self.path}, {self.place(row)}, column {excerpt(column)}: {message}")


def wrong_width(path: Path, place: str, width: int, names: Sequence[str]) -> ValueError:
    """The error for a row with too few or too many columns."""
    columns = "column" if width == 1 else "columns"
    expected = f"{len(names)} columns ({', '.join(name[:60] for name in names[:20])})"
    return ValueError(f"{path}, {place}: expected {expected}, got {width} {columns}")


def check_distinct(path: Path, place: str, names: Sequence[str]) -> None:
    """Raise `ValueError` where a header names a column twice."""
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{path}, {place}: the column {excerpt(repeated)} is there twice")
