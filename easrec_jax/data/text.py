"""Text formats as columns: lines split by polars, so that a row's line is always known and no id is reinterpreted.

"007" stays "007", and no field keeps white space around it. Each `read_...` is the function of one `readers.Reader`; an
empty separator is the format's own. Only files with quotes go through a csv parser. Imports polars.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from easrec_jax.data.columns import ITEMS, Columns, are_named, excerpt, usual
from easrec_jax.data.inputs import File, read_lines
from easrec_jax.data.quoted import read_quoted
from easrec_jax.data.table import Table, check_distinct, wrong_width

SEPARATORS = (",", "\t", ";", "|")
LIST = "_list"  # so ends the name of a history in RecBole's split files
ATOMIC_KINDS = ("token", "token_seq", "float", "float_seq")
BLANK = ("", " ")  # separators that mean any number of blanks and tabs


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


class Lines(NamedTuple):
    """The lines of a file that are not blank."""

    path: Path
    text: pl.Series
    numbers: np.ndarray  # int64 [lines], where each stands in the file, from 1

    def place(self, row: int) -> str:
        """Where a line stands, for messages."""
        return f"line {self.numbers[row]}"

    def below_header(self) -> Lines:
        """The lines after the first; ValueError if there is none."""
        if len(self.text) < 2:
            raise ValueError(f"{self.path}: there is a header but no row")
        return Lines(self.path, self.text.slice(1), self.numbers[1:])

    def fields(self, separator: str, names: Sequence[str]) -> dict[str, pl.Series]:
        """Every line split into exactly the named columns."""
        found = self.text.str.split_exact(separator, len(names)).struct.unnest().get_columns()
        for wrong in (found[len(names) - 1].is_null(), found[len(names)].is_not_null()):
            if wrong.any():
                row = int(wrong.arg_max() or 0)
                raise wrong_width(self.path, self.place(row), len(str(self.text[row]).split(separator)), names)
        return {name: field.alias(name) for name, field in zip(names, found, strict=False)}

    def stripped(self, separator: str, names: Sequence[str]) -> dict[str, pl.Series]:
        """`fields` without white space around."""
        return {name: field.str.strip_chars() for name, field in self.fields(separator, names).items()}


def filled_lines(file: File, lines: pl.Series | None = None, *, blanks: bool = False) -> Lines:
    """The lines that are not blank (of `lines`, if they are read already); ValueError if all are.

    `blanks`: blanks and tabs part fields, and any number of them counts as one blank.
    """
    lines = read_lines(file) if lines is None else lines
    if blanks and lines.str.contains(r"^$|^[ \t]|[ \t]$|\t|  ").any():
        lines = lines.str.strip_chars(" \t").str.replace_all(r"[ \t]+", " ")
    filled = (~lines.str.contains(r"^ *$")).arg_true().to_numpy()
    if not len(filled):
        raise ValueError(f"{file.path}: the file is empty")
    return Lines(file.path, lines.gather(filled) if len(filled) < len(lines) else lines, filled + 1)


def read_csv(file: File, separator: str = "") -> Table:
    """Fields between commas under a header."""
    everything = read_lines(file)
    lines, separator = filled_lines(file, everything), separator or ","
    if len(separator) == 1 and lines.text.str.contains('"', literal=True).any():
        return read_quoted(file, everything, separator)
    names = split_header(lines.text[0], separator)
    check_distinct(file.path, lines.place(0), names)
    lines = lines.below_header()
    return Table(file.path, lines.stripped(separator, names), lines.place)


def read_tsv(file: File, separator: str = "") -> Table:
    """Fields between tabs under a header."""
    return read_csv(file, separator or "\t")


def read_atomic(file: File, separator: str = "") -> Table:
    """RecBole's atomic files: fields between tabs under a header like `user_id:token`.

    A row of its split files is a history and the item after it, `item_id_list:token_seq` and `item_id:token`: one list here.
    """
    lines, separator = filled_lines(file), separator or "\t"
    kinds: dict[str, str] = {}
    names: list[str] = []
    for field in split_header(lines.text[0], separator):
        name, colon, kind = field.rpartition(":")
        if not (colon and name and kind in ATOMIC_KINDS):
            raise ValueError(
                f"{file.path}, {lines.place(0)}: expected header fields like user_id:token, got {excerpt(field)}"
            )
        names.append(name)
        kinds[name] = kind
    check_distinct(file.path, lines.place(0), names)
    lines = lines.below_header()
    columns = _with_last_item(lines.stripped(separator, names), kinds)
    return Table(file.path, columns, lines.place, {name: kinds[name] for name in columns})


def _with_last_item(columns: dict[str, pl.Series], kinds: dict[str, str]) -> dict[str, pl.Series]:
    """The columns with each item that comes after a history at its end, where a file has both."""
    for history in [name for name, kind in kinds.items() if kind == "token_seq" and name.endswith(LIST)]:
        last = history.removesuffix(LIST)
        if kinds.get(last) == "token" and usual([last], ITEMS):
            both = pl.select(pl.concat_str(columns[history], columns[last], separator=" ").str.strip_chars())
            columns = columns | {history: both.to_series()}
            del columns[last]
    return columns


def read_pairs(file: File, separator: str = "") -> Table:
    """A user and an item a line, no header."""
    lines = filled_lines(file, blanks=separator in BLANK)
    split = lines.fields if separator in BLANK else lines.stripped
    return Table(file.path, split(separator or " ", ["user", "item"]), lines.place)


def read_movielens(file: File, separator: str = "") -> Table:
    """MovieLens without a header: user, item, rating and time between tabs or "::"; of three fields none is a rating."""
    lines = filled_lines(file)
    separator = separator or ("\t" if "\t" in lines.text[0] else "::")
    if len(split_header(lines.text[0], separator)) == 3:
        return _positional(lines, separator)
    return Table(file.path, lines.stripped(separator, ["user", "item", "rating", "timestamp"]), lines.place)


def read_headerless(file: File, separator: str = "") -> Table:
    """Fields without a header; the columns are "1", "2", ..."""
    lines = filled_lines(file)
    candidates = ("\t", "::", *SEPARATORS, " ")
    return _positional(lines, separator or next((mark for mark in candidates if mark in lines.text[0]), ","))


def _positional(lines: Lines, separator: str) -> Table:
    names = [str(number + 1) for number in range(len(split_header(lines.text[0], separator)))]
    return Table(lines.path, lines.stripped(separator, names), lines.place, named=False)


def read_lists(file: File, separator: str = "") -> Table:
    """One line a user, its id and then its items in time order, as one row an event."""
    lines = filled_lines(file, blanks=separator in BLANK)
    frame = pl.DataFrame({"field": lines.text.str.split(separator or " ")}).with_row_index("line")
    frame = frame.select("line", user=pl.col("field").list.first(), item=pl.col("field").list.slice(1))
    twice = frame["user"].is_duplicated()
    if twice.any():
        row = int(twice.arg_true()[-1])
        user = excerpt(frame["user"][row])
        raise ValueError(f"{file.path}, {lines.place(row)}: expected one line a user, {user} is there twice")
    empty = frame["item"].list.len() == 0
    if empty.any():
        place = lines.place(int(empty.arg_max() or 0))
        raise ValueError(f"{file.path}, {place}: expected a user and its items, got one field")
    frame = frame.explode("item")
    line = frame["line"].to_numpy()
    columns = {name: frame[name].str.strip_chars() for name in ("user", "item")}
    return Table(file.path, columns, lambda row: lines.place(int(line[row])), by_user=True)
