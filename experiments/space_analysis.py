"""What finished cells say of the whole space: regret, prices and rank correlation of every pick, as plain numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np

from easrec_jax.config import Config
from experiments.compare import pareto
from experiments.training import FREE, chosen_alone

PRICES = ("cpu_seconds", "training_flops")


class TrainedAlone(NamedTuple):
    """Every network of the space trained alone."""

    validation: np.ndarray  # NDCG@10, [seeds candidates depths]
    test: np.ndarray  # the same on test items
    prices: dict[str, np.ndarray]  # [seeds candidates depths] of each of PRICES
    flops: np.ndarray  # of a request, [candidates depths]
    admitted: np.ndarray  # bool [candidates depths]: within the budget

    @property
    def mean(self) -> np.ndarray:
        """Validation NDCG@10 over seeds, by which picks are judged, [candidates depths]."""
        return self.validation.mean(0)


def analyse(alone: list, searches: list[dict], flops: np.ndarray, seconds: np.ndarray, config: Config) -> dict:
    """Everything that the tables and the picture show, as plain numbers.

    `alone` are cells, [seeds][candidates][depths], `searches` cells with their `strategy` and `seed`, `flops` and `seconds` of
    a request are [candidates depths].
    """
    by, budget = config.evaluate.select_by, config.search.budget
    validation, test = (_of_cells(alone, lambda cell, of=of: cell[of][by]["ndcg@10"]) for of in ("validation", "test"))
    prices = {key: _of_cells(alone, lambda cell, key=key: cell[key]) for key in PRICES}
    found = TrainedAlone(validation, test, prices, flops, flops <= (np.inf if budget is None else budget * flops.max()))
    best = np.unravel_index(np.argmax(np.where(found.admitted, found.mean, -1.0)), flops.shape)
    oracle = {
        "candidate": int(best[0]), "depth": int(best[1]) + 1, "validation": found.mean[best], "flops": flops[best]
    }  # fmt: skip
    return {
        "seeds": len(alone),
        "protocol": by,
        "budget": budget,
        "oracle": oracle,
        "random": random_expected(validation, found.mean, found.admitted, prices["training_flops"]),
        "ceiling": tau_between_seeds(validation[:, found.admitted]),
        "ceiling_all": tau_between_seeds(validation),
        "networks": _network_rows(found, seconds),
        "picks": [*(_search_pick(cell, found) for cell in searches), *_alone_picks(found, config)],
    }


def _of_cells(alone: list, value: Callable[[dict], float]) -> np.ndarray:
    """A number of each network's cell, [seeds candidates depths]."""
    return np.array([[[value(cell) for cell in row] for row in rows] for rows in alone])


def _network_rows(found: TrainedAlone, seconds: np.ndarray) -> list[dict]:
    front = pareto(found.flops, found.mean)
    return [
        {
            "what": "network", "candidate": i, "depth": j + 1, "flops": found.flops[i, j], "latency_ms": 1e3 * seconds[i, j],
            "validation": mean, "validation_sd": _spread(found.validation[:, i, j]), "test": found.test[:, i, j].mean(),
            "test_sd": _spread(found.test[:, i, j]), "front": bool(front[i, j]),
        } | {key: price[:, i, j].mean() for key, price in found.prices.items()}
        for (i, j), mean in np.ndenumerate(found.mean)
    ]  # fmt: skip


def _spread(values: np.ndarray) -> float | None:
    """Standard deviation over seeds, None for one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _search_pick(cell: dict, found: TrainedAlone) -> dict:
    """Of a search with a supernet; Kendall's tau is over the networks that the strategy may pick."""
    pickable = np.ones_like(found.admitted) if cell["strategy"] in FREE else found.admitted
    tau, p = kendall(np.array(cell["supernet_scores"])[pickable], found.validation[cell["seed"]][pickable])
    spent = {key: cell[key] for key in found.prices}
    return (
        _pick_row(cell["strategy"], cell["seed"], tuple(cell["pick"]), found)
        | {"likeliest": cell["likeliest"], "finalists": cell["finalists"], "kendall": tau, "kendall_p": p}
        | _over_exhaustive(spent, found.prices, cell["seed"], untrained=tuple(cell["pick"]))
    )


