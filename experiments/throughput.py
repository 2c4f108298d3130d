"""Users a second as they are served, raw inner ids to the ten best: each network alone, and routed."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import numpy as np

from easrec_jax.data.split import Split
from easrec_jax.models.corner import corner
from easrec_jax.nas.routing import Elastic, Routed
from easrec_jax.serving.artifact import Model
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.routed import RoutedNetworks

TURNS = 5  # of each; the fastest counts: what else the machine does only ever adds
K = 10


def users_per_second(elastic: Elastic, routed: Routed, split: Split) -> dict[str, list[float] | float]:
    """`networks`: one a slice; `router`: users grouped by its choices, choosing included."""
    lengths = split.history_lengths("test")
    ends = np.concatenate([[0], np.cumsum(lengths)])
    at = np.arange(ends[-1]) + np.repeat(split.start - ends[:-1], lengths)
    items = np.concatenate([split.data.items[at], np.zeros(1, np.int32)])
    weights, k = jax.tree.map(np.asarray, elastic.weights), min(K, elastic.num_items)
    calls: list[Callable] = [
        Recommender(Model(network, corner(weights, network), split.data.item_ids, split.popularity(), {})).top_items
        for network in elastic.networks
    ]
    calls.append(RoutedNetworks(weights, routed.networks, routed.router, routed.head, elastic.num_items).top_items)
    for call in calls:
        call(items, ends, k)
    seconds = np.zeros((TURNS, len(calls)))
    for turn in seconds:
        for number, call in enumerate(calls):
            begun = time.perf_counter()
            call(items, ends, k)
            turn[number] = time.perf_counter() - begun
    rates = (len(lengths) / seconds.min(0)).round(1).tolist()
    return {"networks": rates[:-1], "router": rates[-1]}
