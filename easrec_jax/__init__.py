"""Find, train and serve compact sequential recommenders (EASRec / DNS-Rec) in JAX.

`search_and_fit(config, read_interactions(data))` is the whole way from a file, a folder or a table to a `Recommender`;
`search` and `fit` are its two halves. `Recommender.load("runs/demo/model").recommend([["i1", "i2"]], k=10)` answers from a saved
model. A `Config` says how to search and train, `space_of` has the networks (`Architecture`) that it chooses from, `Split`
holds out, `Evaluator` measures. The commands are
`easrec search`, `easrec retrain`, `easrec recommend` and `easrec serve`, or bin/search.py and so on.
"""

# ruff: noqa: F401 (the imports below are for type checkers; `_NAMES` is the list)

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from easrec_jax.architecture import Architecture
    from easrec_jax.config import (
        Config,
        DataConfig,
        EasrecConfig,
        EvaluateConfig,
        ModelConfig,
        PlantedConfig,
        ProxylessConfig,
        RecnasConfig,
        RetrainConfig,
        RouteConfig,
        SearchConfig,
    )
    from easrec_jax.config_files import load_config
    from easrec_jax.data.interactions import IdMap, Interactions
    from easrec_jax.data.read import read_interactions
    from easrec_jax.data.split import Split
    from easrec_jax.evaluate.evaluator import Evaluator
    from easrec_jax.models.network import Network
    from easrec_jax.runs.pipeline import fit, search, search_and_fit
    from easrec_jax.serving.recommend import Recommender
    from easrec_jax.space import Space, space_of

_NAMES = {  # by the module that defines them
    "architecture": ("Architecture",),
    "config": ("Config",),
    "config.data": ("DataConfig", "PlantedConfig"),
    "config.evaluate": ("EvaluateConfig",),
    "config.model": ("ModelConfig",),
    "config.retrain": ("RetrainConfig",),
    "config.route": ("RouteConfig",),
    "config.search": ("EasrecConfig", "ProxylessConfig", "RecnasConfig", "SearchConfig"),
    "config_files": ("load_config",),
    "data.interactions": ("IdMap", "Interactions"),
    "data.read": ("read_interactions",),
    "data.split": ("Split",),
    "evaluate.evaluator": ("Evaluator",),
    "models.network": ("Network",),
    "runs.pipeline": ("fit", "search", "search_and_fit"),
    "serving.recommend": ("Recommender",),
    "space": ("Space", "space_of"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


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
