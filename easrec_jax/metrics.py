"""Recall, MRR and NDCG from ranks: the one definition. With one target a user, recall is the hit rate."""

from __future__ import annotations

import math

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


def averaged(ranks: list[dict[str, np.ndarray]], ks: tuple[int, ...] = (10,)) -> dict[str, dict[str, np.ndarray]]:
    """Gains of each user by protocol and metric, averaged over models; `ranks` is one {protocol: int [users]} a model."""
    found = {}
    for protocol in ranks[0] if ranks else ():
        each = [gains(of[protocol], ks) for of in ranks]
        found[protocol] = {name: np.mean([of[name] for of in each], 0) for name in each[0]}
    return found


def compare(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Mean of `second`, difference of the means, its standard error over users and a paired t-test's two-sided p.

    Both are [users]. With thousands of users t is normal, and p is that of the normal distribution.
    """
    difference = np.asarray(first, np.float64) - second
    error = float(np.std(difference, ddof=1) / len(difference) ** 0.5) if len(difference) > 1 else 0.0
    mean = float(difference.mean())
    p = math.erfc(abs(mean) / error / 2**0.5) if error > 0 else (1.0 if mean == 0 else 0.0)
    return {"mean": float(np.mean(second)), "difference": mean, "standard_error": error, "p": p}
