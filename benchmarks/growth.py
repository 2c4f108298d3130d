"""How time and memory grow with the length of a history, and with the number of items."""

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
    from easrec_jax.models.network import Network
    from easrec_jax.train.step import TrainState, optimizer, train_step

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
            network = Network(dataclasses.replace(arch, max_length=length), num_items, 0.2)
            weights = network.init(jax.random.key(0))
            tx = optimizer(0.001, "constant", 10, 1000, 0.0)
            items = rng.integers(1, num_items + 1, (1, length), dtype=np.int32)
            state = TrainState(jnp.int32(0), weights, tx.init(weights))
            batch, key = Batch(items, items), jax.random.key(0)
            memory = temporaries_mb(train_step.lower(state, batch, key, encoder=network, tx=tx).compile())
            held = [state]

            def step(held=held, batch=batch, key=key, network=network, tx=tx) -> Any:
                held[0], scalars = train_step(held[0], batch, key, encoder=network, tx=tx)
                return scalars

            rows["train_s"].append(median_seconds(step, repeats=5))
            rows["train_mb"].append(memory)
            infer = jax.jit(network.encode_last)
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


def catalogue(request: dict, *, sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)) -> dict:
    """A training step with the sampled loss over catalogues of V items."""
    import numpy as np

    each = [sampled_steps(items) for items in sizes]
    rows = {name: [one[name] for one in each] for name in each[0]}
    slope = np.polyfit(np.log(sizes), np.log(rows["step_ms"]), 1)[0]
    figures: dict = {"scaling.catalogue.items": list(sizes), "scaling.catalogue.exponent": float(slope)}
    return figures | {f"scaling.catalogue.{name}": values for name, values in rows.items()}


def sampled_steps(items: int, *, width: int = 64, rows: int = 64, events: int = 50) -> dict:
    """A training step with the sampled loss, 1,024 negatives: its time, and its memory over that of the tables."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from easrec_jax.architecture import Architecture
    from easrec_jax.data.batches import Batch
    from easrec_jax.models.network import Network
    from easrec_jax.train.rows import Sampler, sampled_step
    from easrec_jax.train.step import TrainState, optimizer

    arch = Architecture(
        width=width, inner=2 * width, depth=1, heads=4, max_length=events, attention="recent_linrec", gate_layers=2,
        conv_width=4,
    )  # fmt: skip
    tx = optimizer(0.001, "constant", 10, 1000, 0.0)
    rng, key = np.random.default_rng(0), jax.random.key(0)
    network, weights = Network(arch, items, 0.2), Network(arch, 1).init(key)
    weights["tables"]["items"] = jnp.full((items + 1, width), 0.02).at[0].set(0.0)
    tables = 3 * weights["tables"]["items"].nbytes  # the table and Adam's two moments
    state = [TrainState(jnp.int32(0), weights, tx.init(weights))]
    del weights
    pool = rng.integers(1, items + 1, 1_000_000, dtype=np.int32)
    sampler = Sampler(jnp.asarray(pool), jnp.asarray(np.bincount(pool, minlength=items + 1).astype(np.int32)))
    batches = [Batch(x, np.roll(x, -1, 1)) for x in (rng.choice(pool, (rows, events)) for _ in range(16))]
    fixed = {"encoder": network, "tx": tx, "negatives": 1024}
    memory: Any = sampled_step.lower(state[0], batches[0], key, sampler, **fixed).compile().memory_analysis()
    beside = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    turn = iter(range(10**6))

    def step() -> Any:
        state[0], scalars = sampled_step(state[0], batches[next(turn) % 16], key, sampler, **fixed)
        return scalars

    seconds = median_seconds(step, repeats=32, warm=16)
    over = (beside + memory.temp_size_in_bytes) / tables
    return {"step_ms": seconds * 1e3, "tables_mb": tables / 2**20, "memory_over_tables": over}
