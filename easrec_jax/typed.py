"""The fields of a settings dataclass, held to when one is made: numbers of NumPy's types become Python's, others are named."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np


def check(condition: bool, name: str, expected: str, value: Any) -> None:
    """Raise `ValueError` naming the field `name` unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def check_least(settings: Any, part: str, least: int, *names: str) -> None:
    """`check` that these fields of the settings `part` are at least so much."""
    for name in names:
        value = getattr(settings, name)
        check(value >= least, f"{part}.{name}", f"at least {least}" if least else "0 or more", value)


def settle_types(settings: Any, part: str) -> None:
    """For `__post_init__` of a frozen dataclass: each field as its type says; `ValueError` names `part.field` where that cannot be.

    Whole numbers are no bool and no 3.0, other numbers are finite, lists are taken for tuples.
    """
    hints = _hints(type(settings))
    for field in dataclasses.fields(settings):
        name = f"{part}.{field.name}" if part else field.name
        object.__setattr__(settings, field.name, _settled(getattr(settings, field.name), hints[field.name], name))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _settled(value: Any, kind: Any, name: str) -> Any:
    if get_origin(kind) is UnionType:  # X | None
        return None if value is None else _settled(value, get_args(kind)[0], name)
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        kinds = get_args(kind)
        if kinds[-1] is ...:
            kinds = kinds[:1] * len(value)
        if len(kinds) == len(value):
            return tuple(_settled(x, of, name) for x, of in zip(value, kinds, strict=True))
    if kind is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if kind is float and isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if get_origin(kind) is Literal and isinstance(value, str | Integral) and not isinstance(value, bool):
        for known in get_args(kind):
            if value == known:
                return known
    if kind not in (int, float) and isinstance(kind, type) and isinstance(value, kind):
        return value
    if kind is bool and isinstance(value, np.bool_):
        return bool(value)
    raise ValueError(f"{name}: expected {_words(kind)}, got {value!r} ({type(value).__name__})")


def _words(kind: Any) -> str:
    words = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        count = "values" if kinds[-1] is ... else f"{len(kinds)} values"
        return f"{count}, each {_words(kinds[0])}"
    return words.get(kind) or f"a {kind.__name__}"
