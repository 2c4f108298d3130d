"""Retraining (Eq. 18): the chosen network, from the supernet's weights or fresh, and the one look at the test items."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from easrec_jax.architecture import Architecture, full_architecture, sasrec_architecture
from easrec_jax.models.rivals import FDSA, SASRecF, fit_markov, init_baseline, markov_scores
from easrec_jax.config import FLOORS, Config, baseline_parts
from easrec_jax.models.cost import all_positions_flops, parameter_count, request_flops
from easrec_jax.data.batches import Samples, training_samples
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.evaluator import Evaluator, ScoreFunction, popularity_scores
from easrec_jax.evaluate.metrics import metrics
from easrec_jax.models.network import Network
from easrec_jax.runs.start import fresh_weights
from easrec_jax.train.fit import Fitted, fit
from easrec_jax.models.network import network_scores


class Retrained(NamedTuple):
    """The trained network and its figures by protocol; `validation` and `test` are {protocol: {metric: value}}."""

    architecture: Architecture
    fitted: Fitted
    validation: dict
    test: dict
    ranks: dict[str, np.ndarray]  # int [users] by `part/protocol`, what the figures are means of


def make_samples(config: Config, split: Split) -> Samples:
    """The training samples that a config asks for."""
    return training_samples(
        split, max_length=config.model.max_length, targets=config.data.targets, windows=config.data.windows
    )


def make_evaluator(config: Config, split: Split, part: Part, protocols: tuple[str, ...]) -> Evaluator:
    """The evaluator that a config asks for."""
    settings = config.evaluate
    return Evaluator(
        split,
        part,
        config.model.max_length,
        protocols,
        settings.ks,
        settings.ties,
        settings.batch_size,
        settings.negatives_seed,
        settings.buckets,
    )


def retrain(
    architecture: Architecture,
    weights: dict | None,
    config: Config,
    split: Split,
    **options: Any,
) -> Retrained | None:
    """Train `architecture` from `weights` (None: fresh), keep the best epoch, evaluate it once; None if interrupted.

    `options` are those of `fit`.
    """
    network: Any = Network(architecture, split.data.num_items, config.model.dropout)
    weights = fresh_weights(architecture, config, split.data) if weights is None else weights
    return train_and_evaluate(network, weights, config, split, **options)


def train_and_evaluate(network: Any, weights: dict, config: Config, split: Split, **options: Any) -> Retrained | None:
    """`retrain` of a network or baseline that is there already; `options` are those of `fit`."""
    evaluator = make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    samples = make_samples(config, split)
    fitted = fit(network, weights, samples, evaluator, settings=config.retrain, seed=config.seed, **options)
    if not fitted.finished:
        return None
    both = evaluate_both(config, split, network_scores(network), fitted.weights)
    return Retrained(network.architecture, fitted, *both)


def evaluate_both(
    config: Config, split: Split, scores: ScoreFunction, weights: Any
) -> tuple[dict, dict, dict[str, np.ndarray]]:
    """(validation figures, test figures, ranks) by all protocols of the config, as in `Retrained`."""
    parts: tuple[Part, Part] = ("validation", "test")
    figures, ranks = [], {}
    for part in parts:
        by_protocol = make_evaluator(config, split, part, config.evaluate.protocols).ranks(scores, weights)
        figures.append({name: metrics(values, config.evaluate.ks) for name, values in by_protocol.items()})
        ranks |= {f"{part}/{name}": values for name, values in by_protocol.items()}
    return figures[0], figures[1], ranks


def describe_architecture(architecture: Architecture, config: Config, num_items: int, chosen_by: dict) -> dict:
    """The content of architecture.json: sizes, FLOPs of a request, parameters, how it was chosen."""
    flops = describe_flops(request_flops(architecture, num_items), architecture, config, num_items)
    size = {"parameters": parameter_count(architecture, num_items), "chosen_by": chosen_by}
    return architecture.to_json() | flops | size


def describe_flops(
    flops: int, architecture: Architecture, config: Config, num_items: int, *, stacks: int = 1
) -> dict[str, Any]:
    """FLOPs of a request, those with all layers at all positions, and what fraction of the space's largest network's and of
    SASRec's each is. A baseline may have several `stacks` of the architecture's layers."""
    rest = all_positions_flops(architecture, num_items) - request_flops(architecture, num_items)
    others = {"largest": full_architecture(config.model), "sasrec": sasrec_architecture(config.model)}
    found: dict[str, Any] = {}
    for name, mine, count in (
        ("flops", flops, request_flops), ("flops_all", flops + stacks * rest, all_positions_flops),
    ):  # fmt: skip
        found[name] = mine
        found |= {f"{name}_over_{other}": mine / count(theirs, num_items) for other, theirs in others.items()}
    return found


def needs_features(name: str) -> bool:
    """Whether the baseline of that name reads item features."""
    return baseline_parts(name)[0] in ("sasrecf", "fdsa")


def baseline(
    name: str,
    config: Config,
    split: Split,
    features: ItemFeatures | None = None,
    *,
    keep_ranks: bool = False,
    **options: Any,
) -> dict | None:
    """Figures of a baseline under the same data, protocol and effort; None if interrupted. `options` are those of `fit`.

    `keep_ranks` adds `Retrained.ranks`, which are no JSON.

    "popularity" ranks by training interactions, "markov" by training transitions; "sasrec", "sasrecf" and "fdsa" are two
    layers of the config's width without gates, trained from scratch by the same code at the baselines' rate, softmax or
    the attention after a plus sign. Raises `ValueError` for a name of another form, and where `features` are needed and missing.
    """
    model, attention = baseline_parts(name)
    if model in FLOORS:
        if model == "popularity":
            scores, weights = popularity_scores, jnp.asarray(split.popularity(), jnp.float32)
        else:
            scores, weights = markov_scores, fit_markov(split)
        validation, test, ranks = evaluate_both(config, split, scores, weights)
        return {"validation": validation, "test": test} | ({"ranks": ranks} if keep_ranks else {})
    architecture: Any = sasrec_architecture(config.model, attention)  # type: ignore[arg-type]
    size = {"num_items": split.data.num_items, "dropout": config.model.dropout}
    described = describe_architecture(architecture, config, split.data.num_items, {"method": "fixed"})
    config = dataclasses.replace(config, retrain=config.retrain.of_baselines())
    if model == "sasrec":
        done = retrain(architecture, None, config, split, **options)
    else:
        if features is None:
            raise ValueError(f"{name}: expected item features")
        network: Any = {"sasrecf": SASRecF, "fdsa": FDSA}[model](architecture, features, **size)
        weights = init_baseline(network, jax.random.fold_in(jax.random.key(config.seed), 2))
        described |= describe_flops(
            network.request_flops(), architecture, config, split.data.num_items, stacks=network.stacks
        )
        described["parameters"] = sum(x.size for x in jax.tree.leaves(weights))
        done = train_and_evaluate(network, weights, config, split, **options)
    if done is None:
        return None
    return {
        "architecture": described,
        "best_epoch": done.fitted.epoch,
        "validation": done.validation,
        "test": done.test,
    } | ({"ranks": done.ranks} if keep_ranks else {})


def planted_ceiling(config: Config, split: Split, truth: Any) -> dict:
    """Figures of the process behind planted data: ranking by p(next | history), and by p(next | last item) alone."""
    from easrec_jax.data.synthetic import ideal_scores, myopic_scores

    longest = config.data.planted_lengths[1]
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


def data_counts(config: Config, split: Split) -> dict:
    """What the figures were measured on: counts, and how targets are made."""
    source = Path(config.data.path).name or "planted"
    settings = dataclasses.asdict(config.data) | {"path": source, "titles": Path(config.data.titles).name}
    settings |= {"features": Path(config.data.features).name}
    known = split.data.counts() | {"fingerprint": split.data.fingerprint()}
    return {"source": source} | known | {"settings": settings}
