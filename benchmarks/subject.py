"""What every measurement starts from: the recipe, the data, the networks, a clock, the machine's limits."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def median_seconds(call: Callable[[], Any], *, repeats: int, warm: int = 2) -> float:
    """Median wall time of a call whose result is waited for."""
    import jax
    import numpy as np

    times = []
    for number in range(warm + repeats):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        if number >= warm:
            times.append(time.perf_counter() - begun)
    return float(np.median(times))


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def limits() -> dict:
    """The machine's two limits: float32 matrix products of the sizes in use, and memory traffic of a large sum."""
    import jax
    import jax.numpy as jnp

    product = jax.jit(lambda a, b: a @ b)
    rates = {}
    for m, k, n in ((3200, 128, 128), (3200, 128, 256), (1024, 128, 3416), (2048, 2048, 2048)):
        a, b = jnp.ones((m, k)), jnp.ones((k, n))
        rates[f"limits.gflops_{m}x{k}x{n}"] = (
            2e-9 * m * k * n / median_seconds(lambda a=a, b=b: product(a, b), repeats=15)
        )
    x, y = jnp.ones(2**26), jnp.ones(2**26)
    add = jax.jit(lambda x, y: x + y)
    bandwidth = 3 * 4 * 2**26 / 1e9 / median_seconds(lambda: add(x, y), repeats=7)
    return rates | {"limits.gflops": max(rates.values()), "limits.gbytes_per_s": bandwidth}


def setup(request: dict):
    """(config, split) of the ML-1M recipe on the data that were asked for."""
    from easrec_jax.config_files import load_config
    from easrec_jax.data.load import load_data
    from easrec_jax.data.split import Split

    config = load_config(ROOT / "configs" / "ml1m.py")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=request["data"] or ""))
    return config, Split(load_data(config.data, seed=0)[0])


def architecture_of(name: str, config: Any, request: dict) -> Any:
    """sasrec: two softmax layers; model: the saved model's, or one layer of the config's width."""
    from easrec_jax.architecture import Architecture, full_architecture, sasrec_architecture
    from easrec_jax.files import read_json

    if name == "sasrec":
        return sasrec_architecture(config.model)
    if request["model"]:
        path = Path(request["model"]) / "architecture.json"
        return Architecture.from_json(read_json(path), source=str(path))
    return dataclasses.replace(full_architecture(config.model), depth=1)
