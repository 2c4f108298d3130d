"""Titles of items, to show beside their ids: RecBole `.item` files, CSV, TSV, Parquet."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from easrec_jax.data.readers import DEFAULT_NAMES, check_file, detect_format, read_text, shown


def read_titles(path: str | Path) -> dict[str, str]:
    """Raw item id -> title. The item column has a usual name; the title's name contains "title" or "name".

    Raises `ValueError` naming the file and its columns where one of the two is missing.
    """
    path = check_file(path)
    format = detect_format(path)
    if format == "parquet":
        try:
            frame = pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise ValueError(f"{path}: not a readable parquet file: {error}") from error
        columns = {
            c.name: c.cast(pl.String) for c in frame.get_columns() if c.dtype == pl.String or c.dtype.is_integer()
        }
    elif format in ("atomic", "csv", "tsv"):
        columns = read_text(path, format).columns
    else:
        raise ValueError(f"{path}: expected titles as .item, .csv, .tsv or .parquet, got the format {format!r}")
    item = next((name for name in DEFAULT_NAMES[1] if name in columns), None)
    title = next((name for word in ("title", "name") for name in columns if word in name.lower()), None)
    if item is None or title is None:
        missing = f"item column ({', '.join(DEFAULT_NAMES[1])})" if item is None else "title column (*title*, *name*)"
        raise ValueError(f"{path}: no {missing}; the file has the columns {', '.join(map(shown, list(columns)[:20]))}")
    pairs = zip(columns[item].to_list(), columns[title].to_list(), strict=True)
    return {raw: text for raw, text in pairs if raw and text}
