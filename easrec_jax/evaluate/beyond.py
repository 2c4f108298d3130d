"""What lists of recommended items are like, beside how often they are right: coverage, novelty, popularity, diversity."""

from __future__ import annotations

import numpy as np

from easrec_jax.data.features import ItemFeatures

POPULAR = 0.01  # share of the items that counts as popular
CHUNK = 64  # lists whose features are in memory at once


def beyond_accuracy(
    lists: np.ndarray, popularity: np.ndarray, ks: tuple[int, ...], features: ItemFeatures | None = None
) -> dict[str, float]:
    """Of the first K of lists [users, at least K], inner ids and 0 where there are no more; `popularity` is [items + 1].

    - coverage@K: share of all items that are in some list;
    - novelty@K: mean of -log2 of an item's share of the training interactions; one without any counts as one with one;
    - popular@K: share of the listed that are among the most popular hundredth of the items, at least one;
    - diversity@K: mean of 1 - Jaccard similarity of two items' feature values, over the pairs of a list that have some, then
      over lists. Only with `features`.
    """
    items = len(popularity) - 1
    surprise = -np.log2(np.maximum(popularity, 1) / max(popularity.sum(), 1))
    popular = np.zeros(items + 1, bool)
    popular[1 + np.argsort(-popularity[1:], kind="stable")[: max(1, round(POPULAR * items))]] = True
    found = {}
    for k in ks:
        first = lists[:, :k]
        listed = first[first > 0]
        found[f"coverage@{k}"] = len(np.unique(listed)) / items
        found[f"novelty@{k}"] = float(surprise[listed].mean())
        found[f"popular@{k}"] = float(popular[listed].mean())
        if features is not None:
            found[f"diversity@{k}"] = diversity(first, features)
    return found


def diversity(lists: np.ndarray, features: ItemFeatures) -> float:
    """Mean over lists [users K] of the mean distance of their pairs; nan where no list has a pair of items with features."""
    begins = np.cumsum([0, *(len(words) for words in features.vocabulary)])
    means = []
    for at in range(0, len(lists), CHUNK):
        chunk = lists[at : at + CHUNK]
        marks = np.zeros((*chunk.shape, begins[-1] + 1), np.float32)  # column 0: filling
        user, place = np.ogrid[: chunk.shape[0], : chunk.shape[1]]
        for begin, values in zip(begins, features.values, strict=False):
            of = values[chunk]
            marks[user[..., None], place[..., None], np.where(of > 0, begin + of, 0)] = 1.0
        marks[..., 0] = 0.0
        both, size = marks @ marks.swapaxes(1, 2), marks.sum(2)
        pairs = (size[:, :, None] > 0) & (size[:, None, :] > 0) & (place < place.T)[None]
        distance = 1.0 - both / np.maximum(size[:, :, None] + size[:, None, :] - both, 1.0)
        count = pairs.sum((1, 2))
        means.append(np.where(pairs, distance, 0.0).sum((1, 2))[count > 0] / count[count > 0])
    each = np.concatenate(means)
    return float(each.mean()) if len(each) else float("nan")
