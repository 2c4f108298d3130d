"""Find, train and serve compact sequential recommenders (EASRec / DNS-Rec) in JAX.

`Recommender.load("runs/demo/model").recommend([["i1", "i2"]], k=10)` answers from a saved model.
`read_interactions(data)` reads a file, a folder or a table; `Split` holds out, `Evaluator` measures. A `Config` says how to
search and train: `search_space` has its candidates (`Architecture`), `Supernet` shares their weights, `extract` cuts one
out as a `Network`. The commands are bin/search.py, bin/retrain.py, bin/recommend.py and bin/serve.py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from easrec_jax.architecture import Architecture
    from easrec_jax.config import (
        Config,
        DataConfig,
        EvaluateConfig,
        ModelConfig,
        PlantedConfig,
        RetrainConfig,
        SearchConfig,
    )
    from easrec_jax.data.interactions import IdMap, Interactions, read_interactions
    from easrec_jax.data.split import Split
    from easrec_jax.evaluate.evaluator import Evaluator
    from easrec_jax.models.network import Network
    from easrec_jax.models.supernet import Supernet, extract
    from easrec_jax.serving.recommend import Recommender
    from easrec_jax.space import SearchSpace, search_space

_HOMES = {
    "Architecture": "architecture", "SearchSpace": "space", "search_space": "space",
    "Config": "config", "DataConfig": "config", "EvaluateConfig": "config", "ModelConfig": "config", "PlantedConfig": "config",
    "RetrainConfig": "config", "SearchConfig": "config",
    "IdMap": "data.interactions", "Interactions": "data.interactions", "read_interactions": "data.interactions",
    "Split": "data.split", "Evaluator": "evaluate.evaluator", "Network": "models.network", "Recommender": "serving.recommend",
    "Supernet": "models.supernet", "extract": "models.supernet",
}  # fmt: skip

__all__ = [
    "Architecture", "Config", "DataConfig", "EvaluateConfig", "Evaluator", "IdMap", "Interactions", "ModelConfig",
    "Network", "PlantedConfig", "Recommender", "RetrainConfig", "SearchConfig", "SearchSpace", "Split", "Supernet", "extract",
    "read_interactions", "search_space",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: serving loads no training code."""
    if name == "__version__":
        from importlib.metadata import version

        return version("easrec_jax")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
