"""Saved models measured on a data set by any protocols, alone or against others, user by user."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from easrec_jax.config import DataConfig, EvaluateConfig
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.load import load_data, load_features
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.beyond import beyond_accuracy
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.evaluate.latency import compare_costs
from easrec_jax.evaluate.metrics import compare_seeds, gains_of_seeds
from easrec_jax.evaluate.protocols import parse_protocol
from easrec_jax.models.network import network_scores
from easrec_jax.runs.described import other_split
from easrec_jax.serving.recommend import Recommender

UNKNOWN_TO_THE_MODEL = (
    "left out: {items} items unknown to the model, their {events} events, and "
    "{users} users of whom fewer than {least} events are known"
)


class Wanted(NamedTuple):
    """What is asked for beside the figures."""

    beyond: bool = False
    """`beyond_accuracy` of the lists."""
    out: Path | None = None
    """A file for `write_users`."""


NOTHING_MORE = Wanted()


class Evaluation(NamedTuple):
    """What was measured, and on what."""

    users: int
    left_out: dict[str, int]
    """Items that the models do not know, their events, and users of whom too few events are known."""
    dropped_users: int
    """Users with too few events in the data."""
    notes: tuple[str, ...]
    """What the reader of the data left out, a line each."""
    figures: dict[str, dict[str, float]]
    """Means by protocol and metric, over the users and over the seeds of the model."""
    against: dict[str, dict[str, dict[str, float]]]
    """`compare_seeds` with the other models by protocol and metric; empty without others."""
    costs: dict[str, tuple[float, float]]
    """`compare_costs`, (mine, theirs); empty without others."""
    prepare_s: float
    """Seconds to read and prepare the data."""
    evaluate_s: float
    """Seconds to rank, compilation included."""
    least_events: int = 3
    """Of a user, for the split of the data."""
    beyond: dict[str, dict[str, float]] = {}
    """`beyond_accuracy` by protocol that ranks all items, means over the seeds; empty where it is not asked for."""
    splits: tuple[str, ...] = ()
    """Models that were trained with another split, a line each."""

    def record(self) -> dict[str, Any]:
        """The figures and counts, without times, for JSON."""
        costs = {name: {"mine": mine, "theirs": theirs} for name, (mine, theirs) in self.costs.items()}
        return {
            "users": self.users,
            "left_out": self.left_out,
            "dropped_users": self.dropped_users,
            "figures": self.figures,
            "against": self.against,
            "costs": costs,
        } | ({"beyond": self.beyond} if self.beyond else {})

    def remarks(self) -> list[str]:
        """What was left out, and what makes figures doubtful, a line each."""
        return [
            *self.splits,
            *self.notes,
            *(
                [UNKNOWN_TO_THE_MODEL.format(**self.left_out, least=self.least_events)]
                if any(self.left_out.values())
                else []
            ),
        ]


def evaluate_models(
    models: Sequence[Path],
    against: Sequence[Path],
    data: DataConfig,
    settings: EvaluateConfig,
    *,
    part: Part = "test",
    seed: int = 0,
    budget: float | None = None,
    wanted: Wanted = NOTHING_MORE,
) -> Evaluation:
    """Measure the folders `models`, the seeds of one model, and compare them with those of `against`.

    Elastic `models` are measured at their size within the `budget`, those of `against` at their largest. Events of items that
    the models do not know are left out. `seed` decides planted data. Raises `ValueError` where there is no model or they
    know different items, and what `Recommender.load` and `load_data` raise.
    """
    if not models:
        raise ValueError("models: expected at least one model folder")
    protocols = _of_all_items(settings, wanted)
    sides = [[Recommender.load(path, budget) for path in models], [Recommender.load(path) for path in against]]
    loaded = [*sides[0], *sides[1]]
    ids = _common_ids((*models, *against), loaded)
    started = time.perf_counter()
    everything, truth = load_data(data, seed=seed, times=any(one.architecture.reads_times for one in loaded))
    known, left_out = everything.restricted_to(ids)
    features = _features(data, known, truth if ids == everything.item_ids else None) if wanted.beyond else None
    split = Split(known)
    evaluators = _evaluators(loaded, split, part, settings)
    prepared = time.perf_counter()
    ranks = [
        [evaluators[_reads(one)].ranks(network_scores(one.network), one.weights) for one in side] for side in sides
    ]
    lists = [_lists(one, evaluators[_reads(one)], protocols) for one in sides[0]]
    evaluated = time.perf_counter()
    mine, theirs = (gains_of_seeds(of, settings.ks) for of in ranks)
    if wanted.out is not None:
        from easrec_jax.runs.user_figures import write_users  # here, not above: it alone needs polars

        write_users(wanted.out, models, ranks[0], lists, split, part, settings.ks)
    networks = [[one.network for one in side] for side in sides]
    return Evaluation(
        users=len(next(iter(evaluators.values())).users),
        left_out=left_out,
        dropped_users=everything.dropped_users,
        notes=everything.notes,
        figures={p: {name: float(values.mean()) for name, values in of.items()} for p, of in mine.items()},
        against={p: {name: compare_seeds(mine[p][name], of[name]) for name in of} for p, of in theirs.items()},
        costs=compare_costs(*networks) if theirs else {},
        prepare_s=prepared - started,
        evaluate_s=evaluated - prepared,
        beyond=_beyond(lists, split.popularity(), settings.ks, features) if wanted.beyond else {},
        least_events=3 if known.part_ends is None else 1,
        splits=tuple(filter(None, (other_split(path, data) for path in (*models, *against)))),
    )


def _of_all_items(settings: EvaluateConfig, wanted: Wanted) -> list[str]:
    """The protocols of which lists are made; `ValueError` where what is wanted needs one and there is none."""
    if wanted.out is not None:
        from easrec_jax.runs.user_figures import check_out

        check_out(wanted.out)
    found = [name for name in settings.protocols if not parse_protocol(name).negatives]
    if wanted.beyond and not found:
        expected = "one that ranks all items, such as full_unseen (coverage, novelty and diversity are of lists)"
        raise ValueError(f"evaluate.protocols: expected {expected}, got {', '.join(settings.protocols)}")
    return found if wanted.beyond or wanted.out is not None else []


def _lists(model: Recommender, evaluator: Evaluator, protocols: Sequence[str]) -> dict[str, np.ndarray]:
    """The first items of each user's list, int32 [users max(ks)], by protocol."""
    scores, k = network_scores(model.network), max(evaluator.ks)
    return {name: evaluator.top_items(scores, model.weights, name, k) for name in protocols}


