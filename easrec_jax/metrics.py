"""Recall, MRR and NDCG from ranks: the one definition. With one target a user, recall is the hit rate."""

from __future__ import annotations

import numpy as np


def metrics(ranks: np.ndarray, ks: tuple[int, ...] = (10,)) -> dict[str, float]:
    """Means over users. `ranks` is int [users]: how many items stand above the target, 0 for the first place."""
    ranks = np.asarray(ranks)
    if ranks.size == 0:
        raise ValueError("no ranks: expected at least one user to evaluate")
    result = {}
    for k in ks:
        hit = ranks < k
        result[f"recall@{k}"] = float(np.mean(hit))
        result[f"mrr@{k}"] = float(np.mean(np.where(hit, 1.0 / (ranks + 1), 0.0)))
        result[f"ndcg@{k}"] = float(np.mean(np.where(hit, 1.0 / np.log2(ranks + 2), 0.0)))
    return result
