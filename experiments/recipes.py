"""The settings of an experiment by data set and scale: the same code at three sizes.

smoke: minutes in all, to see that everything runs; its figures mean nothing. cpu: the sizes that two cores manage, by the
rule written in `configs/ml1m.py`. paper: Table II of the paper and its own mode (bidirectional linrec, one sample a
prefix), for a GPU.

planted-douban stands in for the paper's Douban (28 items, 110,090 users, 19.3 events each), which is not to be had: planted
data of that shape, 24 items and 4 markers, 3 to 36 events a user, so 19.5 on average; 5,000 users at cpu scale.

planted-check is another draw of the planted data: the recipe was set on planted, nothing was set on this. In planted-timed the gap
before an event decides what it is.
"""

from __future__ import annotations

from typing import Any, Literal

from easrec_jax.config import (
    Config,
    DataConfig,
    EasrecConfig,
    EvaluateConfig,
    ModelConfig,
    PlantedConfig,
    RecnasConfig,
    RetrainConfig,
    SearchConfig,
)

Dataset = Literal[
    "planted",
    "planted-check",
    "planted-timed",
    "planted-douban",
    "ml-100k",
    "ml-1m",
    "gowalla",
    "video-games",
    "beauty",
]
Scale = Literal["smoke", "cpu", "paper"]
CATALOG_NAMES = {"video-games": "amazon-video-games", "beauty": "amazon-beauty"}
DATA_SEEDS = {"planted-check": 1}  # of planted data; 0 where there is none
FEATURELESS = ("gowalla", "video-games", "beauty")  # nothing is known of their items: no SASRecF, no FDSA
HALVED = (0.0, 0.5, 0.75)  # candidates of all but MovieLens and the planted data


def recipe(dataset: Dataset, scale: Scale, *, path: str = "") -> Config:
    """The config of every cell. `path` is the file of interactions (default: the catalogue's)."""
    data = _data(dataset, scale, path)
    if scale == "smoke":
        return _smoke(data)
    if scale == "paper":
        return _paper(dataset, data)
    if dataset.startswith("planted"):
        return _planted(dataset, data)
    if dataset in ("gowalla", "video-games", "beauty"):
        return _large_catalog(dataset, data)
    return _movielens(dataset, data)


def _data(dataset: Dataset, scale: Scale, path: str) -> DataConfig:
    targets = "last" if scale == "paper" else "all"
    if dataset == "planted-douban":
        users = {"smoke": 300, "cpu": 5000, "paper": 110_090}[scale]
        return DataConfig(
            path=path,
            targets=targets,
            planted=PlantedConfig(users=users, items=24, clusters=4, tastes=4, variants=3, lengths=(3, 36)),
        )
    if not dataset.startswith("planted") and not path:
        path = f"catalog:{CATALOG_NAMES.get(dataset, dataset)}"
    users, items = (300, 100) if scale == "smoke" else (3000, 400)
    return DataConfig(
        path=path,
        planted=PlantedConfig(users=users, items=items, timed=dataset == "planted-timed"),
        targets=targets,
        k_core=10 if dataset == "gowalla" else 0,
    )


def _temperatures(start: float, decay: float) -> dict[str, Any]:
    """From `start` to .1, EASRec's and RecNAS's."""
    easrec = EasrecConfig(tau_start=start, tau_decay=decay, tau_min=0.1)
    return {"easrec": easrec, "recnas": RecnasConfig(tau_start=start, tau_min=0.1)}


def _smoke(data: DataConfig) -> Config:
    return Config(
        data=data,
        model=ModelConfig(width=32, inner=32, layers=2, heads=4, max_length=40),
        search=SearchConfig(
            prune=HALVED, epochs=4, warmup_epochs=1, batch_size=32, buckets=1, learning_rate=0.01,
            arch_learning_rate=0.1, budget=0.5, **_temperatures(0.5, 0.01), finalists=2,
        ),
        retrain=RetrainConfig(epochs=4, batch_size=32, buckets=1, learning_rate=0.01, warmup_steps=10),
        evaluate=EvaluateConfig(select_by="full", buckets=1),
    )  # fmt: skip


