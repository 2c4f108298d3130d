"""From `data.features` and `data.item_vectors` to what networks read of each item, and the items that they alone know.

Imports polars where a file is read.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from easrec_jax.data.features import ItemFeatures, ItemFile, token_lists
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.item_inputs import ItemInputs, RawFeatures
from easrec_jax.data.split import Split

ALONE = 0.5  # of the values of a column: where more of them belong to one item each, they tell nothing of others


class ItemFiles:
    """A file of columns and a file of vectors, either of which may be missing ("")."""

    def __init__(self, features: str | Path, columns: Sequence[str], vectors: str | Path) -> None:
        """Raises what `ItemFile` raises."""
        self.columns = columns
        self.features = ItemFile(features) if features else None
        self.vectors = ItemFile(vectors) if vectors else None

    @property
    def ids(self) -> list[str]:
        """The raw ids of both, each once, in the order of their text: that of the rows counts for nothing."""
        return sorted({raw for file in (self.features, self.vectors) if file is not None for raw in file.ids})

    def read(self, ids: IdMap) -> RawFeatures:
        """What the files say of these items. Raises what `ItemFile.features` raises, and `ValueError` for columns of other kinds."""
        values, numbers, vectors = {}, {}, None
        if self.features is not None:
            found, path = self.features.features(ids, self.columns), self.features.table.path
            for name in found.names:
                kind = found.kinds[name]
                if kind == "float_seq":
                    raise ValueError(
                        f"{path}: data.feature_columns: {name!r} holds vectors: expected them by data.item_vectors"
                    )
                if kind == "float":
                    numbers[f"{name}:{kind}"] = found.columns[name]
                else:
                    values[f"{name}:{kind}"] = token_lists(found, name)
        if self.vectors is not None:
            found, path = self.vectors.features(ids), self.vectors.table.path
            named = [name for name in found.names if found.kinds[name] == "float_seq"]
            if len(named) != 1:
                raise ValueError(
                    f"{path}: data.item_vectors: expected one column of lists of fractions, got {len(named)} "
                    f"({', '.join(named or found.names)[:200]})"
                )
            vectors = found.columns[named[0]]
        return RawFeatures(values, numbers, vectors)


def with_item_features(data: Interactions, files: ItemFiles, *, join: bool) -> Interactions:
    """The interactions with what the files say of their items; `join`: items that the files alone know join the catalogue."""
    new = [raw for raw in files.ids if raw not in set(data.item_ids.raw)] if join else []
    data = dataclasses.replace(data, item_ids=IdMap((*data.item_ids.raw, *new)))
    return with_raw_features(data, files.read(data.item_ids))


def with_planted_features(data: Interactions, features: ItemFeatures) -> Interactions:
    """The interactions with these values of their items."""
    columns = {
        f"{name}:token": [tuple(words[k - 1] for k in row if k) for row in table.tolist()]
        for name, table, words in zip(features.names, features.values, features.vocabulary, strict=True)
    }
    return with_raw_features(data, RawFeatures(columns, {}))


def with_raw_features(data: Interactions, raw: RawFeatures) -> Interactions:
    """The interactions with these features, coded as their items with training events decide, and a note of them.

    Warns of columns whose values belong to one item each.
    """
    trained = Split(data).popularity() > 0
    inputs = ItemInputs.of(raw, trained)
    for name, table, words in zip(inputs.coding.names, inputs.coded.values, inputs.coding.values, strict=True):
        once = np.count_nonzero(np.bincount(table[inputs.known][table[inputs.known] > 0], minlength=1) == 1)
        if len(words) > 1 and once > ALONE * len(words):
            warnings.warn(
                f"data.feature_columns: {name!r}: {once:,} of its {len(words):,} values belong to one item each, they tell "
                "nothing of others (NAME:float if it holds numbers, NAME:token_seq if several values in one text)",
                stacklevel=2,
            )
    cold = np.count_nonzero(~trained[1:])
    note = (
        f"item features: {inputs.coding.describe()}; {cold:,} items without training events have their features alone"
    )
    return dataclasses.replace(data, features=inputs, notes=(*data.notes, note))
