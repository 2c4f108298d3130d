"""The formats that are read, one value each, and which of them a file has. A new one is one more value in `READERS`.

Imports polars: import this where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import polars as pl

from easrec_jax.data import scans, text
from easrec_jax.data.columns import Columns, are_named
from easrec_jax.data.inputs import File, first_line, first_lines
from easrec_jax.data.table import Table
from easrec_jax.data.text import find_separator, split_header
from easrec_jax.data.times import look_like_times


class Reader(NamedTuple):
    """One format: what it is called, and how a file of it becomes columns."""

    name: str
    read: Callable[[File, str], Table] | None
    """(file, separator) -> all of its columns, text or typed, a row an event or a user; separator "" is the format's own.

    Which columns are users, items and times is found later, by their names. None: `stream` alone reads it.
    """
    endings: tuple[str, ...] = ()
    """Endings of file names that tell the format, in lower case, the dot included."""
    stream: scans.Stream | None = None
    """How it is read a part at a time, if it can be: then inputs may be larger than memory."""
    separator: str = ""
    """What usually parts the fields; where the header shows another separator, that one. "": `read` decides."""


READERS = {
    reader.name: reader
    for reader in (
        Reader("atomic", text.read_atomic, (".inter", ".item", ".user")),
        Reader("pairs", text.read_pairs),
        Reader("csv", text.read_csv, (".csv",), scans.DELIMITED, ","),
        Reader("tsv", text.read_tsv, (".tsv",), scans.DELIMITED, "\t"),
        Reader("parquet", None, (".parquet", ".pq"), scans.PARQUET),
        Reader("jsonl", None, (".jsonl", ".ndjson", ".json"), scans.JSON),
        Reader("movielens", text.read_movielens),
        Reader("headerless", text.read_headerless),
        Reader("lists", text.read_lists),
    )
}
SPELLED = {"tab": "\t", "\\t": "\t", "space": " "}  # separators that a shell makes hard to write


class Layout(NamedTuple):
    """How a file is to be read."""

    reader: Reader
    separator: str = ""  # "": the format's own

    def reading(self, path: Path, files: Sequence[File]) -> AbstractContextManager[None]:
        """Within: what polars cannot read of the files becomes a `ValueError` that names the file."""
        return scans.reading(path, files, self.reader.stream, self.separator)


def detect(file: File, format: str = "auto", separator: str = "", asked: Columns | None = None) -> Layout:
    """How to read the file, by its ending and first lines; ValueError if neither tells."""
    if format not in ("auto", *READERS):
        raise ValueError(f"{file.path}: unknown format {format!r}, expected auto or one of {', '.join(READERS)}")
    head, asked = file.head(4), asked or Columns()
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{file.path}, line 1: expected UTF-8, got UTF-16")
    separator = SPELLED.get(separator, separator)
    reader = READERS.get(format) or _by_ending(file.ending, head)
    if reader is None:
        return _by_first_lines(file, separator, asked)
    if reader.separator and not separator:
        separator = find_separator(first_line(file), reader.separator, asked)
    return Layout(reader, separator)


def common_layout(files: Sequence[File], format: str, separator: str, asked: Columns) -> Layout:
    """The layout of the first file, if the others have its format."""
    layout = detect(files[0], format, separator, asked)
    for file in files[1:]:
        other = detect(file, format, separator, asked)
        if other.reader.name != layout.reader.name:
            names = f"{other.reader.name} beside {layout.reader.name}"
            raise ValueError(f"{file.path}: expected files of one format, got {names}")
    return layout


def _by_ending(ending: str, head: bytes) -> Reader | None:
    if head.startswith(b"PAR1"):
        return READERS["parquet"]
    return next((reader for reader in READERS.values() if ending in reader.endings), None)


def _by_first_lines(file: File, separator: str, asked: Columns) -> Layout:
    """The layout of a file whose ending says nothing (or little: .txt, .dat and .data)."""
    first, ending = first_line(file), file.ending
    if first.lstrip().startswith("{") and ending not in (".txt", ".dat", ".data"):
        return Layout(READERS["jsonl"])
    if ":token" in first:
        return Layout(READERS["atomic"], separator)
    found = separator or find_separator(first, "\t", asked)
    if are_named(split_header(first, found), asked):
        return Layout(READERS["tsv" if found == "\t" else "csv"], found)
    if "::" in first or ending in (".dat", ".data"):
        return Layout(READERS["movielens"], separator)
    if ending == ".txt":
        fields = [line.split(separator or None) for line in first_lines(file)]
        return Layout(READERS[_format_of_fields(fields)], separator)
    raise ValueError(
        f"{file.path}: cannot tell the format from {ending!r}, name one of {', '.join(READERS)} (--data.format)"
    )


def _format_of_fields(lines: list[list[str]]) -> str:
    """What lines without a header are: pairs, lists (one line a user), or headerless columns with a rating or time."""
    lines = [line for line in lines if line]
    widths = {len(line) for line in lines}
    once = len({line[0] for line in lines}) == len(lines) > 1
    if min(widths, default=2) < 2 or widths == {2}:
        return "pairs"
    if len(widths) > 1:
        return "lists" if once else "pairs"
    timed = any(look_like_times(pl.Series(column, dtype=pl.String)) for column in list(zip(*lines, strict=True))[2:])
    return "headerless" if max(widths) <= 4 and (timed or not once) else "lists" if once else "pairs"
