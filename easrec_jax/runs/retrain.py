"""Retraining (Eq. 18): the chosen network, from the supernet's weights or fresh, and the one look at the test items."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from easrec_jax.architecture import sasrec_architecture
from easrec_jax.cells import AnyArchitecture
from easrec_jax.config import Config
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.evaluator import ScoreFunction
from easrec_jax.evaluate.metrics import metrics
from easrec_jax.models.encoder import Encoder
from easrec_jax.models.kinds import network_of
from easrec_jax.models.network import network_scores
from easrec_jax.models.rival import check_rival, find_rival
from easrec_jax.parallel.layout import Layout
from easrec_jax.runs.described import describe_architecture, describe_flops
from easrec_jax.runs.start import fresh_weights
from easrec_jax.train.distillation import Taught, fit_taught
from easrec_jax.train.fit import Fitted
from easrec_jax.train.loop import QUIET, Run
from easrec_jax.train.task import make_evaluator, task_of
from easrec_jax.typed import check


class Retrained(NamedTuple):
    """The trained network and its figures by protocol; `validation` and `test` are {protocol: {metric: value}}."""

    architecture: AnyArchitecture
    fitted: Fitted
    validation: dict
    test: dict
    ranks: dict[str, np.ndarray]  # int [users] by `part/protocol`, what the figures are means of


def retrain(
    architecture: AnyArchitecture,
    weights: dict | None,
    config: Config,
    split: Split,
    *,
    taught: Taught | None = None,
    evaluate_start: bool = False,
    run: Run = QUIET,
) -> Retrained | None:
    """Train `architecture` from `weights` (None: fresh), keep the best epoch, evaluate it once; None if interrupted."""
    network = network_of(architecture, split.data.num_items, config.model.dropout)
    weights = fresh_weights(architecture, config, split.data) if weights is None else weights
    return train_and_evaluate(network, weights, config, split, taught=taught, evaluate_start=evaluate_start, run=run)


def train_and_evaluate(
    encoder: Encoder,
    weights: dict,
    config: Config,
    split: Split,
    *,
    taught: Taught | None = None,
    evaluate_start: bool = False,
    run: Run = QUIET,
) -> Retrained | None:
    """`retrain` of a network or rival that is there already; by a teacher too, if one is given."""
    task = task_of(config, split)
    fitted = fit_taught(
        encoder,
        weights,
        task,
        taught,
        settings=config.retrain,
        evaluate_start=evaluate_start,
        run=run,
    )
    if not fitted.finished:
        return None
    weights = fitted.weights if task.layout is None else task.layout.place(fitted.weights)
    both = evaluate_both(config, split, network_scores(encoder), weights, task.layout)
    return Retrained(encoder.architecture, fitted, *both)


def evaluate_both(
    config: Config, split: Split, scores: ScoreFunction, weights: Any, layout: Layout | None = None
) -> tuple[dict, dict, dict[str, np.ndarray]]:
    """(validation figures, test figures, ranks) by all protocols of the config, as in `Retrained`; `layout` is that of the weights."""
    parts: tuple[Part, Part] = ("validation", "test")
    figures, ranks = [], {}
    for part in parts:
        by_protocol = make_evaluator(config, split, part, config.evaluate.protocols, layout=layout).ranks(
            scores, weights
        )
        figures.append({name: metrics(values, config.evaluate.ks) for name, values in by_protocol.items()})
        ranks |= {f"{part}/{name}": values for name, values in by_protocol.items()}
    return figures[0], figures[1], ranks


def baseline(
    name: str,
    config: Config,
    split: Split,
    features: ItemFeatures | None = None,
    *,
    keep_ranks: bool = False,
    run: Run = QUIET,
) -> dict | None:
    """Figures of a rival under the same data, protocol and effort; None if interrupted.

    `keep_ranks` adds `Retrained.ranks`, which are no JSON. A network has two layers of the config's width without gates and is
    trained from scratch at the baselines' rate. Raises `ValueError` where `check_rival` does, and where `features` are missing.
    """
    check_rival(name, config)
    config = _without_times(config)
    rival, attention = find_rival(name)
    row: dict[str, Any] = {}
    if rival.network is None:
        assert rival.floor is not None
        validation, test, ranks = evaluate_both(config, split, *rival.floor(split))
    else:
        check(features is not None or not rival.needs_features, name, "item features", None)
        config = dataclasses.replace(config, retrain=config.retrain.of_baselines())
        architecture, num_items = sasrec_architecture(config.model, attention), split.data.num_items
        network = rival.network(architecture, features, num_items, config.model.dropout)
        weights = network.init(jax.random.fold_in(jax.random.key(config.seed), 2))
        done = train_and_evaluate(network, weights, config, split, run=run)
        if done is None:
            return None
        described = describe_architecture(architecture, config, num_items, {"method": "fixed"})
        described |= describe_flops(rival.flops(network), architecture, config, num_items, stacks=rival.stacks)
        described["parameters"] = sum(x.size for x in jax.tree.leaves(weights))
        row = {"architecture": described, "best_epoch": done.fitted.epoch}
        validation, test, ranks = done.validation, done.test, done.ranks
    return row | {"validation": validation, "test": test} | ({"ranks": ranks} if keep_ranks else {})


def _without_times(config: Config) -> Config:
    """Rivals read no times, and what is known of planted data is known without."""
    return dataclasses.replace(config, model=dataclasses.replace(config.model, times="no"))


def planted_ceiling(config: Config, split: Split, truth: Any) -> dict:
    """Figures of the process behind planted data: ranking by p(next | history), and by p(next | last item) alone; times unknown."""
    from easrec_jax.data.synthetic import ideal_scores, myopic_scores

    longest, config = config.data.planted.lengths[1], _without_times(config)
    if config.model.max_length < longest:
        raise ValueError(
            f"model.max_length: expected at least {longest} on planted data, so that the ceiling can be computed, "
            f"got {config.model.max_length}"
        )
    rows = {}
    for name, scores in (("ceiling", ideal_scores), ("ceiling, last item only", myopic_scores)):
        validation, test, _ = evaluate_both(config, split, scores, truth)
        rows[name] = {"validation": validation, "test": test}
    return rows
