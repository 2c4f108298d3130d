"""CSV and TSV with quoted fields: by polars where that is certain, else row by row with exact errors. Imports polars."""

from __future__ import annotations

import csv
import re
import sys

import polars as pl

from easrec_jax.data.inputs import File
from easrec_jax.data.table import Table, check_distinct, wrong_width

csv.field_size_limit(sys.maxsize)  # a field may hold a whole history


def has_blank_quotes(lines: pl.Series, separator: str) -> bool:
    """Whether blanks stand between separators and quotes, which a csv parser takes for part of the field.

    Doubled quotes are not meant: they are a field's own, as in a JSON list.
    """
    mark = re.escape(separator)
    return bool(lines.str.contains(rf'(^|{mark}) +"([^"]|$)|[^"]" +({mark}|$)').any())


def read_quoted(file: File, lines: pl.Series, separator: str) -> Table:
    """The table of a file whose fields may hold separators and line ends between quotes; `lines` are all of the file's."""
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    names = [field.strip() for field in next((row for row in rows if "".join(row).strip()), [])]
    check_distinct(file.path, "line 1", names)
    columns = _parsed_by_polars(file, lines, separator, names)
    if columns is not None:
        return Table(file.path, columns, lambda row: f"line {_quoted_rows(file, lines, separator, names)[1][row]}")
    found, places = _quoted_rows(file, lines, separator, names)
    if not found:
        raise ValueError(f"{file.path}: there is a header but no row")
    values = map(list, zip(*found, strict=True))
    fields = {name: pl.Series(name, column, pl.String) for name, column in zip(names, values, strict=True)}
    stripped = {name: field.str.strip_chars() for name, field in fields.items()}
    return Table(file.path, stripped, lambda row: f"line {places[row]}")


def _parsed_by_polars(file: File, lines: pl.Series, separator: str, names: list[str]) -> dict[str, pl.Series] | None:
    """The columns, or None where polars may see other fields than the rules say."""
    if has_blank_quotes(lines, separator):
        return None
    try:
        frame = pl.read_csv(file.source, separator=separator, infer_schema=False, glob=False)
    except pl.exceptions.PolarsError:
        return None
    if [name.strip() for name in frame.columns] != names or not frame.height:
        return None
    columns = {name: field.str.strip_chars() for name, field in zip(names, frame.get_columns(), strict=True)}
    return None if any(field.null_count() for field in columns.values()) else columns


def _quoted_rows(file: File, lines: pl.Series, separator: str, names: list[str]) -> tuple[list[list[str]], list[int]]:
    """The rows after the header, and the line (from 1) each starts on."""
    if has_blank_quotes(lines, separator):
        lines = lines.str.replace_all(rf'" +({re.escape(separator)}|$)', '"$1')
    rows, places, line = [], [], 1
    reader = csv.reader((f"{text}\n" for text in lines), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                if len(row) != len(names):
                    raise wrong_width(file.path, f"line {line}", len(row), names)
                rows.append(row)
                places.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{file.path}, line {line}: wrong quoting: {error}") from error
    return rows[1:], places[1:]
