"""Times that a caller gives: of the events of histories, and of the request (`now`), in seconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from easrec_jax.data.clock import EARLIEST, LATEST, TimedHistory
from easrec_jax.data.interactions import IdMap
from easrec_jax.serving.arguments import check_sequence

EXPECTED = "seconds since 1970 (of 1980 to 2039)"


@runtime_checkable
class Reads(Protocol):
    """A recommender, as far as it is asked here."""

    item_ids: IdMap
    architecture: Any


def check_reads_times(architecture: Any, *given: Any) -> None:
    """Raise `ValueError` where times are given to a model that reads none."""
    if not architecture.reads_times and any(value is not None for value in given):
        raise ValueError("times, now: expected none, this model reads no times (it was trained without --model.times)")


def seconds(values: Any, where: str) -> np.ndarray:
    """float64 of numbers that are seconds since 1970; `ValueError` names `where` and the first that is not."""
    check_sequence(values, where)
    try:
        found = np.asarray(values, np.float64).reshape(len(values))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where}: expected numbers, {EXPECTED}, got {str(values)[:80]}") from None
    wrong = ~((found >= EARLIEST) & (found <= LATEST))
    if wrong.any():
        raise ValueError(f"{where}: expected {EXPECTED}, got {found[np.argmax(wrong)]:g} at place {np.argmax(wrong)}")
    return found


def timed_histories(
    model: Reads, histories: Sequence[Sequence[Any]], encoded: list[np.ndarray], times: Any, now: Any
) -> list[Any]:
    """The `encoded` histories of known items with the times of these, and of the request; as they are where none are given.

    `times` has a time for each event of each history, none earlier than the one before; `now` is one time, or one for each history,
    not before its last event, and is not known where it is None. Raises `ValueError` where the model reads no times.
    """
    check_reads_times(model.architecture, times, now)
    if times is None and now is None:
        return encoded
    if times is None:
        raise ValueError("times: expected those of the histories beside now, got none")
    check_sequence(times, "times")
    if len(times) != len(histories):
        raise ValueError(f"times: expected those of {len(histories)} histories, got {len(times)}")
    asked, found = of_users(now, len(histories), "now"), []
    for number, (history, known) in enumerate(zip(histories, encoded, strict=True)):
        stamps = seconds(times[number], f"times[{number}]")
        if len(stamps) != len(history):
            raise ValueError(f"times[{number}]: expected {len(history)}, one for each event, got {len(stamps)}")
        check_order(stamps, float(asked[number]), number)
        kept = stamps if len(known) == len(history) else stamps[model.item_ids.encode(history) > 0]
        found.append(TimedHistory(known, kept, float(asked[number])))
    return found


def of_users(values: Any, users: int, what: str) -> np.ndarray:
    """float64 [users] of one time for all, or one for each, of which some may be None: NaN, not known."""
    found = np.full(users, np.nan)
    if values is None:
        return found
    if np.ndim(values) == 0:
        values = [values] * users
    check_sequence(values, what)
    if len(values) != users:
        raise ValueError(f"{what}: expected one time, or {users}, one for each user, got {len(values)}")
    given = [place for place, value in enumerate(values) if value is not None]
    found[given] = seconds([values[place] for place in given], what)
    return found


def check_after(times: np.ndarray, last: np.ndarray, what: str) -> None:
    """Raise `ValueError` where one of the times [users] is before the user's last event; NaN in either is not known."""
    early = np.flatnonzero(times < last)
    if len(early):
        user = int(early[0])
        raise ValueError(
            f"{what}: expected {last[user]:.17g} or later, the last time of user {user}, got {times[user]:.17g}"
        )


def stamps_of(model: Reads, stream: Any, values: Any, what: str) -> np.ndarray | None:
    """float64 [users], times of further events of a stream's users, or of requests; None where none are given."""
    check_reads_times(model.architecture, values)
    if values is None:
        return None
    stamps = of_users(values, len(stream.count), what)
    check_after(stamps, stream.clock.last, what)
    return stamps


def check_order(stamps: np.ndarray, now: float, number: int) -> None:
    """Raise `ValueError` where a history goes back in time, or is not over yet at `now`."""
    back = np.flatnonzero(stamps[1:] < stamps[:-1])
    if len(back):
        place = int(back[0]) + 1
        raise ValueError(
            f"times[{number}]: expected times in order, got {stamps[place]:.17g} after {stamps[place - 1]:.17g} at place {place}"
        )
    if len(stamps) and now < stamps[-1]:
        raise ValueError(f"now: expected {stamps[-1]:.17g} or later, the last time of history {number}, got {now:.17g}")
