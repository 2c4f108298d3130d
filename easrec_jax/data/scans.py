"""What can be read a part at a time: Parquet, JSON lines and plain CSV and TSV as lazy tables. Imports polars."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from easrec_jax.data.inputs import File, first_line, first_lines
from easrec_jax.data.table import wrong_width
from easrec_jax.data.text import split_header

JSON_LINES = 1_000  # that tell which keys there are


class Stream(NamedTuple):
    """How the files of a format are read a part at a time."""

    scan: Callable[[Sequence[File], str], tuple[pl.LazyFrame, list[str]]]
    """(files, separator) -> the files as one lazy table, and its column names."""
    find_fault: Callable[[File, str], None]
    """Raise `ValueError` naming the first line at fault, if it is one of the usual faults; reads a line at a time."""
    delimited: bool = False
    """Text of fields that may have white space and quotes around them."""


@contextmanager
def reading(path: Path, files: Sequence[File], stream: Stream | None, separator: str) -> Iterator[None]:
    """Within: what polars cannot read becomes a `ValueError` that names the file and, where it can be found, the line."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        if "No space left" in str(error) or "File too large" in str(error):
            raise OSError(str(error).strip().splitlines()[0]) from None
        for file in files:
            if stream is not None:
                stream.find_fault(file, separator)
        raise ValueError(f"{path}: cannot be read: {str(error).strip().splitlines()[0][:300]}") from None


def _scan_parquet(files: Sequence[File], separator: str) -> tuple[pl.LazyFrame, list[str]]:
    source: Any = [file.source for file in files]
    schemas = [dict(pl.read_parquet_schema(file.source)) for file in files]  # type: ignore[arg-type]
    if all(schema == schemas[0] for schema in schemas[1:]):
        return pl.scan_parquet(source, glob=False, hive_partitioning=False), list(schemas[0])
    names = [name for name in schemas[0] if all(name in schema for schema in schemas)]
    unlike = [name for name in names if len({str(schema[name]) for schema in schemas}) > 1]
    frames = [pl.scan_parquet(one, glob=False, hive_partitioning=False).select(names) for one in source]
    return pl.concat([_alike(frame, schema, unlike) for frame, schema in zip(frames, schemas, strict=True)]), names


def _alike(frame: pl.LazyFrame, schema: dict[str, Any], unlike: Sequence[str]) -> pl.LazyFrame:
    """Columns that the parts of a folder hold as numbers of several kinds, or as text here and numbers there, as text."""

    def text(name: str) -> pl.Expr:
        kind = schema[name]
        if isinstance(kind, (pl.Date, pl.Datetime)):
            return pl.col(name).cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.String)
        return pl.col(name).cast(pl.String)

    return frame.with_columns(text(name) for name in unlike)


def _parquet_fault(file: File, separator: str) -> None:
    try:
        pl.read_parquet_schema(file.source)  # type: ignore[arg-type]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(f"{file.path}: not a readable parquet file: {error}") from None


def _scan_json(files: Sequence[File], separator: str) -> tuple[pl.LazyFrame, list[str]]:
    schema = _json_schema(files[0])
    return pl.scan_ndjson([file.source for file in files], schema=schema), list(schema)  # type: ignore[arg-type]


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


def _json_fault(file: File, separator: str) -> None:
    if _is_opaque(file):
        return
    number = 1
    try:
        with file.path.open(encoding="utf-8-sig", newline="") as opened:
            for number, line in enumerate(opened, 1):  # noqa: B007  also read after the loop
                if line.strip():
                    json_line(file.path, number, line)
    except UnicodeDecodeError as error:
        raise _no_text(file, number, error) from None


def _scan_delimited(files: Sequence[File], separator: str) -> tuple[pl.LazyFrame, list[str]]:
    names = split_header(first_line(files[0]), separator)
    source: Any = [file.source for file in files]
    how: Any = {"separator": separator, "infer_schema": False, "glob": False}
    if files[0].is_remote:  # polars does not find it there with `with_column_names`
        frame = pl.scan_csv(source, **how)
        frame = frame.rename({name: name.strip() for name in frame.collect_schema().names()})
    else:
        frame = pl.scan_csv(source, **how, with_column_names=lambda spelled: [name.strip() for name in spelled])
    return frame, frame.collect_schema().names() if '"' in "".join(names) else names


def _delimited_fault(file: File, separator: str) -> None:
    if _is_opaque(file):
        return
    number = 1
    try:
        with file.path.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, delimiter=separator, strict=True)
            names = next(reader, [])
            for row in reader:
                if len(row) > len(names):
                    raise wrong_width(file.path, f"line {number + 1}", len(row), names)
                number = reader.line_num
    except UnicodeDecodeError as error:
        raise _no_text(file, number, error) from None
    except csv.Error as error:
        raise ValueError(f"{file.path}, line {number + 1}: wrong quoting: {error}") from None


def _is_opaque(file: File) -> bool:
    """Whether polars alone reads it: it is packed, in memory, or elsewhere."""
    return file.content is not None or file.is_packed or file.is_remote


def _no_text(file: File, number: int, error: UnicodeDecodeError) -> ValueError:
    return ValueError(f"{file.path}, after line {number}: expected UTF-8: {error.reason}")


PARQUET = Stream(_scan_parquet, _parquet_fault)
JSON = Stream(_scan_json, _json_fault)
DELIMITED = Stream(_scan_delimited, _delimited_fault, delimited=True)
