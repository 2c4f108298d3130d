"""Recommendations as files: what a part holds, and how parts become one file.

One row a user, best item first: `user`, `items`, `scores` (lists) in Parquet and JSON lines; in CSV and TSV one row a
recommendation: `user`, `rank`, `item`, `score`; `titles` or `title` where asked for.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from easrec_jax.files import whole_file
from easrec_jax.serving.claims import record_of, write_record, written

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"  # how a cell begins that a spreadsheet computes (OWASP, "CSV Injection")


def safe_cells(text: pl.Series) -> pl.Series:
    """Text that no spreadsheet takes for a formula: one that begins like it gets an apostrophe in front."""
    begins = text.str.contains(FORMULA)
    return ("'" + text).zip_with(begins.fill_null(False), text).alias(text.name)


def encode(users: pl.Series, items: pl.DataFrame, scores: np.ndarray, best: np.ndarray, format: str) -> bytes:
    """One part as a file's content: of each user the items with a finite score, in the order of [users k].

    `items` has the columns item and, optionally, title; row r is inner id r + 1.
    """
    import polars as pl

    real = np.isfinite(scores)
    user, rank = np.nonzero(real)
    found = items[best[real] - 1].with_columns(score=pl.Series(scores[real], dtype=pl.Float32))
    buffer = io.BytesIO()
    if format in ("csv", "tsv"):
        rows = pl.DataFrame({"user": users.gather(user), "rank": rank + 1})
        rows.hstack(found).write_csv(buffer, separator="," if format == "csv" else "\t")
        return buffer.getvalue()
    frame = _one_row_a_user(users, user, found)
    frame.write_parquet(buffer) if format == "parquet" else frame.write_ndjson(buffer)
    return buffer.getvalue()


def answer_rows(users: pl.Series, items: pl.DataFrame, scores: np.ndarray, best: np.ndarray) -> pl.DataFrame:
    """The rows that `encode` writes to Parquet: user, items, perhaps titles, and scores, one row a user."""
    import polars as pl

    real = np.isfinite(scores)
    found = items[best[real] - 1].with_columns(score=pl.Series(scores[real], dtype=pl.Float32))
    return _one_row_a_user(users, np.nonzero(real)[0], found)


def _one_row_a_user(users: pl.Series, user: np.ndarray, found: pl.DataFrame) -> pl.DataFrame:
    """`found`, a row an answer of the users by number, as lists, empty for who has none."""
    import polars as pl

    names = {name: f"{name}s" for name in found.columns}
    rows = found.rename(names).with_columns(row=pl.Series(user, dtype=pl.UInt32))
    lists = rows.group_by("row", maintain_order=True).agg(*names.values())
    everyone = pl.DataFrame({"row": np.arange(len(users), dtype=np.uint32), "user": users})
    frame = everyone.join(lists, on="row", how="left", maintain_order="left").drop("row")
    return frame.with_columns(pl.col(*names.values()).fill_null([]))


def join(parts: list[Path], out: Path, format: str, settings: dict) -> None:
    """All parts as one file, in order, and its settings; it appears whole."""
    with whole_file(out) as aside:
        if format == "parquet":
            _join_parquet(parts, aside, out)
        else:
            with open(aside, "wb") as file:
                _concatenate(parts, file, header=format in ("csv", "tsv"))
        write_record(record_of(out), settings | written(aside))  # killed here: out is not it


def _join_parquet(parts: list[Path], aside: Path, out: Path) -> None:
    import polars as pl

    try:
        pl.scan_parquet(parts, glob=False).sink_parquet(aside)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise OSError(f"{out}: {str(error).splitlines()[0]}") from None


def _concatenate(parts: list[Path], file: IO[bytes], *, header: bool) -> None:
    for number, part in enumerate(parts):
        with open(part, "rb") as source:
            if header and number:
                source.readline()
            shutil.copyfileobj(source, file, 1 << 20)
