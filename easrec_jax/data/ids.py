"""Raw ids as text: the one rule for files, Python and HTTP."""

from __future__ import annotations

import operator
from decimal import Decimal
from typing import Any

import numpy as np

WHOLE = r"^-?\d+(\.0+)?$"  # text of a whole number, with the .0 that pandas adds to a column with missing values


def id_text(value: Any) -> str:
    """The text of an id: a whole number is that integer's (1.0 is "1"), text and other plain values are as they are.

    Raises `ValueError` saying why something is no id: None, NaN, true and false, fractions, and what holds other values.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (bool, np.bool_)):
        raise ValueError(f"expected an id, text or a whole number, got the truth value {value}")
    if isinstance(value, (float, np.floating, Decimal)):
        if not np.isfinite(float(value)):
            raise ValueError(f"expected an id, text or a whole number, got {value} (a missing value?)")
        if value != int(value):
            raise ValueError(f"expected an id, text or a whole number, got the fraction {value}")
        return str(int(value))
    try:
        return str(operator.index(value))
    except TypeError:
        pass
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        raise ValueError(f"expected an id, text or a whole number, got {value} (a missing value?)")
    if isinstance(value, (bytes, bytearray)) or hasattr(value, "__iter__"):
        raise ValueError(f"expected an id, text or a whole number, got {type(value).__name__} {str(value)[:60]!r}")
    return str(value)
