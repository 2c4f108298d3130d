"""The order of a history: by time, and among events of one user at the same time by a fixed hash, never by the row.

So the order of a file's rows counts for nothing where there are times, and ties have no pattern that a model could learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

EqualTimes = Literal["mixed", "file"]


def check_equal_times(value: str) -> None:
    """Raise `ValueError` unless `value` says what to do with equal times."""
    if value not in get_args(EqualTimes):
        raise ValueError(f"equal_times: expected one of {', '.join(get_args(EqualTimes))}, got {value!r}")


def history_order(
    user: np.ndarray,
    item: np.ndarray,
    times: np.ndarray | None,
    raw_users: pl.Series,
    raw_items: pl.Series,
    equal_times: str = "mixed",
) -> tuple[np.ndarray, int]:
    """The rows by user, then time; ties by a hash of user and item (mixed) or by row (file). And how many rows are tied.

    `user` and `item` are codes [rows] into the raw ids; without `times` the row order is the time order.
    """
    if times is None:
        return np.argsort(user, kind="stable"), 0
    order = np.lexsort((times, user))
    again = (user[order[1:]] == user[order[:-1]]) & (times[order[1:]] == times[order[:-1]])
    tied = np.concatenate([[False], again]) | np.concatenate([again, [False]])
    if equal_times == "mixed" and again.any():
        rows = order[tied]
        group = np.cumsum(~np.concatenate([[False], again]))[tied]
        keys = mix(_hashes(user[rows], raw_users) + mix(_hashes(item[rows], raw_items)))
        order[tied] = rows[np.lexsort((keys, group))]
    return order, int(np.count_nonzero(tied))


def _hashes(codes: np.ndarray, raw: pl.Series) -> np.ndarray:
    """The hash of each code's raw id, uint64 [codes]."""
    there, which = np.unique(codes, return_inverse=True)
    return text_hash(list(map(str, raw.gather(there).to_list())))[which]


def text_hash(texts: Sequence[str]) -> np.ndarray:
    """A 64-bit hash of each text, uint64 [texts]: sums of one pseudo-random number a byte and place (tabulation hashing)."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    ends = np.cumsum(lengths)
    place = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    drawn = mix((place * 256 + np.frombuffer(b"".join(encoded), np.uint8)).astype(np.uint64))
    summed = np.concatenate([np.zeros(1, np.uint64), np.cumsum(drawn, dtype=np.uint64)])
    return mix(summed[ends] - summed[ends - lengths])


def mix(x: np.ndarray) -> np.ndarray:
    """splitmix64 of uint64 numbers (Steele, Lea and Flood 2014): each bit of the input moves half of the output's."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
