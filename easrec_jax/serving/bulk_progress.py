"""What is said while everyone's recommendations are written, and afterwards."""

from __future__ import annotations

import sys
import time
import warnings

from easrec_jax.serving.part_answers import Done

PLAIN_SECONDS = 30.0  # between lines of progress where there is no terminal


class UserProgress:
    """`on_progress` of `batch.recommend_file`, within a block: a bar on a terminal, elsewhere a plain line now and then."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(unit=" users", unit_scale=True, desc="recommend", leave=False, delay=0.5, disable=None)
        self._said = time.perf_counter()

    def __call__(self, users: int, about: int) -> None:
        if self._bar.disable and time.perf_counter() - self._said > PLAIN_SECONDS:
            self._said = time.perf_counter()
            print(f"recommend: {users:,} of about {about:,} users", file=sys.stderr, flush=True)
        self._bar.total = max(users, about)
        self._bar.update(users - self._bar.n)

    def __enter__(self) -> UserProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def warn_of_unknown(done: Done, on_unknown: str) -> None:
    """Warnings that count the unknown items, and the users who have no others."""
    if done.unknown_events:
        warnings.warn(f"skipped {done.unknown_events:,} events of unknown items", stacklevel=2)
    if done.without_items:
        what = "answered by popularity" if on_unknown == "popular" else "left without recommendations"
        warnings.warn(f"{done.without_items:,} users without a known item: {what}", stacklevel=2)


def summary(done: Done, seconds: float) -> str:
    """How many users were answered, how fast, and how many parts were there before."""
    before = f" ({done.parts - done.written} of {done.parts} parts were there)" if done.written < done.parts else ""
    return f"{done.users:,} users in {seconds:.1f} s, {done.users / seconds:,.0f} users/s{before}"
