"""What items are, beside their ids: categorical features (genres, say) as small integer tables, one a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.data.columns import excerpt
from easrec_jax.data.interactions import IdMap


@dataclass(frozen=True, eq=False)
class Features:
    """What a RecBole `.item` or `.user` file says of each id: `columns[name][k]` is of inner id k.

    Position 0 (padding) and ids without a row hold "" or NaN. A token_seq stays one string: see `split_tokens`.
    """

    names: tuple[str, ...]
    kinds: dict[str, str]  # token, token_seq, float or float_seq
    columns: dict[str, list[str] | np.ndarray]  # list of str [ids + 1]; float32 [ids + 1] for the kind float
    missing: int  # ids without a row


def split_tokens(text: str) -> tuple[str, ...]:
    """The tokens of a token_seq value."""
    return tuple(text.split())


def read_features(path: str | Path, ids: IdMap) -> Features:
    """Read a RecBole `.item` or `.user` file, whose first column is the id; rows of ids not in `ids` are left out."""
    import polars as pl  # here, not above: who serves a model with features imports this file, and reads none

    from easrec_jax.data.id_rules import plain_ids
    from easrec_jax.data.inputs import File, check_file
    from easrec_jax.data.text import read_atomic

    table = read_atomic(File(check_file(path)))
    id_name, *names = table.columns
    inner = ids.encode(plain_ids(table.columns[id_name]))
    known, counts = np.flatnonzero(inner), np.bincount(inner, minlength=len(ids) + 1)
    if not known.size:
        raise ValueError(
            f"{path}, column {excerpt(id_name)}: none of its {len(inner)} ids is among the {len(ids)} asked for"
        )
    if counts[1:].max() > 1:
        row = int(np.flatnonzero(inner == counts[1:].argmax() + 1)[1])
        raise table.error(row, id_name, f"the id {excerpt(table.columns[id_name][row])} is there twice")
    columns: dict[str, list[str] | np.ndarray] = {}
    for name in names:
        text = table.columns[name]
        if table.kinds[name] == "float":
            number = text.cast(pl.Float32, strict=False)
            wrong = number.is_null() & (text != "")
            if wrong.any():
                row = int(wrong.arg_max() or 0)
                raise table.error(row, name, f"expected a number, got {excerpt(text[row])}")
            column: Any = np.full(len(ids) + 1, np.nan, np.float32)
            column[inner[known]] = number.gather(known).fill_null(float("nan")).to_numpy()
            columns[name] = column
        else:
            values = np.full(len(ids) + 1, "", object)
            values[inner[known]] = text.gather(known).to_list()
            columns[name] = values.tolist()
    kinds = {name: table.kinds[name] for name in names}
    return Features(tuple(names), kinds, columns, int((counts[1:] == 0).sum()))


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
    """Read columns of a RecBole `.item` file; a token_seq is split at blanks, a token is one value, "" is none.

    Raises what `read_features` raises, and `ValueError` naming a column that is not there, holds numbers, or is empty.
    """
    read = read_features(path, item_ids)
    tokens: dict[str, list[tuple[str, ...]]] = {}
    for name in columns:
        kind = read.kinds.get(name)
        if kind not in ("token", "token_seq"):
            got = f"it is {kind}" if kind else f"the file has {', '.join(map(excerpt, read.names[:20]))}"
            raise ValueError(f"{path}: data.feature_columns: expected {name!r} as a token or token_seq column, {got}")
        texts = [str(text) for text in read.columns[name]]
        tokens[name] = [split_tokens(text) if kind == "token_seq" else tuple(filter(None, [text])) for text in texts]
        if not any(tokens[name]):
            raise ValueError(f"{path}, column {name!r}: expected a value for at least one item, got none")
    return ItemFeatures.from_tokens(tokens)
