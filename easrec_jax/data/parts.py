"""Where the training, validation and test parts of each history end: by global time, by share of a history, by file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from easrec_jax.config.splits import FILES, LEAVE_ONE_OUT, parse_split
from easrec_jax.data.interactions import BLOCK, Interactions
from easrec_jax.data.split import Split


def parted(
    data: Interactions, split: str, *, times: np.ndarray | None = None, part: np.ndarray | None = None
) -> Interactions:
    """The interactions with `part_ends` by the rule `split`, and a note of who is evaluated; as they are for leave-one-out.

    time: events are ordered by time over all users; training ends where its share of them is reached, and so does validation.
    Events at the same time stay in one part, the later. ratio: so much of each user's history, rounded down. files: `part` is
    0, 1 or 2 for every event. `times` and `part` are [interactions] in the order of `data.items`. Raises `ValueError` where a
    part has no target, and without times for a split by time.
    """
    rule = parse_split(split)
    if rule.kind == LEAVE_ONE_OUT:
        return data
    until = np.cumsum(rule.shares)[:2]
    begin = data.offsets[:-1, None]
    if rule.kind == "ratio":
        ends = begin + np.floor(data.lengths[:, None] * until[None, :] + 1e-9).astype(
            np.int64
        )  # 0.1 + 0.7 is less than 0.8 in float64
    elif rule.kind == "time":
        if times is None:
            raise ValueError(
                f"data.split: {split} needs times, the data have none; data.time_column names their column"
            )
        ranks = np.floor(until * len(times) + 1e-9).astype(np.int64)
        bounds = np.array([order_statistic(times, int(rank)) for rank in ranks])
        ends = _ends(data, lambda events: np.searchsorted(bounds, times[events], side="right"))
    else:
        assert part is not None, "a split by files needs the file of each event"
        ends = _ends(data, lambda events: part[events])
    found = dataclasses.replace(data, part_ends=ends)
    notes = [_note(Split(found), split)]
    if rule.kind == FILES and times is not None:
        inside = np.repeat(np.arange(data.num_users), data.lengths)
        back = inside[1:][(times[1:] < times[:-1]) & (inside[1:] == inside[:-1])]  # only where a part begins
        if len(back):
            notes.append(
                f"{len(np.unique(back)):,} users have events that are older than those of an earlier part's file"
            )
    return dataclasses.replace(found, notes=(*data.notes, *notes))


def _ends(data: Interactions, part_of: Callable[[slice], np.ndarray]) -> np.ndarray:
    """`part_ends`, where `part_of` gives 0, 1 or 2 for each of some events."""
    counts = np.zeros((data.num_users, 3), np.int64)
    for first, last in data.blocks():
        part = part_of(slice(int(data.offsets[first]), int(data.offsets[last])))
        user = np.repeat(np.arange(last - first), np.diff(data.offsets[first : last + 1]))
        counts[first:last] = np.bincount(user * 3 + part, minlength=3 * (last - first)).reshape(-1, 3)
    return data.offsets[:-1, None] + np.cumsum(counts, 1)[:, :2]


def order_statistic(values: np.ndarray, rank: int, block: int = BLOCK) -> np.generic:
    """`np.sort(values)[rank]` of an array that may lie in a file: two values of a sample hold it between them, and what lies
    between these is sorted."""
    sample = np.sort(values[:: max(1, len(values) // block)])
    near, margin = rank * len(sample) // len(values), len(sample) // 64
    low, high = sample[max(0, near - margin)], sample[min(len(sample) - 1, near + margin)]
    pieces = [values[start : start + block] for start in range(0, len(values), block)]
    below, most = sum(int((piece < low).sum()) for piece in pieces), sum(int((piece <= high).sum()) for piece in pieces)
    if not below <= rank < most:  # the sample, every so-and-so-many-th value, may mislead
        return np.sort(values)[rank]
    at_most_low = sum(int((piece <= low).sum()) for piece in pieces)
    between = np.sort(np.concatenate([piece[(piece > low) & (piece < high)] for piece in pieces]))
    place = rank - at_most_low
    return low if place < 0 else between[place] if place < len(between) else high


def _note(split: Split, name: str) -> str:
    """Who is evaluated, and what is not trained, in a line."""
    users, lines = split.data.num_users, []
    for part, counts in split.counts().items():
        line = f"{counts['targets']:,} {part} targets of {counts['users']:,} users"
        if none := users - counts["users"]:
            line += f" ({none:,} have none and are not evaluated there)"
        if first := counts["users"] - counts["evaluated"]:
            line += f" ({first:,} have no earlier event and are not evaluated there)"
        lines.append(line)
    untrained = int(np.count_nonzero(split.popularity()[1:] == 0))
    return f"split {name}: {', '.join(lines)}; {untrained:,} items have no training event"
