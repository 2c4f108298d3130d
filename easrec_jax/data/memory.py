"""Tables in memory as columns: polars, pandas, Arrow, anything with the Arrow interface, mappings, and rows. Imports polars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from easrec_jax.data.columns import excerpt
from easrec_jax.data.ids import id_text
from easrec_jax.data.table import Table

PATH = Path("table in memory")  # its name in messages
ROWS = ["user", "item", "timestamp"]


def in_memory(data: Any) -> Table:
    """The columns of a table: a frame or Arrow table by their names; rows are (user, item) or (user, item, time)."""
    try:
        frame = _frame(data)
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        raise ValueError(f"{PATH}: {type(data).__name__} cannot be read: {str(error)[:300]}") from error
    if not frame.height:
        raise ValueError(f"{PATH}: it has no row")
    return Table(PATH, {name: frame[name] for name in frame.columns})


def _frame(data: Any) -> pl.DataFrame:
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if hasattr(data, "__arrow_c_stream__"):
        try:
            return pl.DataFrame(data)
        except ImportError:  # pandas without pyarrow
            pass
    if isinstance(data, Mapping) or (hasattr(data, "columns") and hasattr(data, "__getitem__")):
        names = list(data) if isinstance(data, Mapping) else list(data.columns)
        return pl.DataFrame({str(name): _column(str(name), data[name]) for name in names})
    rows = [tuple(row) if isinstance(row, (tuple, list, np.ndarray)) else row for row in data]
    for number, row in enumerate(rows, 1):
        if not (isinstance(row, tuple) and 2 <= len(row) <= 3 and len(row) == len(rows[0])):
            raise ValueError(
                f"{PATH}, row {number}: expected (user, item) or (user, item, time) in all, got {excerpt(row)}"
            )
    return pl.DataFrame(
        {name: _column(name, list(values)) for name, values in zip(ROWS, zip(*rows, strict=True), strict=False)}
    )


def _column(name: str, values: Any) -> pl.Series:
    """Values of Python or NumPy as a column; where they are of several kinds, as the text of ids."""
    values = np.asarray(values) if hasattr(values, "to_numpy") else values
    if isinstance(values, np.ndarray) and values.dtype != object:
        return pl.Series(name, values)
    values = list(values)
    try:
        return pl.Series(name, values, strict=True)
    except (pl.exceptions.PolarsError, TypeError):
        pass
    texts = []
    for row, value in enumerate(values, 1):
        try:
            texts.append(id_text(value))
        except ValueError as error:
            raise ValueError(f"{PATH}, row {row}, column {name!r}: {error}") from None
    return pl.Series(name, texts, dtype=pl.String)
