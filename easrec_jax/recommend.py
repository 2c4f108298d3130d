"""Recommending from a saved model: raw ids in, raw ids and scores out. Needs no training code and no optimiser."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.artifact import Model, load_model
from easrec_jax.data.batches import bucket_lengths
from easrec_jax.layers import apply
from easrec_jax.network import Network, item_table

MAX_ROWS = 256  # users a device call


class Recommender:
    """A trained network with its ids. Shapes are bucketed, so requests of any size compile a few programs once."""

    def __init__(self, model: Model) -> None:
        self.architecture = model.architecture
        self.item_ids = model.item_ids
        self.results = model.results
        self.network: Any = Network(model.architecture, len(model.item_ids))
        self.weights = jax.device_put(model.weights)
        self.popularity = model.popularity

    @classmethod
    def load(cls, folder: str | Path) -> Recommender:
        """Read a model folder that `bin/retrain.py` wrote; errors name the file at fault."""
        return cls(load_model(folder))

    def recommend(
        self,
        histories: Sequence[Sequence[Any]],
        k: int = 10,
        *,
        exclude_seen: bool = True,
        on_unknown: str = "skip",
    ) -> list[list[tuple[str, float]]]:
        """The k best next items of each history, as (raw item id, score), best first.

        A history is a time-ordered sequence of raw item ids, of any user, known or new; its last N events are read.
        `exclude_seen` leaves out the items of the whole history. Unknown ids: "skip" warns and uses the rest, "error"
        raises, "popular" is "skip" but answers a history without any known id by popularity (scores: interactions).
        Raises `ValueError` on a history without a known id, and on a k that is not 1 to the number of items.
        """
        if not 1 <= k <= len(self.item_ids):
            raise ValueError(f"k: expected 1 to {len(self.item_ids)} (the number of items), got {k}")
        encoded = self._encode(histories, on_unknown)
        results: list[list[tuple[str, float]]] = [[] for _ in encoded]
        lengths = np.array([min(len(h), self.architecture.max_length) for h in encoded], np.int64)
        for number in np.flatnonzero(lengths == 0):
            results[number] = self._popular(k)
        buckets = np.searchsorted(bucket_lengths(self.architecture.max_length), lengths)
        for bucket in np.unique(buckets[lengths > 0]):
            chosen = np.flatnonzero((buckets == bucket) & (lengths > 0))
            for start in range(0, len(chosen), MAX_ROWS):
                self._answer(chosen[start : start + MAX_ROWS], int(bucket), encoded, k, exclude_seen, results)
        return results

    def _encode(self, histories: Sequence[Sequence[Any]], on_unknown: str) -> list[np.ndarray]:
        if on_unknown not in ("skip", "error", "popular"):
            raise ValueError(f"on_unknown: expected 'skip', 'error' or 'popular', got {on_unknown!r}")
        if isinstance(histories, (str, bytes)) or any(isinstance(h, (str, bytes)) for h in histories):
            raise ValueError("histories: expected a sequence of histories, each a sequence of item ids")
        encoded, unknown = [], []
        for number, history in enumerate(histories):
            ids = self.item_ids.encode(history)
            missing = [str(raw) for raw, inner in zip(history, ids, strict=True) if inner == 0]
            if missing and on_unknown == "error":
                raise ValueError(f"history {number}: unknown items {missing[:5]}")
            if len(missing) == len(ids) and on_unknown != "popular":
                raise ValueError(
                    f"history {number}: no known item in {missing[:5]}; expected at least one the model was trained on"
                )
            unknown += missing
            encoded.append(ids[ids > 0])
        if unknown:
            shown = ", ".join(repr(x[:60]) for x in unknown[:5])
            warnings.warn(f"skipped {len(unknown)} unknown items: {shown}", stacklevel=3)
        return encoded

    def _popular(self, k: int) -> list[tuple[str, float]]:
        best = np.argsort(-self.popularity[1:], kind="stable")[:k] + 1
        return list(zip(self.item_ids.decode(best), self.popularity[best].astype(float).tolist(), strict=True))

    def _answer(self, chosen: np.ndarray, bucket: int, encoded, k: int, exclude_seen: bool, results) -> None:
        length = bucket_lengths(self.architecture.max_length)[bucket]
        rows = 1 << (len(chosen) - 1).bit_length()
        items = np.zeros((rows, length), np.int32)
        longest = max(len(encoded[n]) for n in chosen)
        width = length if longest <= length else 1 << (longest - 1).bit_length()
        seen = np.zeros((rows, width), np.int32)
        for row, number in enumerate(chosen):
            history = encoded[number]
            items[row, : min(len(history), length)] = history[-length:]
            if exclude_seen:
                seen[row, : len(history)] = history
        top = min(1 << (k - 1).bit_length(), len(self.item_ids))
        scores, best = (np.asarray(x) for x in _top_items(self.weights, items, seen, network=self.network, k=top))
        for row, number in enumerate(chosen):
            real = np.isfinite(scores[row, :k])
            names = self.item_ids.decode(best[row, :k][real])
            results[number] = list(zip(names, scores[row, :k][real].tolist(), strict=True))


@partial(jax.jit, static_argnames=("network", "k"))
def _top_items(weights: dict, items: Array, seen: Array, *, network: Network, k: int) -> tuple[Array, Array]:
    """(scores, inner ids) of the k best items, [batch k] each; items of `seen` and padding score -inf."""
    hidden = apply(network, weights, items, method=Network.encode_last)
    scores = hidden @ item_table(weights).T
    scores = scores.at[jnp.arange(items.shape[0])[:, None], seen].set(-jnp.inf)
    best, best_items = jax.lax.top_k(scores.at[:, 0].set(-jnp.inf), k)
    return best, best_items
