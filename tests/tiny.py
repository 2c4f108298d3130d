"""Experiments small enough for tests: a space of four networks, its data, and data whose test items are others."""

from __future__ import annotations

import dataclasses

from easrec_jax.config import (
    Config,
    DataConfig,
    EasrecConfig,
    EvaluateConfig,
    ModelConfig,
    PlantedConfig,
    RetrainConfig,
    SearchConfig,
)
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted

TINY = Config(
    data=DataConfig(planted=PlantedConfig(users=60, items=100)),
    model=ModelConfig(width=8, inner=8, layers=2, heads=2, max_length=12, attention="softmax", gate_layers=0, dropout=0.0),
    search=SearchConfig(
        prune=(0.0, 0.5), epochs=2, warmup_epochs=0, every=1, batch_size=16, buckets=1, learning_rate=0.01, budget=0.6,
        finalists=2, finalist_epochs=2, easrec=EasrecConfig(tau_start=0.2, tau_min=0.1),
    ),
    retrain=RetrainConfig(epochs=2, batch_size=16, buckets=1, learning_rate=0.01),
    evaluate=EvaluateConfig(protocols=("full", "pop5_unseen"), select_by="full", buckets=1),
)  # fmt: skip
SPLIT = Split(planted(users=60, items=100, seed=0).data)


def poisoned(split: Split) -> Split:
    """The same data with every test item another one."""
    items = split.data.items.copy()
    last = split.data.offsets[1:] - 1
    items[last] = items[last] % split.data.num_items + 1
    return Split(dataclasses.replace(split.data, items=items, offsets=split.data.offsets.copy()))
