"""WORKDIR/route/ on disk: what a router chooses from, whom it gives what, and what that is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.data.interactions import Interactions
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.metrics import metrics
from easrec_jax.files import read_json, write_text
from easrec_jax.models.cost import request_flops
from easrec_jax.models.encoder import Weights
from easrec_jax.models.router import Router
from easrec_jax.nas.routing import Elastic, Routed, all_ranks, choose, route_features, route_scores
from easrec_jax.runs.described import data_counts
from easrec_jax.runs.start import start_elastic
from easrec_jax.serving.artifact import load_tree, save_tree
from easrec_jax.serving.routed import RoutedNetworks
from easrec_jax.train.task import make_evaluator

QUARTERS = 4  # of history lengths, of which the shares are told
PARTS: tuple[Part, Part] = ("validation", "test")


def load_elastic(folder: Path, config: Config, data: Interactions) -> Elastic:
    """The elastic network of a finished search and the networks on its front; item rows follow their items by id.

    Raises what `start_elastic` raises.
    """
    start = start_elastic(folder, config, data)
    return Elastic(start.architecture, start.weights, start.sizes, data.num_items)


def write_route(folder: Path, elastic: Elastic, routed: Routed, config: Config, split: Split) -> dict:
    """Write route.json and router.npz; what the first holds: the networks, whom they answer, figures of both parts."""
    described = describe_route(elastic, routed, config, split)
    save_tree(folder / "router.npz", routed.head)
    write_text(folder / "route.json", json.dumps(described, indent=2) + "\n")
    return described


def load_route(folder: Path, weights: Weights, largest: Architecture, num_items: int) -> RoutedNetworks:
    """The networks that `write_route` wrote, ready to answer; `weights` are the elastic network's."""
    tree = read_json(folder / "route.json")
    networks = [Architecture.from_json(one, source=str(folder / "route.json")) for one in tree["networks"]]
    router = Router.beside(largest, num_items, len(networks), width=tree["router"]["width"])
    return RoutedNetworks(weights, networks, router, load_tree(folder / "router.npz"), num_items)


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
