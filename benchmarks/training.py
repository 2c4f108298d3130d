"""Training and search steps: targets a second, and how much of the machine's products that is."""

from __future__ import annotations

import time
from typing import Any

from products import step_products
from subject import architecture_of, peak_mb, setup


def train(name: str, request: dict, *, steps: int = 80) -> dict:
    """Training steps in the recipe's own order of batches."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from easrec_jax.data.batches import epoch_batches
    from easrec_jax.models.network import Network
    from easrec_jax.train.step import TrainState, optimizer, train_step
    from easrec_jax.train.task import samples_of

    config, split = setup(request)
    arch = architecture_of(name, config, request)
    samples = samples_of(config, split)
    network = Network(arch, split.data.num_items, config.model.dropout)
    weights = network.init(jax.random.key(0))
    tx = optimizer(0.001, "constant", 10, 1000, 0.0)
    state = TrainState(jnp.int32(0), weights, tx.init(weights))
    plan = {"max_length": arch.max_length, "batch_size": config.retrain.batch_size, "buckets": config.retrain.buckets}
    batches = list(epoch_batches(samples, **plan, seed=0, epoch=0))
    shapes = {b.items.shape: b for b in batches}
    for batch in shapes.values():
        state, _ = train_step(state, batch, jax.random.key(1), encoder=network, tx=tx)
    jax.block_until_ready(state)
    chosen = batches[:steps]
    begun = time.perf_counter()
    for batch in chosen:
        state, _ = train_step(state, batch, jax.random.key(1), encoder=network, tx=tx)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - begun
    targets = sum(int(np.count_nonzero(b.targets)) for b in chosen)
    share = [np.count_nonzero(b.items) / b.items.size for b in chosen]  # what padding costs does not count
    products = [step_products(arch, len(b.items), b.items.shape[1], split.data.num_items) for b in chosen]
    flops, moved, alone = (
        sum(real * sum(getattr(p, what) for p in each) for real, each in zip(share, products, strict=True))
        for what in ("flops", "bytes", "seconds")
    )
    return {
        f"train.{name}.targets_per_s": targets / seconds,
        f"train.{name}.epoch_s": samples.num_targets * seconds / targets,
        f"train.{name}.gflops": flops / seconds / 1e9,
        f"train.{name}.flops_per_byte": flops / moved,
        f"train.{name}.fraction_of_peak": flops / seconds / 1e9 / request["limits"]["limits.gflops"],
        f"train.{name}.fraction_of_limit": alone / seconds,
        f"train.{name}.peak_mb": peak_mb(),
    }


def search(request: dict, *, steps: int = 60) -> dict:
    """Weight steps under fresh draws, an architecture step after every f-th, as in the recipe."""
    import jax
    import jax.numpy as jnp

    from easrec_jax.data.batches import EndlessBatches, batches_per_epoch, epoch_batches, scoring_samples
    from easrec_jax.models.cost import cost_table
    from easrec_jax.nas.distribution import Table
    from easrec_jax.nas.search import supernet_of
    from easrec_jax.nas.steps import architecture_step, init_search, make_searcher, weight_step
    from easrec_jax.nas.strategies.known import find_strategy
    from easrec_jax.nas.strategies.strategy import Strategy
    from easrec_jax.space import space_of
    from easrec_jax.train.task import samples_of

    config, split = setup(request)
    space, samples = space_of(config), samples_of(config, split)
    settings, easrec, strategy = config.search, config.search.easrec, find_strategy(config.search.strategy)
    assert isinstance(strategy, Strategy)
    supernet = supernet_of(space, split.data.num_items, config.model.dropout, config.search.sharing)
    searcher = make_searcher(supernet, settings, strategy, (0, 1))
    state = init_search(searcher, jax.random.key(0))
    start = int((easrec.tau_start - easrec.tau_min) / easrec.tau_decay) + 1  # the temperature has fallen
    state = state._replace(step=jnp.int32(start))
    table = Table.of(space, cost_table(space, split.data.num_items), settings.budget)
    plan = {"max_length": config.model.max_length, "batch_size": settings.batch_size, "buckets": settings.buckets}
    batches = list(epoch_batches(samples, **plan, seed=0, epoch=0))
    validation = scoring_samples(split, "validation", max_length=config.model.max_length)
    held_out_batch = EndlessBatches(validation, **plan, seed=0)
    held_out = [held_out_batch(n) for n in range(-(-steps // settings.every))]
    key = jax.random.key(1)

    def run(state: Any, batches: list, held_out: list) -> Any:
        for number, batch in enumerate(batches):
            state, _ = weight_step(state, batch, key, table, searcher=searcher)
            if (number + 1) % settings.every == 0:
                state, _ = architecture_step(state, held_out[number // settings.every], key, table, searcher=searcher)
        return jax.block_until_ready(state)

    shapes = {b.items.shape: b for b in batches}
    state = run(state, list(shapes.values()), [])
    for batch in {b.items.shape: b for b in held_out}.values():
        state, _ = architecture_step(state, batch, key, table, searcher=searcher)
    jax.block_until_ready(state)
    begun = time.perf_counter()
    run(state, batches[:steps], held_out)
    seconds = (time.perf_counter() - begun) / steps
    epoch = seconds * batches_per_epoch(samples, **plan)
    return {"search.step_ms": seconds * 1e3, "search.epoch_s": epoch, "search.peak_mb": peak_mb()}
