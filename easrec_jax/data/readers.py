"""Files of interactions as columns: every format, its detection, and errors that name file, line and column.

Text is read as lines and split column-wise by polars, so a row's line number is always known and no id is reinterpreted
("007" stays "007"). Only a csv/tsv with quotes goes through a csv parser. Imports polars: import this where it is used.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

FORMATS = ("atomic", "pairs", "csv", "tsv", "parquet", "movielens", "headerless")
SUFFIXES = {".inter": "atomic", ".item": "atomic", ".user": "atomic", ".parquet": "parquet", ".pq": "parquet"}
SUFFIXES |= {".csv": "csv", ".tsv": "tsv", ".dat": "movielens", ".data": "movielens", ".txt": "pairs"}
DEFAULT_NAMES = (  # of the user, item and time column
    ("user_id", "user", "userId", "uid"),
    ("item_id", "item", "itemId", "movieId"),
    ("timestamp", "time", "ts"),
)
FIXED_NAMES = {"pairs": ["user", "item"], "movielens": ["user", "item", "rating", "timestamp"]}
ATOMIC_KINDS = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True)
class Columns:
    """The names of the user, item and time columns (time "": the file has none, row order counts)."""

    user: str
    item: str
    time: str


@dataclass(frozen=True)
class Table:
    """The columns of one file by name, and for each row (0-based) its place in the file for error messages."""

    path: Path
    columns: dict[str, pl.Series]
    place: Callable[[int], str]
    kinds: dict[str, str]  # atomic files: column name -> token, token_seq, float or float_seq; else empty

    def error(self, row: int, column: str, message: str) -> ValueError:
        """An error that names file, line and column."""
        return ValueError(f"{self.path}, {self.place(row)}, column {shown(column)}: {message}")


def read_table(
    path: str | Path, format: str = "auto", user_column: str = "", item_column: str = "", time_column: str = ""
) -> tuple[Table, Columns]:
    """Read a file of interactions; ids are text or integers (text may be blank), times are unparsed."""
    path = check_file(path)
    if format == "auto":
        format = detect_format(path)
    if format not in FORMATS:
        raise ValueError(f"{path}: unknown format {format!r}, expected auto or one of {', '.join(FORMATS)}")
    asked = Columns(user_column, item_column, time_column)
    if format == "parquet":
        return read_parquet(path, asked)
    table = read_text(path, format)
    defaults = (("1",), ("2",), ()) if format == "headerless" else DEFAULT_NAMES
    chosen = choose_columns(path, list(table.columns), asked, defaults)
    for name in (chosen.user, chosen.item):
        if table.kinds.get(name, "token") != "token":
            raise ValueError(f"{path}, line 1, column {name!r}: expected type token, got {table.kinds[name]}")
    return table, chosen


def shown(value: object) -> str:
    """What a file holds, for a message: a field may be of any length."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_file(path: str | Path) -> Path:
    """The path, if it names a file that is not empty."""
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"{path}: is a directory, expected a file of interactions")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    return path


def detect_format(path: Path) -> str:
    """The format by suffix, else by the first bytes; ValueError if neither tells."""
    with path.open("rb") as file:
        head = file.read(4096)
    suffix = path.suffix.lower()
    if head.startswith(b"PAR1"):
        return "parquet"
    first = head.lstrip().split(b"\n", 1)[0]
    if b"::" in first and suffix not in (".csv", ".tsv"):
        return "movielens"
    if suffix in SUFFIXES or b":token" in first:
        return SUFFIXES.get(suffix, "atomic")
    raise ValueError(f"{path}: cannot tell the format from {path.suffix!r}, name one of {', '.join(FORMATS)}")


def choose_columns(path: Path, names: Sequence[str], asked: Columns, defaults: Sequence[Sequence[str]]) -> Columns:
    """The columns that were asked for, else the first default name present; only time may be absent."""
    found = f"the file has the columns {', '.join(map(shown, names[:20]))}"

    def choose(role: str, wanted: str, candidates: Sequence[str]) -> str:
        if wanted and wanted not in names:
            raise ValueError(f"{path}: there is no {role} column {wanted!r}; {found}")
        chosen = wanted or next((name for name in candidates if name in names), "")
        if not chosen and role != "time":
            raise ValueError(f"{path}: no {role} column, expected one of {', '.join(candidates)}; {found}")
        return chosen

    wanted = zip(("user", "item", "time"), (asked.user, asked.item, asked.time), defaults, strict=True)
    user, item, time = (choose(*role) for role in wanted)
    if len({user, item, time}) < 3:
        raise ValueError(f"{path}: user, item and time need different columns, got {user!r}, {item!r}, {time!r}")
    return Columns(user, item, time)


