"""The one rule for columns of ids: integers or text, whole numbers of either kind being one id. Imports polars."""

from __future__ import annotations

from typing import Any

import polars as pl

from easrec_jax.data.ids import WHOLE

DROP = "missing_ids=drop leaves such rows out"


def id_columns(name: str, kind: Any) -> tuple[pl.Expr, pl.Expr]:
    """The ids of a column of that type as integers or text, null where missing, and whether a value cannot be an id.

    ValueError saying what is no id; floats must be whole, NaN is a missing one.
    """
    column = pl.col(name)
    if kind.is_integer():
        return column, pl.lit(False)
    if kind.is_float():
        whole = column.is_finite() & (column == column.round()) & (column.abs() < 2.0**63)
        return pl.when(whole).then(column).cast(pl.Int64), column.is_not_null() & column.is_not_nan() & ~whole
    if kind in (pl.String, pl.Binary, pl.Categorical, pl.Enum) or kind.is_decimal():
        return column.cast(pl.String), pl.lit(False)
    raise ValueError(f"expected ids of integers or strings, got {kind}")


def is_missing(name: str, kind: Any) -> pl.Expr:
    """Whether there is no id: null, NaN or blank."""
    column = pl.col(name)
    if kind.is_float():
        return column.is_null() | column.is_nan()
    if kind.is_integer():
        return column.is_null()
    return column.is_null() | (column.cast(pl.String).str.strip_chars() == "")


def has_points(column: pl.Expr) -> pl.Expr:
    """Whether anything in a column of text ends in ".0"; quick, and seldom so."""
    return column.str.ends_with(".0").any()


def whole_ids(frame: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Where a column of text is of whole numbers, some written with ".0", those numbers: pandas writes 17 as 17.0 if a
    value is missing anywhere.

    In a column with any other value "1.0" is a text of its own.
    """
    if not frame.select(pl.col(name).str.contains(WHOLE).all()).collect(engine="streaming").item():
        return frame
    return frame.with_columns(pl.col(name).str.replace(r"\.0+$", ""))


def plain_ids(ids: pl.Series) -> pl.Series:
    """A column of ids after `whole_ids`."""
    frame = ids.to_frame()
    if ids.dtype == pl.String and frame.select(has_points(pl.col(ids.name))).item():
        frame = whole_ids(frame.lazy(), ids.name).collect()
    return frame.to_series()


def history_lists(name: str, kind: Any) -> tuple[pl.Expr, pl.Expr]:
    """A column of histories as lists of text, and whether something in it cannot be an id.

    Text is ids between blanks, or a JSON list.
    """
    column = pl.col(name)
    inner = kind.inner if isinstance(kind, (pl.List, pl.Array)) else None
    if inner is not None and (inner == pl.String or inner.is_integer()):
        return column.cast(pl.List(pl.String)), pl.lit(False)
    if inner is not None and inner.is_float():
        lists = column.cast(pl.List(pl.Float64))
        wrong = (lists.list.eval(pl.element() != pl.element().round())).list.any()
        return lists.cast(pl.List(pl.Int64), strict=False).cast(pl.List(pl.String)), wrong
    if kind != pl.String:
        raise ValueError(f"expected lists of integers or text, or text, got {kind}")
    text = column.str.strip_chars()
    is_list = text.str.starts_with("[")
    listed = pl.when(is_list).then(text).str.json_decode(pl.List(pl.String))
    return pl.when(is_list).then(listed).otherwise(text.str.extract_all(r"\S+")), pl.lit(False)