def _alone_picks(found: TrainedAlone, config: Config) -> list[dict]:
    """Of random search and the exhaustive oracle, by the cells of what they would train."""
    picks = []
    for seed, validation in enumerate(found.validation):
        for name, chosen in chosen_alone(found.flops / found.flops.max(), config, seed).items():
            best = max(chosen, key=lambda pair: validation[pair[0], pair[1] - 1])
            spent = {key: float(sum(price[seed, i, j - 1] for i, j in chosen)) for key, price in found.prices.items()}
            picks.append(_pick_row(name, seed, best, found) | _over_exhaustive(spent, found.prices, seed))
    return picks


def _pick_row(name: str, seed: int, pair: tuple[int, int], found: TrainedAlone) -> dict:
    """A pick, and what it misses: the best network of at most its FLOPs, by validation figures averaged over seeds.

    `regret` is the difference, `relative_regret` the same over the best one's figure.
    """
    at, mean = (pair[0], pair[1] - 1), found.mean
    best = np.where(found.flops <= found.flops[at], mean, -1.0).max()
    return {
        "what": name, "seed": seed, "candidate": pair[0], "depth": pair[1], "flops": found.flops[at],
        "validation": mean[at], "test": found.test[:, at[0], at[1]].mean(), "regret": float(best - mean[at]),
        "relative_regret": float(1 - mean[at] / best),
    }  # fmt: skip


def _over_exhaustive(
    spent: dict[str, float], prices: dict[str, np.ndarray], seed: int, *, untrained: tuple[int, int] | None = None
) -> dict[str, float]:
    """What a pick cost, and what share of training every network of the space that is, the pick's own training added to it
    where the search has not trained it (`with_pick`)."""
    found = dict(spent)
    for key, value in spent.items():
        price = prices[key][seed]
        own = 0.0 if untrained is None else price[untrained[0], untrained[1] - 1]
        found[f"{key}_over_exhaustive"] = value / price.sum()
        found[f"{key}_over_exhaustive_with_pick"] = (value + own) / price.sum()
    return found


def random_expected(
    validation: np.ndarray, mean: np.ndarray, admitted: np.ndarray, price: np.ndarray
) -> list[dict[str, Any]]:
    """Random search over all its draws, for 1, 2, ... networks drawn: the expected figure of its pick, and its price.

    A seed picks by its own validation figures and is judged by the `mean` over seeds, as every pick. The price is a share
    of training all networks.
    """
    count, found = int(admitted.sum()), []
    own, shares = validation[:, admitted], price[:, admitted] / price.sum((1, 2))[:, None]
    judged = np.take(mean[admitted], np.argsort(own, axis=1))  # [seeds, rank]
    for drawn in range(1, count + 1):
        ways = [comb(rank, drawn - 1) for rank in range(count)]  # draws whose best is the one of that rank
        expected = float((judged @ ways).mean() / comb(count, drawn))
        found.append({"drawn": drawn, "validation": expected, "training_flops": float(drawn * shares.mean())})
    return found


def kendall(scores: Any, validation: np.ndarray) -> tuple[float | None, float | None]:
    """Kendall's tau between two orders of the networks and its two-sided p, exact without ties; None where one has no order."""
    from scipy.stats import kendalltau

    if np.size(scores) < 2:
        return None, None
    result: Any = kendalltau(np.ravel(scores), np.ravel(validation))
    return none_if_nan(float(result.statistic)), none_if_nan(float(result.pvalue))


def tau_between_seeds(validation: np.ndarray) -> float | None:
    """Mean tau between the networks' figures of two seeds, [seeds ...]: no score can agree better with one seed's order."""
    pairs = [kendall(validation[a], validation[b])[0] for a, b in combinations(range(len(validation)), 2)]
    known = [tau for tau in pairs if tau is not None]
    return float(np.mean(known)) if known else None


def none_if_nan(value: float) -> float | None:
    """As JSON knows no nan."""
    return None if np.isnan(value) else value
