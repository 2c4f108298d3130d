"""Raw ids to inner ids, and what becomes of those that the model does not know: skipped, an error, or popular items."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from easrec_jax.data.interactions import IdMap
from easrec_jax.serving.arguments import check_histories, check_ids

OnUnknown = str  # one of POLICIES
POLICIES = ("skip", "error", "popular")


def check_policy(on_unknown: OnUnknown) -> None:
    """Raise `ValueError` unless it is one of the policies."""
    if on_unknown not in POLICIES:
        raise ValueError(f"on_unknown: expected 'skip', 'error' or 'popular', got {on_unknown!r}")


def is_lost(known: int, unknown: int, on_unknown: OnUnknown) -> bool:
    """Whether a history of so many known and unknown items gets no answer: "skip" leaves it without any item.

    Every other one without a known item, one without any event too, is answered by popularity.
    """
    return not known and unknown > 0 and on_unknown == "skip"


def encode_ids(item_ids: IdMap, ids: Iterable[Any], on_unknown: OnUnknown, what: str) -> np.ndarray:
    """Inner ids of the argument `what`, int32 [ids], 0 where unknown: with a warning, or a `ValueError`."""
    check_ids(ids, what)
    ids = list(ids)
    inner = item_ids.encode(ids)
    if not inner.all():
        shown = _shown(ids, inner)
        if on_unknown == "error":
            raise ValueError(f"{what}: unknown items {shown}")
        warnings.warn(f"{what}: skipped {np.count_nonzero(inner == 0)} unknown items: {shown}", stacklevel=4)
    return inner


def encode_histories(item_ids: IdMap, histories: Sequence[Sequence[Any]], on_unknown: OnUnknown) -> list[np.ndarray]:
    """Inner ids of each history without the unknown ones: with a warning, or a `ValueError`."""
    check_policy(on_unknown)
    check_histories(histories)
    encoded, skipped, count, lost = [], [], 0, []
    for number, history in enumerate(histories):
        inner = item_ids.encode(history)
        known = inner[inner > 0]
        if unknown := len(inner) - len(known):
            shown = _shown(history, inner)
            if on_unknown == "error":
                raise ValueError(f"history {number}: unknown items {shown}")
            if is_lost(len(known), unknown, on_unknown):
                lost.append(f"history {number} ({shown})")
            else:
                skipped.append(shown)
                count += unknown
        encoded.append(known)
    if skipped:
        warnings.warn(f"skipped {count} unknown items: {', '.join(skipped[:5])}", stacklevel=3)
    if lost:
        more = ", ..." if len(lost) > 5 else ""
        warnings.warn(f"no known item, so no answer: {', '.join(lost[:5])}{more}", stacklevel=3)
    return encoded


def _shown(ids: Iterable[Any], inner: np.ndarray) -> str:
    """The first unknown ids in a few characters."""
    missing = [str(raw)[:60] for raw, known in zip(ids, inner, strict=True) if known == 0]
    return ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
