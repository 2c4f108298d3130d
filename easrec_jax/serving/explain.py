"""Why an item: what its score loses when an event is left out of the history, for each event in turn and any network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from easrec_jax.data.interactions import IdMap
from easrec_jax.serving.one import OneNetwork
from easrec_jax.serving.shapes import flat, padded_ids


class Effect(NamedTuple):
    """One event of a history, and what it does to the score of an item."""

    place: int
    """Where in the history it stands, from 0."""
    item: str
    """Its raw id."""
    effect: float
    """By how much it raises the score: the score less that without this event; below 0 where it lowers it."""


def effects_of(one: OneNetwork, history: np.ndarray, item: int) -> np.ndarray:
    """float32 [events]: what each of the last N events of a history of inner ids adds to the score of an item.

    The score after the history, less that after the history without the event. Raises `ValueError` for fewer than two events.
    """
    if len(history) < 2:
        raise ValueError(f"history: expected 2 known events or more, to leave one out, got {len(history)}")
    read = range(max(len(history) - one.network.architecture.max_length, 0), len(history))
    hidden = one.hidden(*flat([history, *(np.delete(history, place) for place in read)]))
    vector = np.asarray(one.programs.vectors(one.weights, padded_ids(np.array([item], np.int32))))[0]
    scores = hidden @ vector
    return scores[0] - scores[1:]


def largest_first(item_ids: IdMap, history: np.ndarray, effects: np.ndarray) -> list[Effect]:
    """The effects of the last events of a history of inner ids, 0 being an unknown item, which has none; ties in their order."""
    places = np.flatnonzero(history)[-len(effects) :]
    named = map(Effect, places.tolist(), item_ids.decode(history[places]), effects.tolist())
    return sorted(named, key=lambda one: one.effect, reverse=True)
