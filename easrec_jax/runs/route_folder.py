"""An elastic model's router: the model is read from its folder, and written back with what chooses a size for each user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.data.interactions import Interactions
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.metrics import metrics
from easrec_jax.files import read_json
from easrec_jax.models.cost import request_flops
from easrec_jax.nas.routing import Elastic, Routed, all_ranks, choose, route_features, route_scores
from easrec_jax.runs.described import data_counts
from easrec_jax.serving.artifact import Model, load_model, save_model
from easrec_jax.serving.route import Route
from easrec_jax.serving.sizes import HOW_TO
from easrec_jax.train.task import make_evaluator

QUARTERS = 4  # of history lengths, of which the shares are told
PARTS: tuple[Part, Part] = ("validation", "test")


def load_elastic(folder: Path, data: Interactions) -> tuple[Elastic, Model]:
    """(the elastic network and the sizes of its front, the whole model) of a model folder.

    Raises what `load_model` raises, and `ValueError` where the model has one size, or other items than the data.
    """
    model = load_model(folder)
    if not model.front or not isinstance(model.architecture, Architecture):
        raise ValueError(f"{folder}: expected an elastic model, this one has one size; {HOW_TO}")
    if model.architecture.reads_times:
        raise ValueError(
            f"{folder}: expected a model that reads no times, which a router does not know: train one without --model.times"
        )
    if model.item_ids.raw != data.item_ids.raw:
        raise ValueError(f"{folder}: expected the model of these data, its items are others: make it from them first")
    sizes = tuple(size.architecture for size in model.front)
    return Elastic(model.architecture, model.weights, sizes, data.num_items), model


def add_route(folder: Path, model: Model, elastic: Elastic, routed: Routed, config: Config, split: Split) -> dict:
    """Write the model's folder again, with the router; what route.json holds: whom each size answers, figures of both parts.

    Raises `ValueError` where another model stands there by now.
    """
    if load_model(folder).fingerprint != model.fingerprint:
        raise ValueError(f"{folder}: another model than the router was trained for stands there by now: train it again")
    described = describe_route(elastic, routed, config, split)
    route = Route(routed.networks, routed.head, described)
    as_it_was = {"config": (folder / "config.json").read_text(), "metrics": (folder / "metrics.jsonl").read_text()}
    save_model(folder, model._replace(route=route), architecture=read_json(folder / "architecture.json"), **as_it_was)
    return described


def describe_route(elastic: Elastic, routed: Routed, config: Config, split: Split) -> dict[str, Any]:
    """The content of route.json. The test items are looked at once.

    `share` is that of all users, on the histories that the test items follow; `lengths`: the same by how many events count.
    """
    both = elastic._replace(networks=(*routed.networks, elastic.largest))
    choice, figures = {}, {"router": {}, "largest": {}}
    for part in PARTS:
        evaluator = make_evaluator(config, split, part, config.evaluate.protocols)
        features = route_features(routed.router, routed.router.reader(elastic.weights), evaluator)
        choice[part] = choose(route_scores(routed.head, features), np.zeros(len(routed.networks)))
        ranks, users = all_ranks(both, evaluator), np.arange(len(features))
        ks = config.evaluate.ks
        figures["router"][part] = {name: metrics(of[choice[part], users], ks) for name, of in ranks.items()}
        figures["largest"][part] = {name: metrics(of[-1], ks) for name, of in ranks.items()}
    costs = elastic._replace(networks=routed.networks).flops(routed.router)
    flops = [request_flops(network, elastic.num_items) for network in routed.networks]
    shares = np.bincount(choice["test"], minlength=len(costs)) / len(choice["test"])
    networks = [
        network.to_json() | {"flops": each, "cost": float(cost), "share": float(share)}
        for network, each, cost, share in zip(routed.networks, flops, costs, shares, strict=True)
    ]
    router = routed.router
    return {
        "networks": networks,
        "router": {
            "width": router.network.architecture.width, "flops": router.flops, "parameters": router.parameters,
            "form": config.route.form, "budget": config.route.budget, "price": routed.price,
            "held-out validation ndcg@10": routed.ndcg,
        },
        "cost": {part: float(np.mean(costs[choice[part]])) for part in PARTS},
        "lengths": _by_length(choice["test"], split, config, len(costs)),
        "largest": elastic.largest.to_json() | figures["largest"],
        "data": data_counts(config, split),
    } | figures["router"]  # fmt: skip


def _by_length(choice: np.ndarray, split: Split, config: Config, networks: int) -> list[dict[str, Any]]:
    """Shares of the networks among users of each quarter of history lengths."""
    lengths = np.minimum(split.history_lengths("test"), config.model.max_length)
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, QUARTERS + 1)[1:-1]))
    quarter = np.searchsorted(edges, lengths)
    rows = []
    for place in np.unique(quarter).tolist():
        mine = quarter == place
        shares = np.bincount(choice[mine], minlength=networks) / mine.sum()
        ends = {"from": int(lengths[mine].min()), "to": int(lengths[mine].max())}
        rows.append(ends | {"users": int(mine.sum()), "shares": shares.tolist()})
    return rows
