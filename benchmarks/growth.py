"""How time and memory grow with the length of a history."""

from __future__ import annotations

import dataclasses
from typing import Any

from subject import architecture_of, median_seconds, setup


def temporaries_mb(compiled: Any) -> float:
    """What a compiled program allocates beside its inputs and outputs."""
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


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
            memory = temporaries_mb(train_step.lower(state, batch, key, network=network, tx=tx).compile())
            held = [state]

            def step(held=held, batch=batch, key=key, network=network, tx=tx) -> Any:
                held[0], scalars = train_step(held[0], batch, key, network=network, tx=tx)
                return scalars

            rows["train_s"].append(median_seconds(step, repeats=5))
            rows["train_mb"].append(memory)
            infer = jax.jit(lambda w, x, network=network: apply(network, w, x, method=Network.encode_last))
            weights = held[0].weights
            rows["infer_s"].append(median_seconds(lambda f=infer, w=weights, x=items: f(w, x), repeats=7))
            rows["infer_mb"].append(temporaries_mb(infer.lower(weights, items).compile()))
        for key, values in rows.items():
            figures[f"scaling.{name}.{key}"] = values
            long_half = len(values) // 2  # where fixed costs no longer show
            slope = np.polyfit(np.log(lengths[long_half : len(values)]), np.log(values[long_half:]), 1)[0]
            figures[f"scaling.{name}.{key}_exponent"] = float(slope)
    figures["scaling.length_exponent"] = max(
        v for k, v in figures.items() if k.startswith("scaling.model") and "exponent" in k
    )
    return figures
