"""Titles of items, to show beside their ids: RecBole `.item` files, CSV, TSV, Parquet."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from easrec_jax.data.columns import ITEMS, Columns, excerpt, usual
from easrec_jax.data.id_rules import id_columns, plain_ids
from easrec_jax.data.inputs import File, check_file
from easrec_jax.data.readers import detect


def read_titles(path: str | Path) -> dict[str, str]:
    """Raw item id -> title. The item column has a usual name; the title's name contains "title" or "name".

    Raises `ValueError` naming the file and its columns where one of the two is missing.
    """
    file = File(check_file(path))
    reader, separator = detect(file, asked=Columns(user="-"))
    if reader.name == "parquet":
        try:
            frame = pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise ValueError(f"{path}: not a readable parquet file: {error}") from error
    elif reader.name in ("atomic", "csv", "tsv") and reader.read:
        frame = pl.DataFrame(list(reader.read(file, separator).columns.values()))
    else:
        raise ValueError(f"{path}: expected titles as .item, .csv, .tsv or .parquet, got the format {reader.name!r}")
    item = usual(frame.columns, ITEMS)
    title = next((name for word in ("title", "name") for name in frame.columns if word in name.lower()), None)
    if not item or title is None:
        missing = f"item column ({', '.join(ITEMS[:4])}, ...)" if not item else "title column (*title*, *name*)"
        raise ValueError(
            f"{path}: no {missing}; the file has the columns {', '.join(map(excerpt, frame.columns[:20]))}"
        )
    try:
        ids = plain_ids(frame.select(id_columns(item, frame.schema[item])[0].alias("id"))["id"])
    except ValueError as error:
        raise ValueError(f"{path}, column {item!r}: {error}") from None
    pairs = zip(ids.cast(pl.String).to_list(), frame[title].cast(pl.String).to_list(), strict=True)
    return {raw: text for raw, text in pairs if raw and text}
