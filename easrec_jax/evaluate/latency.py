"""Measured latency of the networks of a space, on this device: the second cost table, beside FLOPs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from easrec_jax.files import read_json, write_text
from easrec_jax.models.cost import request_flops
from easrec_jax.models.encoder import Encoder
from easrec_jax.models.network import Network, network_scores
from easrec_jax.space import Space

BULK_USERS = 128  # of a batch, where whole sets of users are answered


class Measured(NamedTuple):
    """Of each network."""

    seconds: np.ndarray  # float64 [networks], of the fastest call
    temporary_bytes: np.ndarray  # int64 [networks], what XLA allots beside weights, input and scores


def measure_latency(networks: Sequence[Encoder], *, rows: int = 16, repeats: int = 15) -> Measured:
    """Score all items for `rows` users of N events; networks are `Network`s or baselines of the same methods.

    Weights are random. The networks take turns, and the fastest call counts: what else the machine does only ever adds.
    """
    calls, temporary = [], []
    for network in networks:
        items = jnp.ones((rows, network.architecture.max_length), jnp.int32)
        weights = network.init(jax.random.key(0))
        compiled = jax.jit(network_scores(network)).lower(weights, items).compile()
        jax.block_until_ready(compiled(weights, items))
        calls.append((compiled, weights, items))
        analysis: Any = compiled.memory_analysis()
        temporary.append(analysis.temp_size_in_bytes)
    times = np.zeros((repeats, len(calls)))
    for row in times:
        for number, (compiled, weights, items) in enumerate(calls):
            begun = time.perf_counter()
            jax.block_until_ready(compiled(weights, items))
            row[number] = time.perf_counter() - begun
    return Measured(times.min(0), np.array(temporary, np.int64))


def compare_costs(
    mine: Sequence[Encoder], others: Sequence[Encoder], *, rows: int = BULK_USERS, repeats: int = 7
) -> dict[str, tuple[float, float]]:
    """What a user of N events costs in batches of `rows`, (mine, others'), averaged over each side's `Network`s.

    `mflops` are those of one request, `ms` the time of `measure_latency`, `temporary_mb` the memory of the whole batch.
    """
    networks = list(dict.fromkeys((*mine, *others)))
    measured = measure_latency(networks, rows=rows, repeats=repeats)
    each = {
        "mflops": [request_flops(network.architecture, network.num_items) / 1e6 for network in networks],
        "ms": 1e3 * measured.seconds / rows,
        "temporary_mb": measured.temporary_bytes / 2**20,
    }
    at = [[networks.index(network) for network in side] for side in (mine, others)]
    return {name: (float(np.mean(np.take(v, at[0]))), float(np.mean(np.take(v, at[1])))) for name, v in each.items()}


def space_latency(space: Space, num_items: int) -> np.ndarray:
    """Seconds of each network, in the space's shape, measured now."""
    networks = [Network(space.architecture(number), num_items) for number in range(len(space.networks))]
    return measure_latency(networks).seconds.reshape(space.shape)


def latency_table(space: Space, num_items: int, path: Path) -> np.ndarray:
    """`space_latency`, from `path` if it is there, else measured.

    A resumed search reads what it measured first: a second measurement would be another table. Raises `ValueError`
    where the file is another space's.
    """
    described = [space.architecture(number).to_json() for number in range(len(space.networks))]
    if path.is_file():
        there = read_json(path)
        if there.get("networks") != described or there.get("items") != num_items:
            raise ValueError(f"{path}: measured on other networks or items; delete it to measure anew")
        return np.array(there["seconds"], np.float64).reshape(space.shape)
    seconds = space_latency(space, num_items)
    tree = {"networks": described, "items": num_items, "device": str(jax.devices()[0].device_kind)}
    write_text(path, json.dumps(tree | {"seconds": seconds.ravel().tolist()}, indent=2) + "\n")
    return seconds
