"""Times in requests: of the events of histories, and of what is asked now. Whole histories alone have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from easrec_jax.data.clock import TimedHistory
from easrec_jax.http.errors import Refused
from easrec_jax.http.service import Service
from easrec_jax.serving.when import timed_histories


def timed(
    service: Service, histories: Sequence[Sequence[str]], known: list[np.ndarray], times: Any, now: float | None
) -> list[np.ndarray | TimedHistory]:
    """The known items of histories with the times that a request gives; as they are where it gives none.

    What `Recommender.recommend` refuses is refused, a problem with the field that is at fault.
    """
    if times is not None and len(times) == len(
        histories
    ):  # of a history that was cut, those of the events that are read
        left_out = [getattr(history, "left_out", 0) for history in histories]
        times = [of[cut:] for of, cut in zip(times, left_out, strict=True)]
    try:
        return timed_histories(service.recommender, histories, known, times, now)
    except ValueError as error:
        where, _, rest = str(error).partition(": expected ")
        expected, _, got = rest.rpartition(", got ")
        raise Refused(where, expected or rest, got or "others") from None
