"""An elastic network made a model as it stands: its largest network, and every size of its front with all that is known of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from easrec_jax.architecture import Architecture, sasrec_architecture
from easrec_jax.cells import AnyArchitecture
from easrec_jax.config import Config
from easrec_jax.data.split import Split
from easrec_jax.evaluate.latency import measure_latency
from easrec_jax.models.corner import corner
from easrec_jax.models.cost import parameter_count, request_flops
from easrec_jax.models.item_features import feature_weights, fold
from easrec_jax.models.kinds import network_of
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.unknown_times import with_unknown_times
from easrec_jax.runs.described import describe_flops
from easrec_jax.runs.retrain import Retrained, evaluate_both
from easrec_jax.serving.sizes import Size
from easrec_jax.train.fit import Fitted

ROWS = 16  # users of a batch whose time is measured


def as_it_stands(architecture: AnyArchitecture, weights: dict, config: Config, split: Split) -> Retrained:
    """The network evaluated once; nothing is trained, so its epoch is 0. Figures of `evaluate.select_by` are among them."""
    select_by = config.evaluate.select_by
    protocols = tuple(dict.fromkeys((*config.evaluate.protocols, select_by)))
    settings = dataclasses.replace(config, evaluate=dataclasses.replace(config.evaluate, protocols=protocols))
    network, inputs = network_of(architecture, split.data.num_items), split.data.features
    features, weights = feature_weights(weights, inputs), with_unknown_times(fold(weights, inputs), split)
    validation, test, ranks = evaluate_both(settings, split, network_scores(network), weights)
    fitted = Fitted(weights, 0, validation[select_by]["ndcg@10"], True, features)
    return Retrained(architecture, fitted, validation, test, ranks)


def measure_sizes(
    whole: Retrained, networks: Sequence[Architecture], config: Config, split: Split, *, tell: Callable[[dict], Any]
) -> tuple[Size, ...]:
    """Those of the `networks`, corners of the whole, that no cheaper one equals on the validation items, the cheapest first.

    The search has chosen them on its own data; where these are others, the front may be a part of it. `tell` is told how
    many are evaluated, as a run's `on_step` is.
    """
    num_items, front = split.data.num_items, []
    for number, architecture in enumerate(sorted(networks, key=lambda one: request_flops(one, num_items)), 1):
        done = as_it_stands(architecture, corner(whole.fitted.weights, architecture), config, split)
        if not front or done.fitted.ndcg > front[-1].fitted.ndcg:
            front.append(done)
        tell({"measured": f"{number}/{len(networks)}"})
    architectures = [*(done.architecture for done in front), sasrec_architecture(config.model)]
    *seconds, sasrec = measure_latency([Network(one, num_items) for one in architectures], rows=ROWS).seconds.tolist()
    return tuple(
        Size(done.architecture, _entry(done, whole, config, num_items) | {
            "ms": 1e3 * spent / ROWS, "ms_over_sasrec": spent / sasrec
        })
        for done, spent in zip(front, seconds, strict=True)
    )  # fmt: skip


def _entry(done: Retrained, whole: Retrained, config: Config, num_items: int) -> dict:
    """What front.json says of a size, but for its time."""
    flops = request_flops(done.architecture, num_items)
    described = done.architecture.to_json() | describe_flops(flops, done.architecture, config, num_items)
    described |= {"parameters": parameter_count(done.architecture, num_items)}
    described |= {"cost": flops / request_flops(whole.architecture, num_items)}
    described |= {"ndcg@10": done.fitted.ndcg, "select_by": config.evaluate.select_by}
    return described | {"validation": done.validation, "test": done.test}