def read_lines(path: Path) -> pl.Series:
    """The lines of a UTF-8 file without line ends and byte order mark."""
    try:
        lines = pl.read_lines(str(path), glob=False).to_series()
    except pl.exceptions.PolarsError as error:
        data = path.read_bytes()
        try:
            data.decode()
        except UnicodeDecodeError as wrong:
            line = data.count(b"\n", 0, wrong.start) + 1
            raise ValueError(f"{path}, line {line}: expected UTF-8, got the byte 0x{data[wrong.start]:02x}") from error
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if len(lines) and lines[0].startswith("\ufeff"):
        lines[0] = lines[0][1:]
    return lines


def read_text(path: Path, format: str) -> Table:
    """Read any text format as columns of strings, all rows with the same number of columns."""
    lines = read_lines(path)
    if format == "pairs" and lines.str.contains(r"^$|^[ \t]|[ \t]$|\t|  ").any():
        lines = lines.str.strip_chars(" \t").str.replace_all(r"[ \t]+", " ")
    filled = (~lines.str.contains(r"^ *$")).arg_true().to_numpy()
    if not len(filled):
        raise ValueError(f"{path}: the file is empty")
    if len(filled) < len(lines):
        lines = lines.gather(filled)
    if format in ("csv", "tsv") and lines.str.contains('"', literal=True).any():
        return read_quoted(path, "," if format == "csv" else "\t")
    separator = {"csv": ",", "pairs": " "}.get(format) or "\t"
    if format in ("movielens", "headerless") and "\t" not in lines[0]:
        separator = "::" if "::" in lines[0] or format == "movielens" else ","
    has_header = format in ("csv", "tsv", "atomic")
    names, kinds = parse_header(path, f"line {filled[0] + 1}", format, lines[0].split(separator))
    body = lines.slice(1) if has_header else lines
    if not len(body):
        raise ValueError(f"{path}: there is a header but no row")
    numbers = filled[has_header:] + 1

    def place(row: int) -> str:
        return f"line {numbers[row]}"

    return Table(path, split_lines(path, body, separator, names, place), place, kinds)


def parse_header(path: Path, place: str, format: str, fields: list[str]) -> tuple[list[str], dict[str, str]]:
    """Column names, and for atomic files the kind of each."""
    if format in FIXED_NAMES:
        return FIXED_NAMES[format], {}
    if format == "headerless":
        return [str(position + 1) for position in range(len(fields))], {}
    names, kinds = [field.strip() for field in fields], {}
    if format == "atomic":
        for field in names:
            name, colon, kind = field.rpartition(":")
            if not (colon and name and kind in ATOMIC_KINDS):
                raise ValueError(f"{path}, {place}: expected header fields like user_id:token, got {shown(field)}")
            kinds[name] = kind
        names = [field.rpartition(":")[0] for field in names]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{path}, {place}: the column {shown(repeated)} is there twice")
    return names, kinds


def split_lines(
    path: Path, lines: pl.Series, separator: str, names: list[str], place: Callable[[int], str]
) -> dict[str, pl.Series]:
    """Split every line into exactly the named columns."""
    fields = lines.str.split_exact(separator, len(names)).struct.unnest().get_columns()
    for wrong in (fields[len(names) - 1].is_null(), fields[len(names)].is_not_null()):
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise wrong_width(path, place(row), len(str(lines[row]).split(separator)), names)
    return {name: field.alias(name) for name, field in zip(names, fields, strict=False)}


def wrong_width(path: Path, place: str, width: int, names: list[str]) -> ValueError:
    """The error for a row with too few or too many columns."""
    columns = "column" if width == 1 else "columns"
    expected = f"{len(names)} columns ({', '.join(name[:60] for name in names[:20])})"
    return ValueError(f"{path}, {place}: expected {expected}, got {width} {columns}")