def _paper(dataset: Dataset, data: DataConfig) -> Config:
    movielens = dataset in ("ml-1m", "ml-100k", "planted", "planted-check")
    return Config(
        data=data,
        model=ModelConfig(
            width={"gowalla": 64, "video-games": 64, "beauty": 64}.get(dataset, 128), inner=256, layers=4, heads=4,
            max_length=200 if movielens else 100, attention="linrec",
        ),
        search=SearchConfig(
            prune=(0.0, 0.25, 0.5) if movielens else HALVED,
            epochs=100, batch_size=1024, buckets=1, learning_rate=0.001, easrec=EasrecConfig(cost_weight=0.1), finalists=1,
            warmup_epochs=0,
        ),
        retrain=RetrainConfig(
            epochs=100, batch_size=2048, buckets=1, learning_rate=0.001, schedule="constant", warmup_steps=0
        ),
        evaluate=EvaluateConfig(select_by="pop100"),
    )  # fmt: skip


def _planted(dataset: Dataset, data: DataConfig) -> Config:
    prune = HALVED if dataset == "planted-douban" else (0.0, 0.25, 0.5)
    return Config(
        data=data,
        model=ModelConfig(width=64, inner=128, layers=3, heads=4, max_length=40),
        search=SearchConfig(
            prune=prune, epochs=6, warmup_epochs=3, batch_size=32, buckets=2, learning_rate=0.003, arch_learning_rate=0.1,
            budget=0.5, **_temperatures(0.2, 0.001), finalists=2,
        ),
        retrain=RetrainConfig(epochs=12, batch_size=32, buckets=2, learning_rate=0.003),
        evaluate=EvaluateConfig(select_by="full", buckets=1),
    )  # fmt: skip


def _movielens(dataset: Dataset, data: DataConfig) -> Config:
    small = dataset == "ml-100k"
    return Config(
        data=data,
        model=ModelConfig(width=128, inner=256, layers=4, heads=4, max_length=200, dropout=0.3),
        search=SearchConfig(
            epochs=16 if small else 10, warmup_epochs=8 if small else 5, batch_size=8 if small else 16,
            learning_rate=0.002, arch_learning_rate=0.03, budget=0.14, **_temperatures(0.2, 0.0003),
            finalist_epochs=6 if small else 4,
        ),
        retrain=RetrainConfig(
            epochs=30 if small else 16, batch_size=8 if small else 16, learning_rate=0.003,
            # by SASRec's validation items: ML-100k of .001, .002 and .003; ML-1M of .001 and .003, which is better with one seed
            # and never leaves its first plateau with another
            baseline_learning_rate=0.002 if small else 0.001,
        ),
        evaluate=EvaluateConfig(select_by="pop100"),
    )  # fmt: skip


def _large_catalog(dataset: Dataset, data: DataConfig) -> Config:
    """Tens of thousands of items: the paper's width for Gowalla, half as many epochs; the scores are most of the work."""
    short = dataset in ("video-games", "beauty")  # 9 events a user
    return Config(
        data=data,
        model=ModelConfig(
            width=64, inner=128, layers=3, heads=4, max_length=50 if short else 100, dropout=0.5 if short else 0.3
        ),
        search=SearchConfig(
            prune=HALVED, epochs=6, warmup_epochs=3, batch_size=64 if short else 32, learning_rate=0.002,
            arch_learning_rate=0.03, budget=0.3, **_temperatures(0.2, 0.0003), finalist_epochs=2,
        ),
        retrain=RetrainConfig(epochs=10, batch_size=64 if short else 32, learning_rate=0.003),
        evaluate=EvaluateConfig(select_by="pop100"),
    )  # fmt: skip
