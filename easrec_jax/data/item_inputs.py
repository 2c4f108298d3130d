"""What a network reads of each item beside its id: features as numbers, by a coding that the items with training events decide.

Values, means and scales are those of items with training events alone: what is said of another item changes nothing but its own row.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class RawFeatures(NamedTuple):
    """Features of items in the order of their inner ids; position 0 is padding and has none."""

    values: dict[
        str, list[tuple[str, ...]]
    ]  # by column (`name:kind`, as it is read), of each item any number of values
    numbers: dict[str, np.ndarray]  # by column, float [items + 1], NaN where there is none
    vectors: np.ndarray | None = None  # float [items + 1, dimensions], rows of NaN where there is none


@dataclass(frozen=True)
class Coding:
    """How features become numbers.

    Value v of column c has the number `values[c].index(v) + 1`. A number becomes (x - mean) / scale, and a mark where there is none.
    A vector becomes (x - mean) / scale, so that the mean square of its length is 1.
    """

    names: tuple[str, ...]  # of the columns of values, `name:kind`
    values: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...] = ()  # names of the columns of numbers
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    vector_mean: tuple[float, ...] = ()
    vector_scale: float = 1.0

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each array of weights that features have, by its name in a network's tables."""
        found = {f"values_{n}": len(values) + 1 for n, values in enumerate(self.values)}
        found |= {"numbers": 2 * len(self.numbers)} if self.numbers else {}
        return found | ({"vectors": len(self.vector_mean)} if self.vector_mean else {})

    @classmethod
    def learn(cls, raw: RawFeatures, trained: np.ndarray) -> Coding:
        """The coding that the items `trained` (bool [items + 1]) decide."""
        chosen = np.flatnonzero(trained).tolist()
        values = [tuple(sorted({value for item in chosen for value in of[item]})) for of in raw.values.values()]
        means, scales = [], []
        for column in raw.numbers.values():
            mean, scale = _mean_and_scale(np.asarray(column, np.float64)[trained])
            means.append(mean)
            scales.append(scale)
        centre, length = (), 1.0
        if raw.vectors is not None:
            rows = np.asarray(raw.vectors, np.float64)[trained]
            rows = rows[~np.isnan(rows).any(1)]
            middle = rows.mean(0) if len(rows) else np.zeros(raw.vectors.shape[1])
            centre = tuple(middle.tolist())
            length = float(np.sqrt(((rows - middle) ** 2).sum(1).mean())) if len(rows) else 0.0
        numbers = tuple(raw.numbers), tuple(means), tuple(scales)
        return cls(tuple(raw.values), tuple(values), *numbers, centre, length or 1.0)

    def encode(self, raw: RawFeatures) -> Coded:
        """Features as arrays. Values that the coding does not know count as none."""
        values = tuple(_numbered(raw.values[name], known) for name, known in zip(self.names, self.values, strict=True))
        items = len(next(iter((*raw.values.values(), *raw.numbers.values(), raw.vectors))))  # type: ignore[arg-type]
        numbers = np.zeros((items, 2 * len(self.numbers)), np.float32)
        for n, (name, mean, scale) in enumerate(zip(self.numbers, self.means, self.scales, strict=True)):
            column = np.asarray(raw.numbers[name], np.float64)
            missing = np.isnan(column)
            numbers[:, 2 * n] = np.where(missing, 0.0, (column - mean) / scale)
            numbers[:, 2 * n + 1] = missing
        vectors = np.zeros((items, len(self.vector_mean)), np.float32)
        if raw.vectors is not None:
            moved = (np.asarray(raw.vectors, np.float64) - np.array(self.vector_mean)) / self.vector_scale
            vectors = np.where(np.isnan(moved).any(1, keepdims=True), 0.0, moved).astype(np.float32)
        for array in (*values, numbers, vectors):
            array[0] = 0  # padding
        return Coded(values, numbers, vectors)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "values": dict(zip(self.names, map(list, self.values), strict=True)),
            "numbers": {
                name: {"mean": mean, "scale": scale}
                for name, mean, scale in zip(self.numbers, self.means, self.scales, strict=True)
            },
            "vectors": {"mean": list(self.vector_mean), "scale": self.vector_scale},
        }

    @classmethod
    def from_json(cls, tree: dict[str, Any], *, source: str) -> Coding:
        """What `to_json` wrote; `ValueError` names `source` where it is no such thing."""
        try:
            values, numbers, vectors = tree["values"], tree["numbers"], tree["vectors"]
            words = tuple(tuple(known) for known in values.values())
            texts = all(isinstance(known, list) for known in values.values()) and all(
                isinstance(word, str) for known in words for word in known
            )
            means, scales = ([float(one[part]) for one in numbers.values()] for part in ("mean", "scale"))
            mean, scale = tuple(float(x) for x in vectors["mean"]), float(vectors["scale"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{source}: expected values, numbers and vectors of item features ({error})") from None
        finite = all(map(math.isfinite, (*means, *scales, *mean, scale))) and all(x > 0 for x in (*scales, scale))
        if not (texts and finite and all(len(set(known)) == len(known) for known in words)):
            raise ValueError(f"{source}: expected distinct values as text, finite means and scales above 0")
        return cls(tuple(values), words, tuple(numbers), tuple(means), tuple(scales), mean, scale)

    @property
    def digest(self) -> str:
        """SHA-256, hex, of its content."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()

    def describe(self) -> str:
        """Its columns in words."""
        words = [f"{name} ({len(known)} values)" for name, known in zip(self.names, self.values, strict=True)]
        words += self.numbers
        return ", ".join(words + ([f"vectors of {len(self.vector_mean)} numbers"] if self.vector_mean else []))


class Coded(NamedTuple):
    """Features of items as arrays; row 0, padding, is zero."""

    values: tuple[np.ndarray, ...]  # int32 [items + 1, most values of an item] a column, filled up with 0
    numbers: np.ndarray  # float32 [items + 1, 2 * columns]: standardised, 0 where there is none; 1 where there is none
    vectors: np.ndarray  # float32 [items + 1, dimensions], zero where there is none


@dataclass(frozen=True, eq=False)
class ItemInputs:
    """Features of every item of some interactions, as a network reads them."""

    coding: Coding
    coded: Coded
    trained: np.ndarray  # bool [items + 1], whether an item has training events; of padding False

    def __post_init__(self) -> None:
        for array in (*self.coded.values, self.coded.numbers, self.coded.vectors, self.trained):
            array.setflags(write=False)

    @classmethod
    def of(cls, raw: RawFeatures, trained: np.ndarray) -> ItemInputs:
        """Features coded as the items with training events decide."""
        coding = Coding.learn(raw, trained)
        return cls(coding, coding.encode(raw), trained)

    @property
    def known(self) -> np.ndarray:
        """int32 [known + 1]: padding, and the inner ids of the items with training events in order."""
        return np.concatenate([[0], np.flatnonzero(self.trained)]).astype(np.int32)

    def digest(self) -> str:
        """SHA-256, hex: the same for the same features."""
        digest = hashlib.sha256(self.coding.digest.encode())
        for array in (*self.coded.values, self.coded.numbers, self.coded.vectors, self.trained):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _mean_and_scale(known: np.ndarray) -> tuple[float, float]:
    """Of a column's numbers without NaN; the scale of numbers that are all the same is 1."""
    known = known[~np.isnan(known)]
    if not len(known):
        return 0.0, 1.0
    return float(known.mean()), float(known.std()) or 1.0


def _numbered(rows: Sequence[tuple[str, ...]], known: tuple[str, ...]) -> np.ndarray:
    """int32 [items + 1, most]: the numbers of the known values of each item, each once and in order, filled up with 0."""
    place = {value: number for number, value in enumerate(known, 1)}
    numbers = [sorted({place[value] for value in row if value in place}) for row in rows]
    table = np.zeros((len(rows), max(1, *map(len, numbers))), np.int32)
    for row, of in zip(table, numbers, strict=True):
        row[: len(of)] = of
    return table
