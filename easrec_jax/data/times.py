"""Times as numbers of which only the order counts: any unit, or ISO 8601 in its usual forms. Imports polars."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from easrec_jax.data.columns import excerpt
from easrec_jax.data.table import Table

EXPECTED = "a finite number, or a date-time like 2010-10-19T23:55:27Z"
UNITS = (1, 10**3, 10**6, 10**9)  # of a second, in times since 1970
ISO = (
    r"(?i)^(\d{4})(?:[-/.](\d{1,2})[-/.](\d{1,2})|(\d\d)(\d\d))"  # date
    r"(?:(?:T|[ _]+)(\d{1,2}):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?)?"  # time
    r" *(?:(Z|UTC|GMT)|([+-])(\d\d):?(\d\d)?)?(?:\[[\w/+-]+\])?$"  # zone
)


def parse_times(table: Table, name: str, form: str = "") -> np.ndarray:
    """The time column as int64 or finite float64 (any unit: only the order counts).

    `form`: of text that is a part of a column, the `text_form` of the whole.
    """
    column = table.columns[name]
    try:
        times = time_numbers(column, form)
    except ValueError as error:
        raise ValueError(f"{table.path}, column {name!r}: {error}") from None
    if times.null_count():
        row = int(times.is_null().arg_max() or 0)
        raise table.error(row, name, f"expected {EXPECTED}, got {excerpt(column[row])}")
    return times.to_numpy()


def time_numbers(column: pl.Series, form: str = "") -> pl.Series:
    """The times as int64 or float64, null where a value is none; ValueError for a kind of column that holds no times."""
    kind = column.dtype
    if isinstance(kind, (pl.Categorical, pl.Enum)):
        column, kind = column.cast(pl.String), pl.String
    if kind == pl.String:
        column = column.str.strip_chars()
        times = _text_numbers(column, form or text_form(column.to_frame("time").lazy(), "time"))
    elif isinstance(kind, (pl.Date, pl.Datetime)):
        times = column.to_physical().cast(pl.Int64)
    elif kind.is_integer() or kind.is_float():
        times = column
    elif kind.is_decimal():
        times = column.cast(pl.Float64)
    else:
        raise ValueError(f"expected numbers or date-times, got {kind}")
    if times.dtype.is_float():
        times = times.to_frame("t").select(pl.when(pl.col("t").is_finite()).then("t").alias("t"))["t"]
    return times


def look_like_times(column: pl.Series) -> bool:
    """Whether all values of a column of text are date-times, or whole numbers of one unit between 1980 and 2040."""
    if column.str.contains(ISO).all() and not column.str.contains(r"^\d+$").any():
        return True
    numbers = column.cast(pl.Float64, strict=False)
    if numbers.null_count() or not numbers.is_finite().all():
        return False
    return any(numbers.is_between(3.2e8 * unit, 2.2e9 * unit).all() for unit in UNITS)


def text_form(frame: pl.LazyFrame, name: str) -> str:
    """How a column of text holds times: all as integers, else as numbers or as date-times ("us" or "ns"), whichever the first is."""
    text = pl.col(name).cast(pl.String).str.strip_chars()
    found = frame.select(
        other=text.cast(pl.Int64, strict=False).is_null().any(), fine=text.str.contains(r"[.,]\d{7}").any()
    ).collect(engine="streaming")
    if not found["other"].item():
        return "integers"
    first = str(frame.select(text).head(1).collect().item())
    if re.match(r"\d+$", first) or not re.match(ISO, first):
        return "numbers"
    return "ns" if found["fine"].item() else "us"


def _text_numbers(column: pl.Series, form: str) -> pl.Series:
    """Text of such a form as int64 or float64."""
    if form in ("integers", "numbers"):
        return column.cast(pl.Int64 if form == "integers" else pl.Float64, strict=False)
    unit = 10**9 if form == "ns" else 10**6
    usual = column.str.replace("T", " ", literal=True).str.replace(r"(?:Z|[+-]00:?00| ?UTC)$", "")
    times = usual.str.to_datetime(
        "%Y-%m-%d %H:%M:%S%.f", time_unit="ns" if form == "ns" else "us", strict=False
    ).to_physical()
    other = times.is_null()
    if other.any():
        places = other.arg_true()
        times = times.scatter(places, _iso_numbers(column.gather(places), unit))
    return times


def _iso_numbers(column: pl.Series, unit: int) -> pl.Series:
    """ISO 8601 in any form as int64, fractions of a second since 1970 in UTC (no zone: taken as UTC); null where it is none."""
    found = column.to_frame("text").select(pl.col("text").str.extract_groups(ISO)).unnest("text")
    names = ["year", "month", "day", "month_", "day_", "hour", "minute", "second", "fraction"]
    names += ["zone", "sign", "zone_hour", "zone_minute"]
    found = found.rename(dict(zip(found.columns, names, strict=True)))
    number = {name: pl.col(name).cast(pl.Int64) for name in names if name not in ("fraction", "zone", "sign")}
    part = {name: value.fill_null(0) for name, value in number.items()}
    date = pl.format(
        "{}-{}-{}", "year", pl.coalesce("month", "month_").str.zfill(2), pl.coalesce("day", "day_").str.zfill(2)
    )
    days = date.str.to_date("%Y-%m-%d", strict=False).to_physical().cast(pl.Int64)
    seconds = part["hour"] * 3600 + part["minute"] * 60 + part["second"]
    zone = (part["zone_hour"] * 3600 + part["zone_minute"] * 60) * pl.when(sign="-").then(-1).otherwise(1)
    fraction = pl.col("fraction").fill_null("").str.pad_end(9, "0").cast(pl.Int64) // (10**9 // unit)
    whole = (part["hour"] <= 24) & (part["minute"] < 60) & (part["second"] <= 60)
    return found.select(pl.when(whole).then((days * 86_400 + seconds - zone) * unit + fraction)).to_series()
