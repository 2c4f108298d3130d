"""Text as columns: lines split by polars, so that a row's line is always known and no id is reinterpreted ("007" stays "007").

Gzip and zstd are read by their first bytes. Only a file with quotes goes through a csv parser. Imports polars.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from easrec_jax.data.columns import Columns, are_named, shown

SEPARATORS = (",", "\t", ";", "|")
FIXED_NAMES = {"pairs": ["user", "item"], "movielens": ["user", "item", "rating", "timestamp"]}
ATOMIC_KINDS = ("token", "token_seq", "float", "float_seq")
csv.field_size_limit(sys.maxsize)  # a field may hold a whole history


class File(NamedTuple):
    """A file by its path, or content in memory under a name for messages."""

    path: Path
    content: bytes | None = None

    @property
    def source(self) -> str | bytes:
        """What polars reads."""
        return str(self.path) if self.content is None else self.content

    @property
    def suffix(self) -> str:
        """The suffix that tells the format: the one before .gz or .zst."""
        packed = self.path.suffix.lower() in (".gz", ".gzip", ".zst", ".zstd")
        return Path(self.path.stem if packed else self.path.name).suffix.lower()


@dataclass(frozen=True)
class Table:
    """The columns of one input by name, and for each row (0-based) its place in the input for error messages."""

    path: Path
    columns: dict[str, pl.Series]
    place: Callable[[int], str]
    kinds: dict[str, str]  # atomic files: column name -> token, token_seq, float or float_seq; else empty
    dropped: int = 0  # rows without an id that were left out

    def error(self, row: int, column: str, message: str) -> ValueError:
        """An error that names file, line and column."""
        return ValueError(f"{self.path}, {self.place(row)}, column {shown(column)}: {message}")


def read_lines(file: File) -> pl.Series:
    """The lines of a UTF-8 file without line ends and byte order mark."""
    try:
        lines = pl.read_lines(file.source, glob=False).to_series()
    except pl.exceptions.PolarsError as error:
        data = file.content if file.content is not None else file.path.read_bytes()
        try:
            data.decode()
        except UnicodeDecodeError as wrong:
            line = data.count(b"\n", 0, wrong.start) + 1
            got = f"got the byte 0x{data[wrong.start]:02x}"
            raise ValueError(f"{file.path}, line {line}: expected UTF-8, {got}") from error
        raise ValueError(f"{file.path}: cannot be read: {error}") from error
    if len(lines) and lines[0].startswith("\ufeff"):
        lines[0] = lines[0][1:]
    return lines


def first_lines(file: File, count: int = 100) -> list[str]:
    """The first lines of a text file, decompressed; also where it is no UTF-8."""
    try:
        lines = pl.read_lines(file.source, n_rows=count, glob=False).to_series().to_list()
    except pl.exceptions.PolarsError:
        if file.content is None:
            with file.path.open("rb") as opened:
                head = opened.read(4096)
        else:
            head = file.content[:4096]
        lines = head.decode(errors="replace").split("\n")
    return [line.removeprefix("\ufeff").rstrip("\r") for line in lines]


def split_header(line: str, separator: str) -> list[str]:
    """The fields of a header, unquoted and without white space around them."""
    if len(separator) > 1 or '"' not in line:
        return [field.strip() for field in line.split(separator)]
    fields = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    return [field.strip() for field in fields]


def find_separator(header: str, usual: str, asked: Columns) -> str:
    """The separator under which the header names users and items, else the one that is there most often."""
    candidates = sorted((usual, *SEPARATORS, " "), key=usual.__ne__)
    named = (separator for separator in candidates if are_named(split_header(header, separator), asked))
    most = max(candidates[:-1], key=header.count)
    return next(named, most if header.count(most) else usual)


def read_text(file: File, format: str, separator: str = "") -> Table:
    """Read any text format as columns of strings without white space around; all rows have as many columns.

    Formats: see `readers.FORMATS`. Lines of one user each ("lists") have the columns user and item, a row an event.
    """
    lines = read_lines(file)
    blanks = format in ("pairs", "lists") and separator in ("", " ")
    if blanks and lines.str.contains(r"^$|^[ \t]|[ \t]$|\t|  ").any():
        lines = lines.str.strip_chars(" \t").str.replace_all(r"[ \t]+", " ")
    filled = (~lines.str.contains(r"^ *$")).arg_true().to_numpy()
    if not len(filled):
        raise ValueError(f"{file.path}: the file is empty")
    if len(filled) < len(lines):
        lines = lines.gather(filled)

    def place(row: int) -> str:
        return f"line {numbers[row]}"

    numbers = filled + 1
    if format == "lists":
        return _split_lists(file.path, lines, separator or " ", place)
    separator = separator or _separator(format, lines[0])
    if format in ("csv", "tsv") and len(separator) == 1 and lines.str.contains('"', literal=True).any():
        return _read_quoted(file, read_lines(file), separator)
    names, kinds = _parse_header(file.path, f"line {filled[0] + 1}", format, split_header(lines[0], separator))
    if format in ("csv", "tsv", "atomic"):
        lines, numbers = lines.slice(1), numbers[1:]
    if not len(lines):
        raise ValueError(f"{file.path}: there is a header but no row")
    columns = _split_lines(file.path, lines, separator, names, place)
    return Table(file.path, {name: field.str.strip_chars() for name, field in columns.items()}, place, kinds)


def _separator(format: str, line: str) -> str:
    """What parts the fields where nobody said it."""
    if format in ("csv", "tsv"):
        return "," if format == "csv" else "\t"
    if format in ("pairs", "atomic"):
        return " " if format == "pairs" else "\t"
    if format == "movielens":
        return "\t" if "\t" in line else "::"
    return next((separator for separator in ("\t", "::", *SEPARATORS, " ") if separator in line), ",")


def _parse_header(path: Path, place: str, format: str, fields: list[str]) -> tuple[list[str], dict[str, str]]:
    """Column names, and for atomic files the kind of each."""
    kinds: dict[str, str] = {}
    if format in FIXED_NAMES and not (format == "movielens" and len(fields) == 3):
        return FIXED_NAMES[format], {}
    if format in ("headerless", "movielens"):
        return [str(position + 1) for position in range(len(fields))], {}
    names = fields
    if format == "atomic":
        for field in fields:
            name, colon, kind = field.rpartition(":")
            if not (colon and name and kind in ATOMIC_KINDS):
                raise ValueError(f"{path}, {place}: expected header fields like user_id:token, got {shown(field)}")
            kinds[name] = kind
        names = [field.rpartition(":")[0] for field in fields]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{path}, {place}: the column {shown(repeated)} is there twice")
    return names, kinds


def _split_lines(
    path: Path, lines: pl.Series, separator: str, names: list[str], place: Callable[[int], str]
) -> dict[str, pl.Series]:
    """Split every line into exactly the named columns."""
    fields = lines.str.split_exact(separator, len(names)).struct.unnest().get_columns()
    for wrong in (fields[len(names) - 1].is_null(), fields[len(names)].is_not_null()):
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise wrong_width(path, place(row), len(str(lines[row]).split(separator)), names)
    return {name: field.alias(name) for name, field in zip(names, fields, strict=False)}


def _split_lists(path: Path, lines: pl.Series, separator: str, place: Callable[[int], str]) -> Table:
    """One line a user, its id and then its items in time order, as one row an event."""
    frame = pl.DataFrame({"field": lines.str.split(separator)}).with_row_index("line")
    frame = frame.select("line", user=pl.col("field").list.first(), item=pl.col("field").list.slice(1))
    twice = frame["user"].is_duplicated()
    if twice.any():
        row = int(twice.arg_true()[-1])
        raise ValueError(f"{path}, {place(row)}: expected one line a user, {shown(frame['user'][row])} is there twice")
    empty = frame["item"].list.len() == 0
    if empty.any():
        raise ValueError(f"{path}, {place(int(empty.arg_max() or 0))}: expected a user and its items, got one field")
    frame = frame.explode("item")
    line = frame["line"].to_numpy()
    columns = {name: frame[name].str.strip_chars() for name in ("user", "item")}
    return Table(path, columns, lambda row: place(int(line[row])), {})


def wrong_width(path: Path, place: str, width: int, names: Sequence[str]) -> ValueError:
    """The error for a row with too few or too many columns."""
    columns = "column" if width == 1 else "columns"
    expected = f"{len(names)} columns ({', '.join(name[:60] for name in names[:20])})"
    return ValueError(f"{path}, {place}: expected {expected}, got {width} {columns}")


def has_blank_quotes(lines: pl.Series, separator: str) -> bool:
    """Whether blanks stand between separators and quotes, which a csv parser takes for part of the field.

    Doubled quotes are not meant: they are a field's own, as in a JSON list.
    """
    mark = re.escape(separator)
    return bool(lines.str.contains(rf'(^|{mark}) +"([^"]|$)|[^"]" +({mark}|$)').any())


def _read_quoted(file: File, lines: pl.Series, separator: str) -> Table:
    """Read a csv or tsv with quoted fields: by polars where that is certain, else row by row with exact errors."""
    first = next(
        (row for row in csv.reader(lines, delimiter=separator, skipinitialspace=True) if "".join(row).strip()), []
    )
    names, _ = _parse_header(file.path, "line 1", "csv", [field.strip() for field in first])
    frame = None
    if not has_blank_quotes(lines, separator):
        try:
            frame = pl.read_csv(file.source, separator=separator, infer_schema=False, glob=False)
        except pl.exceptions.PolarsError:
            frame = None
    if frame is not None and [name.strip() for name in frame.columns] == names and frame.height:
        columns = {name: field.str.strip_chars() for name, field in zip(names, frame.get_columns(), strict=True)}
        if not any(field.null_count() for field in columns.values()):
            return Table(
                file.path, columns, lambda row: f"line {_quoted_rows(file, lines, separator, names)[1][row]}", {}
            )
    rows, places = _quoted_rows(file, lines, separator, names)
    if not rows:
        raise ValueError(f"{file.path}: there is a header but no row")
    values = zip(*rows, strict=True)
    columns = {name: pl.Series(name, column, pl.String) for name, column in zip(names, map(list, values), strict=True)}
    columns = {name: field.str.strip_chars() for name, field in columns.items()}
    return Table(file.path, columns, lambda row: f"line {places[row]}", {})


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
