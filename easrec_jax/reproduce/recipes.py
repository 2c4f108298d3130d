"""The settings of an experiment by data set and scale: the same code at three sizes.

smoke: minutes in all, to see that everything runs; its figures mean nothing. cpu: the sizes that two cores manage, by the
rule written in `configs/ml1m.py`. paper: Table II of the paper and its own mode (bidirectional linrec, one sample a
prefix), for a GPU.
"""

from __future__ import annotations

from typing import Literal

from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig

Dataset = Literal["planted", "ml-100k", "ml-1m", "gowalla"]
Scale = Literal["smoke", "cpu", "paper"]


def recipe(dataset: Dataset, scale: Scale, *, path: str = "") -> Config:
    """The config of every cell. `path` is the file of interactions (default: the catalogue's)."""
    planted = dataset == "planted"
    if not planted and not path:
        path = f"catalog:{dataset}"
    users, items = (300, 100) if scale == "smoke" else (3000, 400)
    data = DataConfig(
        path=path, planted_users=users, planted_items=items,
        targets="last" if scale == "paper" else "all", k_core=10 if dataset == "gowalla" else 0,
    )  # fmt: skip
    if scale == "smoke":
        return Config(
            data=data,
            model=ModelConfig(width=32, inner=32, layers=2, heads=4, max_length=40),
            search=SearchConfig(
                prune=(0.0, 0.5, 0.75), epochs=4, warmup_epochs=1, batch_size=32, buckets=1, learning_rate=0.01,
                arch_learning_rate=0.1, budget=0.5, tau_start=0.5, tau_decay=0.01, tau_min=0.1, finalists=2,
            ),
            retrain=RetrainConfig(epochs=4, batch_size=32, buckets=1, learning_rate=0.01, warmup_steps=10),
            evaluate=EvaluateConfig(select_by="full", buckets=1),
        )  # fmt: skip
    if scale == "paper":
        width = {"gowalla": 64}.get(dataset, 128)
        return Config(
            data=data,
            model=ModelConfig(
                width=width, inner=256, layers=4, heads=4, max_length=100 if dataset == "gowalla" else 200, attention="linrec"
            ),
            search=SearchConfig(
                prune=(0.0, 0.5, 0.75) if dataset == "gowalla" else (0.0, 0.25, 0.5),
                epochs=100, batch_size=1024, learning_rate=0.001, cost_weight=0.1,
            ),
            retrain=RetrainConfig(epochs=100, batch_size=2048, learning_rate=0.001, schedule="constant", warmup_steps=0),
            evaluate=EvaluateConfig(select_by="pop100"),
        )  # fmt: skip
    if planted:
        return Config(
            data=data,
            model=ModelConfig(width=64, inner=128, layers=3, heads=4, max_length=40),
            search=SearchConfig(
                epochs=8, warmup_epochs=3, batch_size=32, buckets=1, learning_rate=0.003, arch_learning_rate=0.1,
                budget=0.5, tau_start=0.5, tau_decay=0.001, tau_min=0.1,
            ),
            retrain=RetrainConfig(epochs=12, batch_size=32, buckets=2, learning_rate=0.003),
            evaluate=EvaluateConfig(select_by="full", buckets=1),
        )  # fmt: skip
    small = dataset == "ml-100k"
    return Config(
        data=data,
        model=ModelConfig(width=128, inner=256, layers=4, heads=4, max_length=200, dropout=0.3),
        search=SearchConfig(
            epochs=16 if small else 10, warmup_epochs=8 if small else 5, batch_size=8 if small else 16,
            learning_rate=0.002, arch_learning_rate=0.03, budget=0.14, tau_start=0.2, tau_decay=0.0003, tau_min=0.1,
            finalist_epochs=6 if small else 4,
        ),
        retrain=RetrainConfig(epochs=30 if small else 16, batch_size=8 if small else 16, learning_rate=0.003),
        evaluate=EvaluateConfig(select_by="pop100"),
    )  # fmt: skip
