"""What a GPU is asked (`gpu.sh`), each in a process of its own. Sizes come with the request: `gpu.FULL`, and small ones for a test."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from growth import sampled_steps
from subject import ROOT, architecture_of, median_seconds, setup

# of the products, of float32 arrays: the attention's sums need these. What JAX takes by itself on such a GPU is the second
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")


def about(request: dict) -> dict:
    """The device, the versions, and its limits: the best product in each precision, and the traffic of a large sum."""
    import jax
    import jax.numpy as jnp

    size, device = request["product"], jax.devices()[0]
    figures = {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__}
    a, x = jnp.ones((size, size)), jnp.ones(size * size * 4)
    for precision in PRECISIONS:
        with jax.default_matmul_precision(precision):
            product: Any = jax.jit(lambda a, b: a @ b).lower(a, a).compile()
        figures[f"limits.{precision}.tflops"] = 2e-12 * size**3 / median_seconds(partial(product, a, a), repeats=9)
    add = jax.jit(lambda x, y: x + y)
    return figures | {"limits.gbytes_per_s": 3e-9 * x.nbytes / median_seconds(lambda: add(x, x[::-1]), repeats=9)}


def peak_gb() -> float | None:
    """The most that lay on the device at once; None where it does not say (a CPU)."""
    import jax

    found = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return None if found is None else found / 2**30


def recipe(request: dict) -> dict:
    """A search and a retraining by `request["config"]`, in one process: seconds of each, test NDCG@10, memory."""
    from easrec_jax.commands import retrain, search
    from easrec_jax.files import read_json

    figures: dict = {}
    with TemporaryDirectory() as folder:
        for name, command in (("search", search.command), ("retrain", retrain.command))[: request["commands"]]:
            begun = time.perf_counter()
            _run(command, [request["config"], "--workdir", folder, *request["flags"]], request["data"])
            figures[f"{request['as']}.{name}_s"] = time.perf_counter() - begun
            figures[f"{request['as']}.{name}_peak_gb"] = peak_gb()
        results = Path(folder) / "model" / "results.json"
        if results.is_file():
            figures[f"{request['as']}.test"] = read_json(results)["test"]
    return figures


def _run(command: Callable, arguments: list[str], data: str | None) -> None:
    sys.argv = ["easrec", *arguments, *(["--data.path", data] if data else [])]
    command()


def inference(request: dict) -> dict:
    """Users a second of four networks in three precisions, with histories of two lengths; over the limits, and the same answers?"""
    import jax
    import numpy as np

    from easrec_jax.models.cost import request_flops
    from easrec_jax.models.network import Network, network_scores

    config, split = setup(request)
    num_items, rng, figures = split.data.num_items, np.random.default_rng(0), {}
    two = architecture_of("sasrec", config, request)
    networks = {
        "searched": architecture_of("model", config, request), "sasrec_2": two,
        "sasrec_1": dataclasses.replace(two, depth=1), "sasrec_linrec": dataclasses.replace(two, attention="linrec"),
    }  # fmt: skip
    for length, rows in request["lengths"]:
        items = rng.integers(1, num_items + 1, (rows, length), dtype=np.int32)
        for name, arch in networks.items():
            network = Network(dataclasses.replace(arch, max_length=length), num_items)
            weights, best = network.init(jax.random.key(0)), {}
            flops = rows * request_flops(network.architecture, num_items)
            for precision in PRECISIONS:
                with jax.default_matmul_precision(precision):
                    compiled: Any = jax.jit(network_scores(network)).lower(weights, items).compile()
                seconds = median_seconds(partial(compiled, weights, items), repeats=9)
                at, rate = f"inference.{length}.{name}.{precision}", request["limits"][f"limits.{precision}.tflops"]
                figures[f"{at}.users_per_s"] = rows / seconds
                figures[f"{at}.of_products"] = flops / seconds / 1e12 / rate
                bandwidth = _bytes(compiled) / seconds / 1e9
                figures[f"{at}.of_bandwidth"] = bandwidth / request["limits"]["limits.gbytes_per_s"]
                figures[f"{at}.temporary_mb"] = compiled.memory_analysis().temp_size_in_bytes / 2**20
                best[precision] = np.argsort(-np.asarray(compiled(weights, items))[:, 1:], 1)[:, :10]
            for precision in PRECISIONS[1:]:
                same = [len(set(a) & set(b)) for a, b in zip(best[PRECISIONS[0]], best[precision], strict=True)]
                figures[f"inference.{length}.{name}.{precision}.same_of_ten"] = float(np.mean(same))
    return figures


def _bytes(compiled: Any) -> float:
    """What the compiler counts as read and written."""
    found = compiled.cost_analysis()
    return float((found[0] if isinstance(found, list) else found).get("bytes accessed", 0.0))


def sampled(request: dict) -> dict:
    """A step of the sampled loss over the largest catalogue, by width."""
    figures = {}
    for width in request["widths"]:
        found = sampled_steps(request["items"], width=width, rows=request["rows"])
        found |= {"events_per_s": 1e3 * request["rows"] * 50 / found["step_ms"], "peak_gb": peak_gb()}
        figures |= {f"sampled.{width}.{name}": value for name, value in found.items()}
    return figures


def full_loss(request: dict) -> dict:
    """A step of the softmax over all items, in chunks of targets: time and memory; on one device, and on a mesh of one."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from easrec_jax.architecture import Architecture
    from easrec_jax.data.batches import Batch
    from easrec_jax.models.network import Network
    from easrec_jax.parallel.layout import Layout, make_mesh
    from easrec_jax.train.step import TrainState, optimizer, train_step

    arch = Architecture(width=64, inner=128, depth=1, heads=4, max_length=50, attention="recent_linrec",
        gate_layers=2,
    )  # fmt: skip
    network, tx = Network(arch, request["items"], 0.2), optimizer(0.001, "constant", 10, 1000, 0.0)
    items = np.random.default_rng(0).integers(1, request["items"] + 1, (request["rows"], 50), dtype=np.int32)
    figures, losses = {}, []
    for name, layout in (("alone", None), ("mesh", Layout(make_mesh(1, 1), request["items"]))):
        weights, key = network.init(jax.random.key(0)), jax.random.key(1)
        put = (lambda tree: tree) if layout is None else layout.place
        opt = tx.init(weights) if layout is None else layout.init(tx.init, layout.place(weights))
        held = [TrainState(put(jnp.int32(0)), put(weights), opt)]
        batch: Any = Batch(items, np.roll(items, -1, 1))
        batch, key = (jax.device_put(batch), key) if layout is None else (layout.put(batch), layout.place_key(key))
        static = {"encoder": network, "tx": tx, "layout": layout}
        memory: Any = train_step.lower(held[0], batch, key, **static).compile().memory_analysis()
        figures[f"full_loss.{name}.temporary_gb"] = memory.temp_size_in_bytes / 2**30

        def step(held: list = held, batch: Any = batch, key: Any = key, static: dict = static) -> Any:
            held[0], scalars = train_step(held[0], batch, key, **static)
            return scalars["loss"]

        losses.append(float(step()))
        figures[f"full_loss.{name}.step_ms"] = 1e3 * median_seconds(step, repeats=9)
        del held, step
    figures["full_loss.mesh_over_alone"] = figures["full_loss.mesh.step_ms"] / figures["full_loss.alone.step_ms"]
    return figures | {"full_loss.difference": abs(losses[0] - losses[1]), "full_loss.peak_gb": peak_gb()}


