"""Inference: everyone's top 10, long histories, one user, a click on a stream, the first answer of a process."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from subject import architecture_of, median_seconds, peak_mb, setup


def recommender(name: str, split: Any, config: Any, request: dict, max_length: int | None = None) -> Any:
    """A saved model, or random weights: speed does not depend on them."""
    import jax

    from easrec_jax.models.network import Network
    from easrec_jax.serving.artifact import Model
    from easrec_jax.serving.recommend import Recommender

    if name == "model" and request["model"] and max_length is None:
        return Recommender.load(request["model"])
    arch = architecture_of(name, config, request)
    arch = dataclasses.replace(arch, max_length=max_length or arch.max_length)
    weights = Network(arch, split.data.num_items).init(jax.random.key(0))
    return Recommender(Model(arch, weights, split.data.item_ids, split.popularity(), {}))


def bulk(name: str, request: dict, *, prefix: str) -> dict:
    """Every user's top 10: encode, score, exclude what was seen, select."""
    import numpy as np
    from products import request_products

    config, split = setup(request)
    engine = recommender(name, split, config, request)
    items, ends = split.data.items, split.data.offsets
    seconds = median_seconds(lambda: engine.top_items(items, ends, 10), repeats=5, warm=1)
    arch, users = engine.architecture, len(ends) - 1
    batches = [(batch.shape, np.count_nonzero(batch)) for _, batch in engine.batches(items, ends)]
    products = [
        (real / (rows * size), request_products(arch, rows, size, split.data.num_items))
        for (rows, size), real in batches
    ]
    flops, moved, alone = (
        sum(share * sum(getattr(p, what) for p in each) for share, each in products)
        for what in ("flops", "bytes", "seconds")
    )
    rows_read = 8.0 * arch.width * sum(real for _, real in batches)  # of the item table, read and written once
    return {
        f"{prefix}.users_per_s": users / seconds,
        f"{prefix}.gflops": flops / seconds / 1e9,
        f"{prefix}.flops_per_byte": flops / (moved + rows_read),
        f"{prefix}.fraction_of_peak": flops / seconds / 1e9 / request["limits"]["limits.gflops"],
        f"{prefix}.fraction_of_limit": (alone + rows_read / 1e9 / request["limits"]["limits.gbytes_per_s"]) / seconds,
        f"{prefix}.peak_mb": peak_mb(),
    }


def long(name: str, request: dict, *, prefix: str, length: int = 1000, users: int = 256) -> dict:
    """Top 10 of users with 1,000 events each, N = 1,000: where quadratic attention pays."""
    import numpy as np

    config, split = setup(request)
    engine = recommender(name, split, config, request, max_length=length)
    rng = np.random.default_rng(0)
    items = rng.integers(1, split.data.num_items + 1, users * length, dtype=np.int32)
    ends = np.arange(users + 1) * length
    seconds = median_seconds(lambda: engine.top_items(items, ends, 10), repeats=2, warm=1)
    _, batch = next(iter(engine.batches(items, ends)))
    compiled = engine.programs.top.lower(
        engine.weights, batch, batch, np.zeros(len(engine.item_ids) + 1), k=16
    ).compile()
    return {
        f"{prefix}.users_per_s": users / seconds,
        f"{prefix}.peak_mb": peak_mb(),
        f"{prefix}.call_mb": compiled.memory_analysis().temp_size_in_bytes / 2**20,  # beside weights and answers
    }


def one_user(request: dict, *, calls: int = 2000) -> dict:
    """A request for one user, raw ids to raw ids, histories of mixed length; and a click on a stream, top 10 included."""
    import numpy as np

    config, split = setup(request)
    engine = recommender("model", split, config, request)
    rng = np.random.default_rng(0)
    raw, data = np.array(split.data.item_ids.raw), split.data
    histories = [
        raw[data.history(int(u)) - 1][-engine.architecture.max_length :].tolist()
        for u in rng.integers(0, data.num_users, 200)
    ]
    engine.warm_up()

    def times(call: Callable[[int], Any], calls: int) -> np.ndarray:
        spent = np.zeros(calls)
        for number in range(calls):
            begun = time.perf_counter()
            call(number)
            spent[number] = time.perf_counter() - begun
        return spent[calls // 10 :] * 1e3

    whole = times(lambda n: engine.recommend([histories[n % 200]], 10), calls)
    stream = [engine.start([histories[0]])]

    def click(number: int) -> None:
        stream[0] = engine.update(stream[0], [raw[number % len(raw)]])
        engine.recommend_from(stream[0], 10)

    clicks = times(click, calls)
    return {
        "inference.one_user_p50_ms": float(np.percentile(whole, 50)),
        "inference.one_user_p99_ms": float(np.percentile(whole, 99)),
        "inference.stream_p50_ms": float(np.percentile(clicks, 50)),
        "inference.stream_p99_ms": float(np.percentile(clicks, 99)),
    }


def start(request: dict) -> dict:
    """Seconds from an empty process to the first recommendation of a saved model: empty compilation cache, then a full one."""
    import tempfile

    if not request["model"]:
        return {}
    code = (
        "import sys, time; begun = time.perf_counter()\n"
        "from easrec_jax import Recommender\nimport jax\n"
        "jax.config.update('jax_compilation_cache_dir', sys.argv[2])\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "model = Recommender.load(sys.argv[1]); model.recommend([[model.item_ids.raw[0]] * 60])\n"
        "print(time.perf_counter() - begun)"
    )
    with tempfile.TemporaryDirectory() as cache:
        seconds = [
            float(
                subprocess.run(
                    [sys.executable, "-c", code, request["model"], cache], capture_output=True, text=True, check=True
                ).stdout
            )
            for _ in range(4)
        ]
    return {"inference.start_cold_s": seconds[0], "inference.start_warm_s": sorted(seconds[1:])[1]}
