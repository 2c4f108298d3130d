"""Retraining (Eq. 18): the chosen network, from the supernet's weights or fresh, and the one look at the test items."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from easrec_jax.architecture import Architecture, SearchSpace, sasrec_architecture, search_space
from easrec_jax.artifact import load_tree
from easrec_jax.config import Config
from easrec_jax.cost import parameter_count, request_flops
from easrec_jax.data.batches import Samples, training_samples
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate import Evaluator, ScoreFunction, popularity_scores
from easrec_jax.files import read_json
from easrec_jax.loop import Checkpoints
from easrec_jax.network import Network, init_network
from easrec_jax.supernet import extract
from easrec_jax.train import Fitted, fit, network_scores


class Retrained(NamedTuple):
    """The trained network and its figures by protocol; `validation` and `test` are {protocol: {metric: value}}."""

    architecture: Architecture
    fitted: Fitted
    validation: dict
    test: dict


def load_search(folder: Path, space: SearchSpace) -> tuple[Architecture, dict]:
    """The pick of a finished search and its weights cut out of the supernet. Errors name the missing file."""
    if not (folder / "architecture.json").is_file():
        raise FileNotFoundError(
            f"{folder / 'architecture.json'}: no finished search here (run bin/search.py with the same config first)"
        )
    architecture = Architecture.from_json(
        read_json(folder / "architecture.json"), source=str(folder / "architecture.json")
    )
    return architecture, extract(load_tree(folder / "supernet.npz"), space, architecture)


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
    *,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    on_step: Callable[[dict], Any] | None = None,
    on_epoch: Callable[[dict], Any] | None = None,
) -> Retrained | None:
    """Train `architecture` from `weights` (None: fresh), keep the best epoch, evaluate it once; None if interrupted."""
    network: Any = Network(architecture, split.data.num_items, config.model.dropout)
    if weights is None:
        weights = init_network(network, jax.random.fold_in(jax.random.key(config.seed), 2))
    fitted = fit(
        network,
        weights,
        make_samples(config, split),
        make_evaluator(config, split, "validation", (config.evaluate.select_by,)),
        settings=config.retrain,
        seed=config.seed,
        checkpoints=checkpoints,
        resume=resume,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    if not fitted.finished:
        return None
    scores = network_scores(network)
    return Retrained(architecture, fitted, *evaluate_both(config, split, scores, fitted.weights))


def evaluate_both(config: Config, split: Split, scores: ScoreFunction, weights: Any) -> tuple[dict, dict]:
    """(validation, test) figures by all protocols of the config."""
    protocols = config.evaluate.protocols
    return tuple(make_evaluator(config, split, part, protocols)(scores, weights) for part in ("validation", "test"))  # type: ignore[return-value]


def describe_architecture(architecture: Architecture, config: Config, num_items: int, chosen_by: dict) -> dict:
    """The content of architecture.json: sizes, FLOPs of a request, parameters, how it was chosen."""
    space = search_space(config)
    flops = request_flops(architecture, num_items)
    sasrec = request_flops(sasrec_architecture(config.model), num_items)
    return architecture.to_json() | {
        "flops": flops,
        "flops_over_largest": flops / request_flops(space.largest, num_items),
        "flops_over_sasrec": flops / sasrec,
        "parameters": parameter_count(architecture, num_items),
        "chosen_by": chosen_by,
    }


def baseline(
    name: str, config: Config, split: Split, *, on_step: Callable | None = None, on_epoch: Callable | None = None
) -> dict | None:
    """Figures of a baseline under the same data, protocol and effort; None if interrupted.

    "popularity" ranks by training interactions; "sasrec" is two softmax layers of the config's width without gates,
    trained from scratch by the same code.
    """
    if name == "popularity":
        validation, test = evaluate_both(config, split, popularity_scores, jnp.asarray(split.popularity(), jnp.float32))
        return {"validation": validation, "test": test}
    done = retrain(sasrec_architecture(config.model), None, config, split, on_step=on_step, on_epoch=on_epoch)
    if done is None:
        return None
    described = describe_architecture(done.architecture, config, split.data.num_items, {"method": "fixed"})
    return {
        "architecture": described,
        "best_epoch": done.fitted.epoch,
        "validation": done.validation,
        "test": done.test,
    }


def planted_ceiling(config: Config, split: Split, truth: Any) -> dict:
    """Figures of the process behind planted data: ranking by p(next | history), and by p(next | last item) alone."""
    from easrec_jax.data.synthetic import LENGTHS, ideal_scores, myopic_scores

    if config.model.max_length < LENGTHS[1]:
        raise ValueError(
            f"model.max_length: expected at least {LENGTHS[1]} on planted data, so that the ceiling can be computed, "
            f"got {config.model.max_length}"
        )
    rows = {}
    for name, scores in (("ceiling", ideal_scores), ("ceiling, last item only", myopic_scores)):
        validation, test = evaluate_both(config, split, scores, truth)
        rows[name] = {"validation": validation, "test": test}
    return rows


def data_counts(config: Config, split: Split) -> dict:
    """What the figures were measured on: counts, and how targets are made."""
    source = Path(config.data.path).name or "planted"
    settings = dataclasses.asdict(config.data) | {"path": source, "titles": Path(config.data.titles).name}
    return {"source": source} | split.data.counts() | {"settings": settings}