def _features(data: DataConfig, known: Interactions, truth: Any) -> ItemFeatures | None:
    """Item features, where there are any."""
    return load_features(data, known, truth) if data.features or truth is not None else None


def _beyond(
    lists: Sequence[dict[str, np.ndarray]], popularity: np.ndarray, ks: tuple[int, ...], features: ItemFeatures | None
) -> dict[str, dict[str, float]]:
    """`beyond_accuracy` by protocol, means over the models."""
    found = {}
    for protocol in lists[0]:
        each = [beyond_accuracy(of[protocol], popularity, ks, features) for of in lists]
        found[protocol] = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    return found


def _common_ids(paths: Sequence[Path], loaded: Sequence[Recommender]) -> IdMap:
    """The items that all models know."""
    first, model = paths[0], loaded[0]
    for path, other in zip(paths, loaded, strict=True):
        if other.item_ids != model.item_ids:
            raise ValueError(
                f"{path}: knows other items than {first} ({len(other.item_ids)} and {len(model.item_ids)}), their ranks "
                "cannot be compared; expected models trained on the same data"
            )
    return model.item_ids


def _reads(model: Recommender) -> tuple[int, bool]:
    """What a model reads of a history: how many events, and whether their times."""
    return model.architecture.max_length, model.architecture.reads_times


def _evaluators(
    loaded: Sequence[Recommender], split: Split, part: Part, settings: EvaluateConfig
) -> dict[tuple[int, bool], Evaluator]:
    """One evaluator for all models that read the same of a history."""
    return {
        (length, times): Evaluator(
            split if times else split.without_times(),
            part,
            length,
            protocols=settings.protocols,
            ks=settings.ks,
            ties=settings.ties,
            batch_size=settings.batch_size,
            seed=settings.negatives_seed,
        )
        for length, times in set(map(_reads, loaded))
    }