def read_quoted(path: Path, separator: str) -> Table:
    """Read a csv or tsv with quoted fields: by polars where that is certain, else row by row with exact errors."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next((row for row in csv.reader(file, delimiter=separator) if "".join(row).strip()), [])
    names, _ = parse_header(path, "line 1", "csv", first)
    try:
        frame = pl.read_csv(path, separator=separator, infer_schema=False, glob=False)
    except pl.exceptions.PolarsError:
        frame = None
    if frame is not None and frame.columns == names and frame.height and not any(frame.null_count().row(0)):
        columns = {name: frame[name] for name in names}
        return Table(path, columns, lambda row: f"line {quoted_rows(path, separator, names)[1][row]}", {})
    rows, lines = quoted_rows(path, separator, names)
    if not rows:
        raise ValueError(f"{path}: there is a header but no row")
    values = zip(*rows, strict=True)
    columns = {name: pl.Series(name, list(column), pl.String) for name, column in zip(names, values, strict=True)}
    return Table(path, columns, lambda row: f"line {lines[row]}", {})


def quoted_rows(path: Path, separator: str, names: list[str]) -> tuple[list[list[str]], list[int]]:
    """The rows after the header, and the line (from 1) each starts on."""
    rows, lines, line = [], [], 1
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        try:
            for row in reader:
                if len(row) > 1 or "".join(row).strip():
                    if len(row) != len(names):
                        raise wrong_width(path, f"line {line}", len(row), names)
                    rows.append(row)
                    lines.append(line)
                line = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{path}, line {line}: wrong quoting: {error}") from error
    return rows[1:], lines[1:]


def read_parquet(path: Path, asked: Columns) -> tuple[Table, Columns]:
    """Read the needed columns of a parquet file; ids must be integers or strings."""
    try:
        schema = pl.read_parquet_schema(path)
        chosen = choose_columns(path, list(schema), asked, DEFAULT_NAMES)
        needed = [name for name in (chosen.user, chosen.item, chosen.time) if name]
        frame = pl.read_parquet(path, columns=needed, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(f"{path}: not a readable parquet file: {error}") from error
    if not frame.height:
        raise ValueError(f"{path}: the file has no row")
    table = Table(path, {}, lambda row: f"row {row + 1}", {})
    for name in (chosen.user, chosen.item):
        column = frame[name]
        if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
            column = column.cast(pl.String)
        if not (column.dtype.is_integer() or column.dtype == pl.String):
            raise ValueError(f"{path}, column {name!r}: expected ids of integers or strings, got {column.dtype}")
        if column.null_count():
            raise table.error(int(column.is_null().arg_max() or 0), name, "the id is missing (null)")
        table.columns[name] = column
    if chosen.time:
        table.columns[chosen.time] = frame[chosen.time]
    return table, chosen


def parse_times(table: Table, name: str) -> np.ndarray:
    """The time column as int64 or finite float64 (any unit: only the order counts)."""
    column = table.columns[name]
    if column.dtype == pl.String:
        times = parse_time_text(column)
    elif column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration):
        times = column.cast(pl.Datetime("us")).cast(pl.Int64)
    elif column.dtype.is_integer() or column.dtype.is_float():
        times = column
    else:
        raise ValueError(f"{table.path}, column {name!r}: expected numbers or date-times, got {column.dtype}")
    wrong = times.is_null() | ~times.is_finite() if times.dtype.is_float() else times.is_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        expected = "a finite number, or a date-time like 2010-10-19T23:55:27Z"
        raise table.error(row, name, f"expected {expected}, got {shown(column[row])}")
    return times.to_numpy()


def parse_time_text(column: pl.Series) -> pl.Series:
    """Text as int64 if all are integers, else as date-times or float64; null where it is neither."""
    times = column.cast(pl.Int64, strict=False)
    if not times.null_count():
        return times
    column = column.str.strip_chars()
    if not re.match(r"\d{4}-\d\d-\d\d", str(column[0])):
        return column.cast(pl.Float64, strict=False)
    column = column.str.replace("T", " ", literal=True).str.replace(r"Z$", "")
    column = column.str.replace(r"^(\d{4}-\d\d-\d\d)$", "$1 00:00:00")
    return column.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False).cast(pl.Int64)
