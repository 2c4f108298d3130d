"""What can be read a part at a time: Parquet, JSON lines and plain CSV and TSV as lazy tables. Imports polars.

Also the one rule for columns of ids: `id_columns`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from easrec_jax.data.ids import WHOLE
from easrec_jax.data.text import File, first_lines, split_header, wrong_width

STREAMED = ("parquet", "csv", "tsv", "jsonl")
DROP = "missing_ids=drop leaves such rows out"
JSON_LINES = 1_000  # that tell which keys there are


def scan(files: Sequence[File], format: str, separator: str) -> tuple[pl.LazyFrame, list[str]]:
    """The files as one lazy table, and its column names."""
    if format == "parquet":
        source: Any = [file.source for file in files]
        schemas = [dict(pl.read_parquet_schema(file.source)) for file in files]  # type: ignore[arg-type]
        if all(schema == schemas[0] for schema in schemas[1:]):
            return pl.scan_parquet(source, glob=False, hive_partitioning=False), list(schemas[0])
        names = [name for name in schemas[0] if all(name in schema for schema in schemas)]
        unlike = [name for name in names if len({str(schema[name]) for schema in schemas}) > 1]
        return pl.concat(
            [_alike(pl.scan_parquet(s, glob=False, hive_partitioning=False).select(names), schema, unlike)
             for s, schema in zip(source, schemas, strict=True)]
        ), names  # fmt: skip
    if format == "jsonl":
        schema = _json_schema(files[0])
        return pl.scan_ndjson([file.source for file in files], schema=schema), list(schema)  # type: ignore[arg-type]
    names = split_header(next(line for line in first_lines(files[0]) if line.strip()), separator)
    frame = pl.scan_csv(
        [file.source for file in files], separator=separator, infer_schema=False, glob=False,  # type: ignore[arg-type]
        with_column_names=lambda spelled: [name.strip() for name in spelled],
    )  # fmt: skip
    return frame, frame.collect_schema().names() if '"' in "".join(names) else names


def _alike(frame: pl.LazyFrame, schema: dict[str, Any], unlike: Sequence[str]) -> pl.LazyFrame:
    """Columns that the parts of a folder hold as numbers of several kinds, or as text here and numbers there, as text."""

    def text(name: str) -> pl.Expr:
        kind = schema[name]
        if isinstance(kind, (pl.Date, pl.Datetime)):
            return pl.col(name).cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.String)
        return pl.col(name).cast(pl.String)

    return frame.with_columns(text(name) for name in unlike)


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
    if isinstance(kind, (pl.List, pl.Array)):
        return pl.lit(False)
    return column.is_null() | (column.cast(pl.String).str.strip_chars() == "")


def are_whole(column: pl.Expr) -> pl.Expr:
    """Whether a column of text is of whole numbers, some written with ".0": pandas writes 17 as 17.0 if a value is missing.

    In a column with any other value "1.0" is a text of its own.
    """
    return column.str.ends_with(".0").any() & column.str.contains(WHOLE).all()


def without_points(column: pl.Expr) -> pl.Expr:
    """Text of whole numbers without the .0 of those that have it."""
    return column.str.replace(r"\.0+$", "")


def plain_ids(ids: pl.Series) -> pl.Series:
    """A column of ids, whole numbers written with .0 as those numbers."""
    if ids.dtype == pl.String and ids.to_frame("id").select(are_whole(pl.col("id"))).item():
        return ids.to_frame().select(without_points(pl.col(ids.name))).to_series()
    return ids


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


@contextmanager
def reading(path: Path, files: Sequence[File], format: str, separator: str) -> Iterator[None]:
    """Within: what polars cannot read becomes a `ValueError` that names the file and, where it can be found, the line."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        if "No space left" in str(error) or "File too large" in str(error):
            raise OSError(str(error).strip().splitlines()[0]) from None
        for file in files:
            _find_fault(file, format, separator)
        raise ValueError(f"{path}: cannot be read: {str(error).strip().splitlines()[0][:300]}") from None


def _find_fault(file: File, format: str, separator: str) -> None:
    """Raise `ValueError` naming the first line at fault, if it is one of the usual faults; reads a line at a time."""
    if format == "parquet":
        try:
            pl.read_parquet_schema(file.source)  # type: ignore[arg-type]
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise ValueError(f"{file.path}: not a readable parquet file: {error}") from None
        return
    if file.content is not None or file.suffix != file.path.suffix.lower():
        return  # packed: polars alone reads it
    number = 1
    try:
        with file.path.open(encoding="utf-8-sig", newline="") as opened:
            if format == "jsonl":
                for number, line in enumerate(opened, 1):  # noqa: B007  also read after the loop
                    if line.strip():
                        json_line(file.path, number, line)
                return
            reader = csv.reader(opened, delimiter=separator, strict=True)
            names = next(reader, [])
            for row in reader:
                if len(row) > len(names):
                    raise wrong_width(file.path, f"line {number + 1}", len(row), names)
                number = reader.line_num
    except UnicodeDecodeError as error:
        raise ValueError(f"{file.path}, after line {number}: expected UTF-8: {error.reason}") from None
    except csv.Error as error:
        raise ValueError(f"{file.path}, line {number + 1}: wrong quoting: {error}") from None


def _json_schema(file: File) -> dict[str, Any]:
    """The keys of the first lines: lists of text where one of them holds a list, else text."""
    schema: dict[str, Any] = {}
    for number, line in enumerate(first_lines(file, JSON_LINES), 1):
        for name, value in json_line(file.path, number, line).items() if line.strip() else ():
            if name not in schema or isinstance(value, list):
                schema[name] = pl.List(pl.String) if isinstance(value, list) else pl.String
    if not schema:
        raise ValueError(f"{file.path}: the file is empty")
    return schema


def json_line(path: Path, number: int, line: str) -> dict:
    """One line as an object of plain values and lists of them."""
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}, line {number}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}, line {number}: expected a JSON object, got {type(value).__name__}")
    for name, field in value.items():
        if isinstance(field, dict) or (isinstance(field, list) and any(isinstance(x, dict | list) for x in field)):
            raise ValueError(f"{path}, line {number}, key {name!r}: expected a plain value or a list of plain values")
    return value