def best(request: dict) -> dict:
    """The ten best of all items for a batch of users: exact as it is served, and by the device's own approximation."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from easrec_jax.nn.best import best_items

    users, items, width = request["rows"], request["items"], 64
    states, table = (jax.random.normal(jax.random.key(n), (rows, width)) for n, rows in enumerate((users, items + 1)))
    none, offsets = jnp.zeros((users, 1), jnp.int32), jnp.zeros(items + 1)
    exact = jax.jit(lambda s, t, o, n: best_items(s, t, o, n, 10))
    close = jax.jit(lambda s, t: jax.lax.approx_max_k(s @ t.T, 10))
    figures = {"best.exact_ms": 1e3 * median_seconds(lambda: exact(states, table, offsets, none), repeats=5)}
    figures["best.approximate_ms"] = 1e3 * median_seconds(lambda: close(states[:32], table), repeats=5) * users / 32
    found = np.asarray(exact(states, table, offsets, none)[1])[:32], np.asarray(close(states[:32], table)[1])
    figures["best.recall"] = float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*found, strict=True)]))
    return figures | {"best.peak_gb": peak_gb()}


def export(request: dict) -> dict:
    """One exported file, answered by this device and by the CPU: the same items?"""
    import jax
    import numpy as np

    from easrec_jax.models.network import Network
    from easrec_jax.serving.artifact import Model
    from easrec_jax.serving.recommend import Recommender

    config, split = setup(request)
    arch = architecture_of("model", config, request)
    weights = Network(arch, split.data.num_items).init(jax.random.key(0))
    recommender = Recommender(Model(arch, weights, split.data.item_ids, split.popularity(), {}))
    items = np.random.default_rng(0).integers(1, split.data.num_items + 1, (64, arch.max_length), dtype=np.int32)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.jax"
        recommender.export(path, k=10)
        from jax import export as exported

        call = exported.deserialize(bytearray(path.read_bytes())).call
        found = []
        for device in (jax.devices()[0], jax.devices("cpu")[0]):
            with jax.default_device(device):
                found.append([np.asarray(x) for x in call(jax.device_put(items, device))])
    same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found[0][1], found[1][1], strict=True)])
    return {
        "export.same_of_ten": float(10 * same),
        "export.scores_apart": float(np.abs(found[0][0] - found[1][0]).max()),
    }


def smoke(request: dict) -> dict:
    """The laws of networks, losses and searches on this device: how many tests pass."""
    import os
    import re
    import subprocess

    tests = [f"tests/test_{name}.py" for name in request["tests"]]
    exact = os.environ | {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    run = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(run, cwd=ROOT, env=exact, capture_output=True, text=True)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    return {"smoke.passed": counts.get("passed", 0), "smoke.not_passed": failed or done.stderr[-300:]}


CHECKS: dict[str, Callable[[dict], dict]] = {
    "about": about, "smoke": smoke, "recipe": recipe, "inference": inference, "sampled": sampled, "full_loss": full_loss,
    "best": best, "export": export,
}  # fmt: skip
