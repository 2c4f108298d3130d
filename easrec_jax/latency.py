"""Measured latency of the networks of a space, on this device: the second cost table, beside FLOPs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from easrec_jax.architecture import Architecture, SearchSpace
from easrec_jax.files import read_json, write_text
from easrec_jax.network import Network, init_network
from easrec_jax.train import network_scores


def measure_latency(
    architectures: Sequence[Architecture], num_items: int, *, rows: int = 16, repeats: int = 15
) -> np.ndarray:
    """Seconds to score all items for `rows` users of N events, the median of `repeats` calls of each network.

    Weights are random. The networks take turns, so that a slow moment of the machine meets all of them alike.
    """
    calls = []
    for architecture in architectures:
        network: Any = Network(architecture, num_items)
        weights = init_network(network, jax.random.key(0))
        items = jnp.ones((rows, architecture.max_length), jnp.int32)
        compiled = jax.jit(network_scores(network)).lower(weights, items).compile()
        jax.block_until_ready(compiled(weights, items))
        calls.append((compiled, weights, items))
    times = np.zeros((repeats, len(calls)))
    for row in times:
        for number, (compiled, weights, items) in enumerate(calls):
            begun = time.perf_counter()
            jax.block_until_ready(compiled(weights, items))
            row[number] = time.perf_counter() - begun
    return np.median(times, 0)


def latency_table(space: SearchSpace, num_items: int, path: Path) -> np.ndarray:
    """Seconds of candidate i exiting after layer j + 1, [candidates depths]: from `path` if it is there, else measured.

    A resumed search reads what it measured first: a second measurement would be another table. Raises `ValueError`
    where the file is another space's.
    """
    pairs = [(i, j) for i in range(space.num_candidates) for j in range(1, space.num_layers + 1)]
    networks = [space.architecture(*pair) for pair in pairs]
    described = [network.to_json() for network in networks]
    if path.is_file():
        there = read_json(path)
        if there.get("networks") != described or there.get("items") != num_items:
            raise ValueError(f"{path}: measured on other networks or items; delete it to measure anew")
        seconds = np.array(there["seconds"], np.float64)
    else:
        seconds = measure_latency(networks, num_items)
        tree = {"networks": described, "items": num_items, "device": str(jax.devices()[0].device_kind)}
        write_text(path, json.dumps(tree | {"seconds": seconds.tolist()}, indent=2) + "\n")
    return seconds.reshape(space.num_candidates, space.num_layers)
