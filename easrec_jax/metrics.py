"""Recall, MRR and NDCG from ranks: the one definition. With one target a user, recall is the hit rate."""

from __future__ import annotations

import numpy as np


def gains(ranks: np.ndarray, ks: tuple[int, ...] = (10,)) -> dict[str, np.ndarray]:
    """Of each user: float64 [users] by metric. `ranks` is int [users]: how many items stand above the target, 0: first."""
    ranks = np.asarray(ranks)
    result = {}
    for k in ks:
        hit = ranks < k
        result[f"recall@{k}"] = np.where(hit, 1.0, 0.0)
        result[f"mrr@{k}"] = np.where(hit, 1.0 / (ranks + 1), 0.0)
        result[f"ndcg@{k}"] = np.where(hit, 1.0 / np.log2(ranks + 2), 0.0)
    return result


def metrics(ranks: np.ndarray, ks: tuple[int, ...] = (10,)) -> dict[str, float]:
    """Means of `gains` over users. Raises `ValueError` where there are none."""
    if np.size(ranks) == 0:
        raise ValueError("no ranks: expected at least one user to evaluate")
    return {name: float(np.mean(values)) for name, values in gains(ranks, ks).items()}
