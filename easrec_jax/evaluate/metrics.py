"""Metrics from ranks, and tests of their differences: the one definition.

With one target a user, recall is the hit rate, and MRR the mean average precision. With several the ranked list holds all of
them, and with T targets of a user

- recall@K: targets among the first K, over T; hit@K: whether there is one;
- mrr@K: 1 / place of the first target, 0 where that is below K; map@K: precision at the place of each target among the first
  K, their sum over min(K, T);
- ndcg@K: the sum of 1 / log2(place + 1) over the targets among the first K, over that of min(K, T) targets on top.
"""

from __future__ import annotations

import numpy as np


def gains(ranks: np.ndarray, ks: tuple[int, ...] = (10,)) -> dict[str, np.ndarray]:
    """Of each user: float64 [users] by metric.

    `ranks` is int [users], how many items stand above the target (0: first), or int [users 2], that and how many score the
    same. Then the gain is what a random order of the equal ones gives on average: the mean over the places rank, ...,
    rank + ties. Of several targets it is int [users 2 targets], counts of items that are no targets, -1 where there are no more;
    then equal ones, targets among them, are in a random order too.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim == 3:
        return _gains_of_sets(ranks, ks)
    first, ties = (ranks[:, 0], ranks[:, 1]) if ranks.ndim == 2 else (ranks, np.zeros_like(ranks))
    result = {}
    for k in ks:
        places = np.arange(k)
        for name, gain in (("recall", np.ones(k)), ("mrr", 1.0 / (places + 1)), ("ndcg", 1.0 / np.log2(places + 2))):
            result[f"{name}@{k}"] = _mean_gain(gain, first, ties + 1)
    return result


def _mean_gain(gain: np.ndarray, first: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The mean of `gain` [k] over the places first, ..., first + width - 1; below k there is none."""
    k = len(gain)
    begin, end = np.minimum(first, k), np.minimum(first + width, k)  # of the places that count
    total = np.concatenate([[0.0], np.cumsum(gain)])
    alone = np.concatenate([gain, [0.0]])[begin]
    return np.where(width > 1, (total[end] - total[begin]) / width, alone)


def _gains_of_sets(ranks: np.ndarray, ks: tuple[int, ...]) -> dict[str, np.ndarray]:
    """`gains` of several targets a user.

    Targets that score the same, and the items that score as they do, are a group: m targets on n places from `first` on. Of
    these each target has any place with the same probability, and x places into the group x (m - 1) / (n - 1) of the other
    targets stand above on average.
    """
    users, _, most = ranks.shape
    last = np.where(ranks[:, 0] < 0, np.iinfo(np.int64).max, ranks[:, 0])  # absent ones
    order = np.lexsort((ranks[:, 1], last), axis=1)
    above, equal = (np.take_along_axis(ranks[:, n], order, 1) for n in (0, 1))
    real, count = above >= 0, (above >= 0).sum(1)
    number = np.broadcast_to(np.arange(most), above.shape)
    fresh = np.ones_like(real)
    fresh[:, 1:] = (above[:, 1:] != above[:, :-1]) | (equal[:, 1:] != equal[:, :-1])
    before = np.maximum.accumulate(np.where(fresh, number, 0), 1)  # targets above the group
    user = np.arange(users)[:, None]
    size = np.bincount((user * most + before).ravel(), minlength=users * most).reshape(users, most)
    size = np.take_along_axis(size, before, 1)
    first, width = above + before, size + np.where(real, equal, 0)
    result = {}
    for k in ks:
        best, places = np.minimum(count, k), np.arange(k)
        discount = 1.0 / np.log2(places + 2)

        def total(gain: np.ndarray) -> np.ndarray:
            return np.where(real, _mean_gain(gain, first, width), 0.0).sum(1)

        hit, reciprocal = _first_hit(first[:, 0], size[:, 0], width[:, 0], k)
        precision = np.zeros(real.shape)
        for place in range(k):
            into = place - first
            here = real & (into >= 0) & (into < width)
            others = before + into * (size - 1) / np.maximum(width - 1, 1)
            precision += np.where(here, (1 + others) / width / (place + 1), 0.0)
        result |= {
            f"recall@{k}": total(np.ones(k)) / count,
            f"hit@{k}": hit,
            f"mrr@{k}": reciprocal,
            f"map@{k}": precision.sum(1) / best,
            f"ndcg@{k}": total(discount) / np.cumsum(discount)[best - 1],
        }
    return result


def _first_hit(first: np.ndarray, size: np.ndarray, width: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The probability that a target is among the first k, and the mean of 1 / its place; of the first group, `size` targets on
    `width` places."""
    hit, reciprocal, none_yet = np.zeros(len(first)), np.zeros(len(first)), np.ones(len(first))
    for into in range(k):
        chance = none_yet * np.where(into < width, np.minimum(size / np.maximum(width - into, 1), 1.0), 0.0)
        counts = first + into < k
        hit += np.where(counts, chance, 0.0)
        reciprocal += np.where(counts, chance / (first + into + 1), 0.0)
        none_yet = none_yet - chance
    return hit, reciprocal


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
