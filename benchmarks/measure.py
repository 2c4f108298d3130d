"""One measurement, asked for as JSON on the command line, answered as JSON on the last line: `run.py` calls this."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from easrec_jax.cli import main

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


# ------------------------------------------------------------------------------------------------------- what is measured


def setup(request: dict):
    """(config, split) of the ML-1M recipe on the data that were asked for."""
    from easrec_jax.config import load_config
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


def sequence_flops(arch: Any, lengths: Any, num_items: int) -> float:
    """Products of one forward pass over whole sequences of these real lengths, all items scored at every position."""
    import numpy as np

    from easrec_jax.cost import token_flops

    sizes, counts = np.unique(lengths, return_counts=True)
    layers = sum(
        c * n * arch.depth * token_flops(arch, int(n))
        for n, c in zip(sizes.tolist(), counts.tolist(), strict=True)
        if n
    )
    return float(layers + 2 * arch.width * num_items * np.sum(lengths))


def train(name: str, request: dict, *, steps: int = 80) -> dict:
    """Training steps in the recipe's own order of batches."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from easrec_jax.data.batches import epoch_batches
    from easrec_jax.network import Network, init_network
    from easrec_jax.retrain import make_samples
    from easrec_jax.train import TrainState, optimizer, train_step

    config, split = setup(request)
    arch = architecture_of(name, config, request)
    samples = make_samples(config, split)
    network: Any = Network(arch, split.data.num_items, config.model.dropout)
    weights = init_network(network, jax.random.key(0))
    tx = optimizer(0.001, "constant", 10, 1000, 0.0)
    state = TrainState(jnp.int32(0), weights, tx.init(weights))
    plan = {"max_length": arch.max_length, "batch_size": config.retrain.batch_size, "buckets": config.retrain.buckets}
    batches = list(epoch_batches(samples, **plan, seed=0, epoch=0))
    shapes = {b.items.shape: b for b in batches}
    for batch in shapes.values():
        state, _ = train_step(state, batch, jax.random.key(1), network=network, tx=tx)
    jax.block_until_ready(state)
    chosen = batches[:steps]
    begun = time.perf_counter()
    for batch in chosen:
        state, scalars = train_step(state, batch, jax.random.key(1), network=network, tx=tx)
    jax.block_until_ready((state, scalars))
    seconds = time.perf_counter() - begun
    targets = sum(int(np.count_nonzero(b.targets)) for b in chosen)
    flops = 3 * sum(sequence_flops(arch, np.count_nonzero(b.items, 1), split.data.num_items) for b in chosen)
    rate = flops / seconds / 1e9
    return {
        f"train.{name}.targets_per_s": targets / seconds,
        f"train.{name}.epoch_s": samples.num_targets * seconds / targets,
        f"train.{name}.gflops": rate,
        f"train.{name}.fraction_of_limit": rate / request["limits"]["limits.gflops"],
        f"train.{name}.peak_mb": peak_mb(),
    }


