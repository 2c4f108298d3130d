"""Times of events as small numbers that networks embed: how long since the event before, which hour, which weekday.

An event has three codes. The first is of the seconds since its user's event before, by powers of two. The others are of the hour and
the weekday, in UTC. A network reads the first code with each event. The codes of the *next* event are those of the request that it
answers: when something is asked for, what it is is not known, when it is asked for is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

UNKNOWN, FIRST = 0, 1  # codes of a gap that is not known, and of an event without one before it
BUCKETS = 32  # of gaps: below 1 s, 3 s, 7 s, ..., 68 years
GAP_ROWS = 2 + BUCKETS
HOURS, WEEKDAYS = (
    GAP_ROWS,
    GAP_ROWS + 1 + 24,
)  # the codes of an hour and of a weekday that is not known; the others follow
REQUEST_ROWS = {"gaps": GAP_ROWS, "calendar": WEEKDAYS + 1 + 7}
UNKNOWN_REQUEST = np.array([UNKNOWN, HOURS, WEEKDAYS], np.uint8)
UNITS = (1, 10**3, 10**6, 10**9)  # of a second, in times since 1970
EARLIEST, LATEST = 3.2e8, 2.2e9  # seconds since 1970: in 1980 and 2039


class Timed(NamedTuple):
    """What a network that reads times is given in place of inner ids: the ids, and codes."""

    items: Any  # int32 [batch length], left-aligned, 0 padding
    before: Any  # uint8 [batch length], of the gap before each event
    request: Any  # uint8 [batch length 3], of the request that follows each event


Events = Any  # inner ids [batch length], or `Timed`


class TimedHistory(NamedTuple):
    """One user's events with their times, and when something is asked for."""

    items: np.ndarray  # int32 [events], inner ids
    times: np.ndarray  # float64 [events], seconds since 1970
    now: float = np.nan  # the same; NaN: not known


def items_of(events: Events) -> Any:
    """The inner ids."""
    return events.items if isinstance(events, Timed | TimedHistory) else events


def replaced(events: Events, items: Any) -> Events:
    """The same events with other ids."""
    return events._replace(items=items) if isinstance(events, Timed) else items


def as_seconds(times: np.ndarray, source: Any = "times") -> np.ndarray:
    """float64 seconds since 1970 of times in seconds or in thousandths, millionths, billionths of one, told by their size.

    Raises `ValueError` for other numbers: their unit is not known.
    """
    low, high = times.min(), times.max()
    for unit in UNITS:
        if EARLIEST * unit <= low and high <= LATEST * unit:
            return times / np.float64(unit)
    raise ValueError(
        f"{source}: expected times between 1980 and 2039 for model.times, ISO 8601 or numbers of (milli-, micro-, nano-)seconds "
        f"since 1970, got {low} to {high}"
    )


def gap_codes(seconds: np.ndarray) -> np.ndarray:
    """uint8, of gaps in seconds of any shape; what goes back in time counts as no time, NaN is not known."""
    known = ~np.isnan(seconds)
    octave = np.floor(np.log2(1.0 + np.maximum(np.where(known, seconds, 0.0), 0.0)))
    return np.where(known, 2 + np.minimum(octave, BUCKETS - 1), UNKNOWN).astype(np.uint8)


def request_codes(seconds: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """uint8 [... 3], of requests at these times (seconds since 1970, NaN: not known) so many seconds after the event before."""
    known = ~np.isnan(seconds)
    hours = np.floor(np.where(known, seconds, 0.0) / 3600.0).astype(np.int64)
    hour, weekday = 1 + hours % 24, 1 + (hours // 24 + 3) % 7  # 1970 began on a Thursday
    return np.stack([gap_codes(gaps), HOURS + known * hour, WEEKDAYS + known * weekday], -1).astype(np.uint8)


def event_codes(seconds: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """uint8 [events 3] of histories one after the other: user u's events are at `seconds[ends[u]:ends[u + 1]]`; NaN: not known."""
    codes = request_codes(seconds, np.diff(seconds, prepend=seconds[:1]))
    begins = ends[:-1][ends[:-1] < ends[1:]]
    codes[begins, 0] = np.where(np.isnan(seconds[begins]), UNKNOWN, FIRST)
    return codes


def timed_flat(items: np.ndarray, ends: np.ndarray, times: np.ndarray, now: np.ndarray) -> Timed:
    """Histories one after the other with their codes: `request` is [users 3], of each user's request at `now` [users], NaN unknown.

    User u's events are at `items[ends[u]:ends[u + 1]]`; what follows the last is padding.
    """
    before = np.zeros(len(items), np.uint8)
    before[: len(times)] = event_codes(times, ends)[:, 0]
    last = np.full(len(now), np.nan)
    some = ends[1:] > ends[:-1]
    last[some] = times[ends[1:][some] - 1]
    return Timed(items, before, request_codes(now, now - last))
