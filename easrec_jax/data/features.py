"""What items are, beside their ids: files of features aligned with inner ids, and categorical ones as small integer tables.

Files are RecBole's `.item`, CSV, TSV, Parquet or JSON lines, one row an item. Kinds of columns are RecBole's: token, token_seq (any
number of values), float, float_seq. An atomic file says them. In Parquet and JSON lines a list is a token_seq or, of fractions, a
float_seq, a fraction a float; all else is a token. `name:kind` asks for another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easrec_jax.data.columns import ITEMS, Columns, excerpt, usual
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.table import Table

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

KINDS = ("token", "token_seq", "float", "float_seq")
SEVERAL = "|"  # parts the values of a token_seq in CSV, TSV and text columns of Parquet; blanks do in an atomic file


@dataclass(frozen=True, eq=False)
class Features:
    """What a file says of each id: `columns[name][k]` is of inner id k.

    Position 0 (padding) and ids without a row hold "", () or NaN.
    """

    names: tuple[str, ...]
    kinds: dict[str, str]  # one of KINDS
    columns: dict[
        str, Any
    ]  # token: list of str; token_seq: of tuples; float: float32 [ids + 1]; float_seq: [ids + 1, dimensions]
    missing: int  # ids without a row


class ItemFile:
    """A file of items, read once: its ids, and its columns by kind."""

    def __init__(self, path: str | Path) -> None:
        """Raises what the readers raise, and `ValueError` for a missing id and an id that is there twice."""
        from easrec_jax.data.id_rules import id_columns, plain_ids

        self.table, self.id_name = _read(path)
        frame = self.table.columns[self.id_name].to_frame()
        try:
            ids = frame.select(id_columns(self.id_name, frame.schema[self.id_name])[0])[self.id_name]
        except ValueError as error:
            raise ValueError(f"{path}, column {excerpt(self.id_name)}: {error}") from None
        ids = plain_ids(ids)
        missing = ids.is_null() | (ids.cast(str) == "")
        if missing.any():
            raise self.table.error(int(missing.arg_max() or 0), self.id_name, "expected an id, got none")
        self.ids: list[str] = ids.cast(str).to_list()
        seen: set[str] = set()
        for row, raw in enumerate(self.ids):
            if raw in seen:
                raise self.table.error(row, self.id_name, f"the id {excerpt(raw)} is there twice")
            seen.add(raw)

    @property
    def names(self) -> list[str]:
        """Its columns but for the id."""
        return [name for name in self.table.columns if name != self.id_name]

    def features(self, ids: IdMap, columns: Sequence[str] | None = None) -> Features:
        """The columns (`name` or `name:kind`; None: all) aligned with these ids; rows of other ids are left out.

        Raises `ValueError` where none of its ids is among them, and for what a column cannot be.
        """
        inner = ids.encode(self.ids)
        if not inner.any():
            raise ValueError(
                f"{self.table.path}, column {excerpt(self.id_name)}: none of its {len(inner)} ids is among the {len(ids)} asked for"
            )
        found, kinds = {}, {}
        for asked in self.names if columns is None else columns:
            name, kind = self._kind(asked)
            kinds[name], found[name] = kind, self._column(name, kind, inner, len(ids))
        return Features(tuple(found), kinds, found, len(ids) - int(np.count_nonzero(inner)))

    def _kind(self, asked: str) -> tuple[str, str]:
        """(name, kind) of a column that is asked for."""
        name, colon, kind = asked.rpartition(":")
        if asked in self.names or not (colon and kind in KINDS):
            name, kind = asked, self.table.kinds.get(asked, "token")
        if name not in self.names:
            there = ", ".join(map(excerpt, self.names[:20]))
            raise ValueError(
                f"{self.table.path}: data.feature_columns: expected a column {name!r}, the file has {there}"
            )
        return name, kind

    def _column(self, name: str, kind: str, inner: np.ndarray, items: int) -> Any:
        """One column by inner id."""
        column = self.table.columns[name]
        if kind == "float":
            return _aligned(self._numbers(name), inner, np.full(items + 1, np.nan, np.float32))
        if kind == "float_seq":
            rows = self._vectors(name)
            return _aligned(rows, inner, np.full((items + 1, rows.shape[1]), np.nan, np.float32))
        several = kind == "token_seq"
        values: list[Any] = self._lists(column) if several else self._text(column).fill_null("").to_list()
        filled: list[Any] = [() if several else ""] * (items + 1)
        for place, value in zip(inner.tolist(), values, strict=True):
            if place:
                filled[place] = value
        return filled

    def _text(self, column: pl.Series) -> pl.Series:
        if column.dtype.is_nested():
            raise ValueError(
                f"{self.table.path}, column {excerpt(column.name)}: expected one value a row, got {column.dtype}"
            )
        return column.cast(str).str.strip_chars()

    def _lists(self, column: pl.Series) -> list[tuple[str, ...]]:
        import polars as pl

        if isinstance(column.dtype, pl.List | pl.Array):
            return [tuple(value for value in row or () if value) for row in column.cast(pl.List(pl.String)).to_list()]
        mark = None if self.table.kinds.get(column.name) == "token_seq" else SEVERAL
        return [tuple(filter(None, map(str.strip, (text or "").split(mark)))) for text in self._text(column).to_list()]

    def _numbers(self, name: str) -> np.ndarray:
        """float32 [rows], NaN where there is none."""
        import polars as pl

        text = self._text(self.table.columns[name])
        number = text.cast(pl.Float64, strict=False)
        wrong = (number.is_null() & (text != "")) | number.is_infinite()
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise self.table.error(row, name, f"expected a number, got {excerpt(text[row])}")
        return number.fill_null(float("nan")).to_numpy().astype(np.float32)

    def _vectors(self, name: str) -> np.ndarray:
        """float32 [rows, dimensions], rows of NaN where there is none."""
        import polars as pl

        column = self.table.columns[name]
        if not isinstance(column.dtype, pl.List | pl.Array) or not column.dtype.inner.is_numeric():  # type: ignore[union-attr]
            raise ValueError(
                f"{self.table.path}, column {excerpt(name)}: expected lists of numbers, got {column.dtype}"
            )
        lists = column.cast(pl.List(pl.Float32))
        lengths = lists.list.len().fill_null(0).to_numpy()
        size = int(lengths.max())
        wrong = (lengths != 0) & (lengths != size)
        if not size or wrong.any():
            row = int(wrong.argmax())
            raise self.table.error(row, name, f"expected {size or 'some'} numbers, as others have, got {lengths[row]}")
        found = np.full((len(lengths), size), np.nan, np.float32)
        found[lengths > 0] = lists.filter(pl.Series(lengths > 0)).explode().to_numpy().reshape(-1, size)
        bad = (lengths > 0) & ~np.isfinite(found).all(1)
        if bad.any():
            raise self.table.error(int(bad.argmax()), name, "expected finite numbers, got NaN, infinity or none")
        return found


def _aligned(rows: np.ndarray, inner: np.ndarray, filled: np.ndarray) -> np.ndarray:
    filled[inner[inner > 0]] = rows[inner > 0]
    return filled


def _read(path: str | Path) -> tuple[Table, str]:
    """(the table with the kinds of its columns, the name of its id column)."""
    from easrec_jax.data.inputs import File, check_file
    from easrec_jax.data.readers import detect

    file = File(check_file(path))
    layout = detect(file, asked=Columns(user="-"))
    if layout.reader.name not in ("atomic", "csv", "tsv", "parquet", "jsonl"):
        raise ValueError(
            f"{path}: expected items as .item, .csv, .tsv, .parquet or .jsonl, got the format {layout.reader.name!r}"
        )
    if layout.reader.read is not None:
        table = layout.reader.read(file, layout.separator)
    else:
        assert layout.reader.stream is not None
        with layout.reading(file.path, [file]):
            frame = layout.reader.stream.scan([file], layout.separator)[0].collect()
        if not frame.height:
            raise ValueError(f"{path}: the file has no row")
        kinds = {name: _kind_of(dtype) for name, dtype in frame.schema.items()}
        table = Table(file.path, {name: frame[name] for name in frame.columns}, kinds=kinds)
    if layout.reader.name == "atomic":
        return table, next(iter(table.columns))
    name = usual(list(table.columns), [*ITEMS, "id"])
    if not name:
        there = ", ".join(map(excerpt, list(table.columns)[:20]))
        raise ValueError(f"{path}: no item column ({', '.join(ITEMS[:4])}, ...); the file has the columns {there}")
    return table, name


def _kind_of(dtype: Any) -> str:
    import polars as pl

    if isinstance(dtype, pl.List | pl.Array):
        return "float_seq" if dtype.inner.is_float() else "token_seq"  # type: ignore[union-attr]
    return "float" if dtype.is_float() else "token"


def read_features(path: str | Path, ids: IdMap, columns: Sequence[str] | None = None) -> Features:
    """`ItemFile.features` of a file, of these columns or of all."""
    return ItemFile(path).features(ids, columns)


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """The values that each item has in each column: data of a model, not parameters of it. Compared by identity.

    `values[c][v]` are the values of inner item v in column c as numbers into `vocabulary[c]` from 1, filled up with 0.
    """

    names: tuple[str, ...]
    values: tuple[np.ndarray, ...]  # int32 [items + 1, most values of an item] a column
    vocabulary: tuple[tuple[str, ...], ...]

    @classmethod
    def from_tokens(cls, columns: Mapping[str, Sequence[Sequence[str]]]) -> ItemFeatures:
        """Number the tokens: `columns[name][v]` are those of inner item v, none for the padding item 0."""
        tables, vocabularies = [], []
        for tokens in columns.values():
            known: dict[str, int] = {}
            rows = [sorted({known.setdefault(token, len(known) + 1) for token in row}) for row in tokens]
            table = np.zeros((len(rows), max(1, *map(len, rows))), np.int32)
            for row, numbers in zip(table, rows, strict=True):
                row[: len(numbers)] = numbers
            tables.append(table)
            vocabularies.append(tuple(known))
        return cls(tuple(columns), tuple(tables), tuple(vocabularies))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows of an embedding table of each column: its values and row 0, which means none."""
        return tuple(len(words) + 1 for words in self.vocabulary)


def read_item_features(path: str | Path, columns: tuple[str, ...], item_ids: IdMap) -> ItemFeatures:
    """Read columns of tokens; "" is none.

    Raises what `read_features` raises, and `ValueError` naming a column that is not there, holds numbers, or is empty.
    """
    read = read_features(path, item_ids, columns)
    tokens: dict[str, list[tuple[str, ...]]] = {}
    for name in read.names:
        if read.kinds[name] not in ("token", "token_seq"):
            got = f"it is {read.kinds[name]}"
            raise ValueError(f"{path}: data.feature_columns: expected {name!r} as a token or token_seq column, {got}")
        tokens[name] = token_lists(read, name)
        if not any(tokens[name]):
            raise ValueError(f"{path}, column {name!r}: expected a value for at least one item, got none")
    return ItemFeatures.from_tokens(tokens)


def token_lists(read: Features, name: str) -> list[tuple[str, ...]]:
    """The values of each id in a column of tokens."""
    column = read.columns[name]
    return list(column) if read.kinds[name] == "token_seq" else [tuple(filter(None, [text])) for text in column]
