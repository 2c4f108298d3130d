"""Find, train and serve compact sequential recommenders (EASRec / DNS-Rec) in JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from easrec_jax.architecture import Architecture, SearchSpace, search_space
    from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig
    from easrec_jax.data.interactions import IdMap, Interactions, read_interactions
    from easrec_jax.data.split import Split
    from easrec_jax.evaluate import Evaluator
    from easrec_jax.network import Network
    from easrec_jax.recommend import Recommender
    from easrec_jax.supernet import Supernet, extract

_HOMES = {
    "Architecture": "architecture", "SearchSpace": "architecture", "search_space": "architecture",
    "Config": "config", "DataConfig": "config", "EvaluateConfig": "config", "ModelConfig": "config",
    "RetrainConfig": "config", "SearchConfig": "config",
    "IdMap": "data.interactions", "Interactions": "data.interactions", "read_interactions": "data.interactions",
    "Split": "data.split", "Evaluator": "evaluate", "Network": "network", "Recommender": "recommend",
    "Supernet": "supernet", "extract": "supernet",
}  # fmt: skip

__all__ = [
    "Architecture", "Config", "DataConfig", "EvaluateConfig", "Evaluator", "IdMap", "Interactions", "ModelConfig",
    "Network", "Recommender", "RetrainConfig", "SearchConfig", "SearchSpace", "Split", "Supernet", "extract",
    "read_interactions", "search_space",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: serving loads no training code."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