def search(request: dict, *, steps: int = 60) -> dict:
    """Weight steps under fresh draws, an architecture step after every f-th, as in the recipe."""
    import jax
    import jax.numpy as jnp

    from easrec_jax.architecture import search_space
    from easrec_jax.cost import cost_table
    from easrec_jax.data.batches import batches_per_epoch, endless_batch, epoch_batches, scoring_samples
    from easrec_jax.retrain import make_samples
    from easrec_jax.search import architecture_step, init_search, make_searcher, weight_step, within_budget
    from easrec_jax.supernet import Supernet

    config, split = setup(request)
    space, samples = search_space(config), make_samples(config, split)
    settings = config.search
    supernet: Any = Supernet(space, split.data.num_items, config.model.dropout)
    searcher = make_searcher(supernet, settings)
    state = init_search(searcher, jax.random.key(0))
    start = int((settings.tau_start - settings.tau_min) / settings.tau_decay) + 1  # the temperature has fallen
    state = state._replace(step=jnp.int32(start))
    table = cost_table(space, split.data.num_items)
    costs, allowed = jnp.asarray(table, jnp.float32), within_budget(table, settings.budget)
    plan = {"max_length": config.model.max_length, "batch_size": settings.batch_size, "buckets": settings.buckets}
    batches = list(epoch_batches(samples, **plan, seed=0, epoch=0))
    validation = scoring_samples(split, "validation", max_length=config.model.max_length)
    held_out = [endless_batch(validation, n, **plan, seed=0) for n in range(-(-steps // settings.every))]
    key = jax.random.key(1)

    def run(state: Any, batches: list, held_out: list) -> Any:
        for number, batch in enumerate(batches):
            state, _ = weight_step(state, batch, key, allowed, searcher=searcher)
            if (number + 1) % settings.every == 0:
                state, _ = architecture_step(
                    state, held_out[number // settings.every], key, costs, allowed, searcher=searcher
                )
        return jax.block_until_ready(state)

    shapes = {b.items.shape: b for b in batches}
    state = run(state, list(shapes.values()), [])
    for batch in {b.items.shape: b for b in held_out}.values():
        state, _ = architecture_step(state, batch, key, costs, allowed, searcher=searcher)
    jax.block_until_ready(state)
    begun = time.perf_counter()
    run(state, batches[:steps], held_out)
    seconds = (time.perf_counter() - begun) / steps
    epoch = seconds * batches_per_epoch(samples, **plan)
    return {"search.step_ms": seconds * 1e3, "search.epoch_s": epoch, "search.peak_mb": peak_mb()}


# --------------------------------------------------------------------------------------------------------------- inference


def recommender(name: str, split: Any, config: Any, request: dict, max_length: int | None = None) -> Any:
    """A saved model, or random weights: speed does not depend on them."""
    import jax

    from easrec_jax.artifact import Model
    from easrec_jax.network import Network, init_network
    from easrec_jax.recommend import Recommender

    if name == "model" and request["model"] and max_length is None:
        return Recommender.load(request["model"])
    arch = architecture_of(name, config, request)
    arch = dataclasses.replace(arch, max_length=max_length or arch.max_length)
    weights = init_network(Network(arch, split.data.num_items), jax.random.key(0))
    return Recommender(Model(arch, weights, split.data.item_ids, split.popularity(), {}))


def bulk(name: str, request: dict, *, prefix: str) -> dict:
    """Every user's top 10: encode, score, exclude what was seen, select."""
    import numpy as np

    from easrec_jax.cost import request_flops

    config, split = setup(request)
    engine = recommender(name, split, config, request)
    items, ends = split.data.items, split.data.offsets
    seconds = median_seconds(lambda: engine.top_items(items, ends, 10), repeats=5, warm=1)
    arch, users = engine.architecture, len(ends) - 1
    sizes, counts = np.unique(np.minimum(np.diff(ends), arch.max_length), return_counts=True)
    flops = sum(
        c * request_flops(arch, split.data.num_items, int(n)) for n, c in zip(sizes, counts.tolist(), strict=True)
    )
    return {
        f"{prefix}.users_per_s": users / seconds,
        f"{prefix}.gflops": flops / seconds / 1e9,
        f"{prefix}.fraction_of_limit": flops / seconds / 1e9 / request["limits"]["limits.gflops"],
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
    before = peak_mb()
    seconds = median_seconds(lambda: engine.top_items(items, ends, 10), repeats=2, warm=1)
    return {
        f"{prefix}.users_per_s": users / seconds,
        f"{prefix}.peak_mb": peak_mb(),
        f"{prefix}.peak_mb_of_the_calls": peak_mb() - before,
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


# ----------------------------------------------------------------------------------------------------------------- growth


def scaling(request: dict, *, lengths: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)) -> dict:
    """Time and compiled memory of one training step and one inference call for one sequence of N events."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from easrec_jax.data.batches import Batch
    from easrec_jax.layers import apply
    from easrec_jax.network import Network, init_network
    from easrec_jax.train import TrainState, optimizer, train_step

    config, split = setup(request)
    num_items = split.data.num_items
    figures: dict = {"scaling.lengths": list(lengths)}
    rng = np.random.default_rng(0)
    for name in ("model", "sasrec"):
        arch = architecture_of(name, config, request)
        rows: dict[str, list] = {k: [] for k in ("train_s", "train_mb", "infer_s", "infer_mb")}
        for length in lengths:
            if name == "sasrec" and length > 4096:
                break  # its scores alone would take gigabytes
            network: Any = Network(dataclasses.replace(arch, max_length=length), num_items, 0.2)
            weights = init_network(network, jax.random.key(0))
            tx = optimizer(0.001, "constant", 10, 1000, 0.0)
            items = rng.integers(1, num_items + 1, (1, length), dtype=np.int32)
            state = TrainState(jnp.int32(0), weights, tx.init(weights))
            batch, key = Batch(items, items), jax.random.key(0)
            memory = train_step.lower(state, batch, key, network=network, tx=tx).compile().memory_analysis()
            held = [state]

            def step(held=held, batch=batch, key=key, network=network, tx=tx) -> Any:
                held[0], scalars = train_step(held[0], batch, key, network=network, tx=tx)
                return scalars

            rows["train_s"].append(median_seconds(step, repeats=5))
            rows["train_mb"].append(memory.temp_size_in_bytes / 2**20)
            infer = jax.jit(lambda w, x, network=network: apply(network, w, x, method=Network.encode_last))
            weights = held[0].weights
            rows["infer_s"].append(median_seconds(lambda f=infer, w=weights, x=items: f(w, x), repeats=7))
            rows["infer_mb"].append(infer.lower(weights, items).compile().memory_analysis().temp_size_in_bytes / 2**20)
        for key, values in rows.items():
            figures[f"scaling.{name}.{key}"] = values
            long_half = len(values) // 2  # where fixed costs no longer show
            slope = np.polyfit(np.log(lengths[long_half : len(values)]), np.log(values[long_half:]), 1)[0]
            figures[f"scaling.{name}.{key}_exponent"] = float(slope)
    figures["scaling.length_exponent"] = max(
        v for k, v in figures.items() if k.startswith("scaling.model") and "exponent" in k
    )
    return figures


def command() -> None:
    request = json.loads(sys.argv[1])
    measurements: dict[str, Callable[[], dict]] = {
        "limits": limits,
        "train-sasrec": lambda: train("sasrec", request),
        "train-model": lambda: train("model", request),
        "search": lambda: search(request),
        "bulk-model": lambda: bulk("model", request, prefix="inference"),
        "bulk-sasrec": lambda: bulk("sasrec", request, prefix="inference.sasrec"),
        "long-model": lambda: long("model", request, prefix="inference.long"),
        "long-sasrec": lambda: long("sasrec", request, prefix="inference.long_sasrec"),
        "one-user": lambda: one_user(request),
        "start": lambda: start(request),
        "scaling": lambda: scaling(request),
    }
    print(json.dumps(measurements[request["name"]]()))


if __name__ == "__main__":
    main(command)
