"""What a caller of a recommender gives: histories, item ids, k. Refused here is what would be read as something else."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

TABLE = "recommend_users(read_interactions(table), user_ids) answers the users of a table"


def whole_k(k: Any, most: int) -> int:
    """k as an int: any whole number, NumPy's too, but no bool. Raises `ValueError` unless it is 1 to `most`."""
    try:
        number = 0 if isinstance(k, (bool, np.bool_)) else operator.index(k)
    except TypeError:
        number = 0
    if not 1 <= number <= most:
        raise ValueError(f"k: expected 1 to {most} (the number of items), got {k!r} ({type(k).__name__})")
    return number


def check_histories(histories: Any) -> None:
    """Raise `ValueError` unless it is a sequence of histories, each a sequence of ids in time order.

    A table would be read by its columns, and the rows of an array could be histories or interactions.
    """
    if (wrong := _no_sequence(histories)) is not None:
        raise ValueError(f"histories: expected a sequence of histories, each a sequence of item ids, got {wrong}")
    for number, history in enumerate(histories):
        if type(history) is not list and (wrong := _no_sequence(history)) is not None:
            expected = "expected a sequence of histories, each a sequence of item ids in time order"
            raise ValueError(f"histories: {expected}, got {wrong} as history {number}")


def check_sequence(values: Any, what: str) -> None:
    """Raise `ValueError` unless it is a sequence of one dimension."""
    if (wrong := _no_sequence(values)) is not None:
        raise ValueError(f"{what}: expected a sequence, got {wrong}")


def check_ids(ids: Any, what: str) -> None:
    """Raise `ValueError` unless it is a collection of ids, in any order; `what` names the argument."""
    wrong = None if isinstance(ids, Iterable) else repr(ids)[:60]
    if hasattr(ids, "__len__") and not isinstance(ids, Set):
        wrong = _no_sequence(ids)
    if wrong is not None:
        raise ValueError(f"{what}: expected item ids, such as a list, got {wrong}")


def _no_sequence(value: Any) -> str | None:
    """What a value is, if it is no sequence of one dimension: a generator could be read once only, a set has no order."""
    kind = type(value).__name__
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return f"the text {value[:60]!r}" if isinstance(value, str) else kind
    if isinstance(value, Mapping):
        return f"a {kind}: list(it.values()), if those are meant"
    if isinstance(value, Set):
        return f"a {kind}, which has no time order"
    if _is_table(value):
        return f"a table ({kind}): {TABLE}"
    if (axes := getattr(value, "ndim", 1)) != 1:
        rows = f"list(it), if its rows are histories; if they are interactions, {TABLE}"
        return f"an array of {axes} axes, shape {tuple(getattr(value, 'shape', ()))}: {rows}"
    return None if hasattr(value, "__len__") and isinstance(value, Iterable) else f"{value!r}"[:60]


def _is_table(value: Any) -> bool:
    """pandas, polars, Arrow and their like, arrays whose elements have fields. A single column, of one type, is none."""
    kind = type(value)
    if hasattr(kind, "dtype") or hasattr(kind, "type"):
        return getattr(getattr(value, "dtype", None), "names", None) is not None
    return any(hasattr(kind, name) for name in ("columns", "__dataframe__", "__arrow_c_stream__"))
