"""Recall, MRR and NDCG from ranks, and tests of their differences: the one definition. With one target a user, recall is the
hit rate."""

from __future__ import annotations

import numpy as np


def gains(ranks: np.ndarray, ks: tuple[int, ...] = (10,)) -> dict[str, np.ndarray]:
    """Of each user: float64 [users] by metric.

    `ranks` is int [users], how many items stand above the target (0: first), or int [users 2], that and how many score the
    same. Then the gain is what a random order of the equal ones gives on average: the mean over the places rank, ...,
    rank + ties.
    """
    ranks = np.asarray(ranks)
    first, ties = (ranks[:, 0], ranks[:, 1]) if ranks.ndim == 2 else (ranks, np.zeros_like(ranks))
    result = {}
    for k in ks:
        places = np.arange(k)
        begin, end = np.minimum(first, k), np.minimum(first + ties + 1, k)  # of the places that count
        for name, gain in (("recall", np.ones(k)), ("mrr", 1.0 / (places + 1)), ("ndcg", 1.0 / np.log2(places + 2))):
            total = np.concatenate([[0.0], np.cumsum(gain)])
            alone = np.concatenate([gain, [0.0]])[begin]
            result[f"{name}@{k}"] = np.where(ties > 0, (total[end] - total[begin]) / (ties + 1), alone)
    return result


def metrics(ranks: np.ndarray, ks: tuple[int, ...] = (10,)) -> dict[str, float]:
    """Means of `gains` over users. Raises `ValueError` where there are none."""
    if np.size(ranks) == 0:
        raise ValueError("no ranks: expected at least one user to evaluate")
    return {name: float(np.mean(values)) for name, values in gains(ranks, ks).items()}


def gains_of_seeds(ranks: list[dict[str, np.ndarray]], ks: tuple[int, ...] = (10,)) -> dict[str, dict[str, np.ndarray]]:
    """Gains by protocol and metric, float64 [models users]; `ranks` is one {protocol: ranks} a model."""
    found = {}
    for protocol in ranks[0] if ranks else ():
        each = [gains(of[protocol], ks) for of in ranks]
        found[protocol] = {name: np.stack([of[name] for of in each]) for name in each[0]}
    return found


def compare(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Mean of `second`, difference of the means, its standard error over users and a paired t-test's two-sided p.

    Both are [users].
    """
    difference = np.asarray(first, np.float64) - second
    error = float(np.std(difference, ddof=1) / len(difference) ** 0.5) if len(difference) > 1 else 0.0
    mean = float(difference.mean())
    p = t_test(mean, error, float(len(difference) - 1))
    return {"mean": float(np.mean(second)), "difference": mean, "standard_error": error, "p": p}


def compare_seeds(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """`compare` of two models by the gains of their seeds, [seeds users] each: users' and seeds' variance together.

    The squared standard error is that over users, each averaged over the seeds, plus each model's variance between seeds over
    their number; p is of Student's t with the degrees of freedom of the two parts (Welch and Satterthwaite). A model of one
    seed has no variance between seeds that one could know, and then p knows the users' alone.
    """
    found = compare(np.mean(first, 0), np.mean(second, 0))
    users = float(np.shape(first)[1] - 1)
    parts = [(found["standard_error"] ** 2, users)]
    for model in (first, second):
        if (seeds := len(model)) > 1:
            parts.append((float(np.var(np.mean(model, 1), ddof=1)) / seeds, seeds - 1))
    variance = float(sum(part for part, _ in parts))
    below = sum(part**2 / free for part, free in parts if part)
    error, freedom = variance**0.5, float(variance**2 / below) if below else users
    return found | {"standard_error": error, "p": t_test(found["difference"], error, freedom)}


def t_test(difference: float, error: float, freedom: float) -> float:
    """Two-sided p of a difference with this standard error by Student's t; 1 or 0 where nothing varies."""
    if not error > 0:
        return 1.0 if difference == 0 else 0.0
    from scipy.special import stdtr  # JAX brings SciPy; its own betainc is float32

    return float(2.0 * stdtr(freedom, -abs(difference) / error))


def holm(ps: list[float]) -> list[float]:
    """Holm's correction of the p of several tests; nan, where there is no test, stays and is not counted."""
    corrected, highest = [float("nan")] * len(ps), 0.0
    known = sorted((p, n) for n, p in enumerate(ps) if p == p)
    for place, (p, n) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - place)))
        corrected[n] = highest
    return corrected
