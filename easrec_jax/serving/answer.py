"""From device calls to answers: what may be recommended, what comes back and is it finite, popular items, raw ids."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from jax import Array

from easrec_jax.data.clock import Events
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import item_table
from easrec_jax.serving.arguments import check_ids
from easrec_jax.serving.ids import OnUnknown, encode_ids
from easrec_jax.serving.programs import Programs

T = TypeVar("T")
Answers = list[list[tuple[str, float]]]

AHEAD = 2  # calls that are on the device while the host works


def offsets_of(num_items: int, allow: np.ndarray | None, deny: np.ndarray | None) -> np.ndarray | None:
    """float32 [items + 1] to add to all scores: 0 for what may be recommended, -inf for the rest; None: all may.

    `allow` and `deny` are inner ids, None where nothing is said; 0, an unknown item, changes nothing.
    """
    if allow is None and deny is None:
        return None
    offsets = np.full(num_items + 1, 0.0 if allow is None else -np.inf, np.float32)
    if allow is not None:
        offsets[allow] = 0.0
    if deny is not None:
        offsets[deny] = -np.inf
    return offsets


def offsets_of_ids(
    item_ids: IdMap, allow: Iterable[Any] | None, deny: Iterable[Any] | None, on_unknown: OnUnknown
) -> np.ndarray | None:
    """`offsets_of` raw ids; unknown ones in `deny` never are recommended anyway."""
    allowed = denied = None
    if allow is not None:
        allowed = encode_ids(item_ids, allow, on_unknown, "allow")
    if deny is not None:
        check_ids(deny, "deny")
        denied = item_ids.encode(list(deny))
    return offsets_of(len(item_ids), allowed, denied)


def by_popularity(popularity: np.ndarray) -> np.ndarray:
    """Inner ids, int32 [items], of interactions by inner id [items + 1]: most first, of equals the lower id."""
    return np.argsort(-popularity[1:], kind="stable").astype(np.int32) + 1


def most_popular(ranking: np.ndarray, k: int, offsets: np.ndarray | None = None) -> np.ndarray:
    """The first k of `by_popularity` that may be recommended; fewer where no more may."""
    allowed = ranking if offsets is None else ranking[np.isfinite(offsets[ranking])]
    return allowed[:k]


def pipelined(calls: Iterable[T]) -> Iterator[T]:
    """The calls, begun before they are waited for: the host works while the device computes, memory stays bounded."""
    begun: deque[T] = deque()
    for call in calls:
        begun.append(call)
        if len(begun) > AHEAD:
            yield begun.popleft()
    yield from begun


def finite(scores: np.ndarray) -> np.ndarray:
    """The scores, -inf being an item that may not be recommended. Raises `FloatingPointError` on NaN and on infinity."""
    if not scores.max(initial=-np.inf) < np.inf:  # NaN too
        raise FloatingPointError("the model's scores are NaN or infinite: its weights are too large, or damaged")
    return scores


def fetched(top: tuple[Array, Array], rows: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores, inner ids) of a device call, on the host: without its padding, [rows k] each."""
    scores, best = top
    return finite(np.asarray(scores)[:rows, :k]), np.asarray(best)[:rows, :k]


def hidden_states(
    programs: Programs, weights: dict, batches: Iterable[tuple[np.ndarray, Events]], users: int
) -> np.ndarray:
    """float32 [users width] after the histories in `batches` (of `shapes.user_batches`); zeros for who is in none."""
    states = np.zeros((users, item_table(weights).shape[1]), np.float32)
    calls = ((index, programs.hidden(weights, batch)) for index, batch in batches)
    for index, found in pipelined(calls):
        states[index] = finite(np.asarray(found)[: len(index)])
    return states


def named(item_ids: IdMap, scores: np.ndarray, best: np.ndarray) -> Answers:
    """Raw ids and scores of each row of (scores, inner ids), [users k] each, without the -inf ones."""
    real = np.isfinite(scores)
    names = iter(item_ids.decode(best[real]))
    return [[(next(names), score) for score in row[ok].tolist()] for row, ok in zip(scores, real, strict=True)]
