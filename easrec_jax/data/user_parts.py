"""A log split by ranges of user ids, and one part of it at a time as histories in order: what `prepare` is made of.

What decides the order over all of the log (are all user ids numbers, how times are written) is looked up before it is split,
so that the parts one after the other are what the reader makes of the whole. Imports polars: import this where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from easrec_jax.data import id_rules
from easrec_jax.data.columns import excerpt
from easrec_jax.data.histories import Source
from easrec_jax.data.ids import WHOLE
from easrec_jax.data.order import history_order
from easrec_jax.data.read import Coded, codes_of, in_order
from easrec_jax.data.table import Table, row_place
from easrec_jax.data.times import parse_times, text_form

SAMPLE = 100_000  # rows that tell where the ranges of users end
SURE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)


@dataclass(frozen=True)
class Whole:
    """What holds for all of a source."""

    source: Source
    by_number: bool  # all user ids are whole numbers, and ordered as such
    form: str  # of times in text
    strip: bool  # of lists of items: whole numbers, of which some are written with .0

    @property
    def user_key(self) -> pl.Expr:
        """What users are ordered by, up to ids that are the same number."""
        return pl.col("user").cast(pl.Int64) if self.by_number else pl.col("user")


def look_over(source: Source) -> Whole:
    """Read the source once for what its parts cannot know; what a column's type tells is not read."""
    frame, schema = source.frame, source.frame.collect_schema()
    by_number = schema["user"] in SURE
    if not by_number:
        other = frame.select(pl.col("user").cast(pl.Int64, strict=False).is_null().any())
        by_number = not other.collect(engine="streaming").item()
    form, strip = "", False
    if source.columns.time and schema["time"] in (pl.String, pl.Categorical, pl.Enum):
        form = text_form(frame, "time")
    if source.by_user:
        items = frame.select(pl.col("item").explode())
        found = items.select(points=id_rules.has_points(pl.col("item")), whole=pl.col("item").str.contains(WHOLE).all())
        strip = all(found.collect(engine="streaming").row(0))
    return Whole(source, by_number, form, strip)


def split_by_users(whole: Whole, folder: Path, part_events: int) -> int:
    """Write the rows in parts of about so many events, each of a range of users, below `folder`; how many parts there are."""
    source, step = whole.source, max(1, whole.source.rows // SAMPLE)
    parts = math.ceil(source.events / part_events)
    bounds = pl.Series([], dtype=source.frame.select(whole.user_key).collect_schema()["user"])
    if parts > 1:
        rows = source.frame.filter(pl.col("row") % step == 0).select(whole.user_key)
        keys = rows.collect(engine="streaming")["user"].sort()
        bounds = keys.gather([len(keys) * part // parts for part in range(1, parts)]).unique().sort()

    def part_of(keys: pl.Series) -> pl.Series:
        return pl.Series(bounds.search_sorted(keys, side="right")).cast(pl.UInt32)

    number = whole.user_key.map_batches(part_of, return_dtype=pl.UInt32, is_elementwise=True)
    with source.layout.reading(source.path, source.files):
        source.frame.with_columns(part=number if len(bounds) else pl.lit(0, pl.UInt32)).sink_parquet(
            pl.PartitionBy(folder, key="part", include_key=False),
            compression="lz4",
            row_group_size=max(1_024, part_events // parts if parts else part_events),
            mkdir=True,
        )
    return len(bounds) + 1


class Catalogue:
    """The items met so far: their raw ids, and codes from 0 in the order in which parts brought them."""

    def __init__(self) -> None:
        self.ids = pl.Series("id", [], dtype=pl.String)

    def encode(self, items: pl.Series) -> np.ndarray:
        """Codes, int32 [items]; new items are added."""
        known = pl.DataFrame({"id": self.ids, "code": np.arange(len(self.ids), dtype=np.int32)})
        distinct = items.alias("id").unique().to_frame()
        fresh = distinct.join(known, on="id", how="anti")["id"]
        codes = np.arange(len(self.ids), len(self.ids) + len(fresh), dtype=np.int32)
        self.ids = pl.concat([self.ids, fresh], rechunk=True)
        here = pl.concat([distinct.join(known, on="id"), pl.DataFrame({"id": fresh, "code": codes})])
        return items.alias("id").to_frame().join(here, on="id", how="left", maintain_order="left")["code"].to_numpy()


class Part(NamedTuple):
    """The histories of a range of users, in order."""

    coded: Coded  # users by code in order, items by the codes of the catalogue
    dropped: int  # events without an item id
    tied: int  # events that share their time with another of their user
    in_order: bool  # the rows of each user were in the order of time


def read_parts(whole: Whole, folder: Path, parts: int, catalogue: Catalogue, *, drop: bool) -> Iterator[Part]:
    """The parts that `split_by_users` wrote, in the order of users; `drop`: events without an item id are left out."""
    for number in range(parts):
        if files := sorted((folder / f"part={number}").glob("*.parquet")):
            frame = pl.read_parquet(files, glob=False, hive_partitioning=False).sort("row")
            part = _ordered(whole, *(_exploded(whole, frame, drop) if whole.source.by_user else (frame, 0)), catalogue)
            if len(part.coded.user):
                yield part


def _exploded(whole: Whole, frame: pl.DataFrame, drop: bool) -> tuple[pl.DataFrame, int]:
    """A row an event, and how many events without an id are left out; `ValueError` names the row of one that is not."""
    source = whole.source
    again = frame["user"].is_duplicated()
    if again.any():
        row = int(again.arg_true()[-1])
        user = excerpt(frame["user"][row])
        where = f"{source.path}, {row_place(int(frame['row'][row]))}, column {source.columns.user!r}"
        raise ValueError(f"{where}: expected one row a user, {user} is there twice")
    frame = frame.filter(pl.col("item").list.len() > 0).explode("item")
    missing = frame.select(pl.col("item").is_null() | (pl.col("item").str.strip_chars() == "")).to_series()
    if missing.any() and not drop:
        where = f"{source.path}, {row_place(int(frame['row'].filter(missing)[0]))}, column {source.columns.history!r}"
        raise ValueError(f"{where}: the id is missing; {id_rules.DROP}")
    frame = frame.filter(~missing)
    return frame.with_columns(pl.col("item").str.replace(r"\.0+$", "")) if whole.strip else frame, int(missing.sum())


def _ordered(whole: Whole, frame: pl.DataFrame, dropped: int, catalogue: Catalogue) -> Part:
    source = whole.source
    users = in_order(frame["user"].unique(), by_number=whole.by_number)
    user, item, times = codes_of(frame["user"], users), catalogue.encode(frame["item"]), None
    if source.columns.time:
        rows = frame["row"]
        table = Table(source.path, {source.columns.time: frame["time"]}, lambda row: row_place(int(rows[row])))
        times = parse_times(table, source.columns.time, whole.form)
    order, tied, in_time = history_order(
        user,
        times,
        lambda rows: frame["user"].gather(rows),
        lambda rows: frame["item"].gather(rows),
        source.equal_times,
    )
    coded = Coded(source.path, user, users, item, catalogue.ids, times).at(order)
    return Part(coded, dropped, tied, in_time)
