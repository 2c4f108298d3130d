"""From a `DataConfig` to interactions: a file, a catalogued data set, or planted data."""

from __future__ import annotations

import dataclasses
from typing import Any

from easrec_jax.config import DataConfig
from easrec_jax.data.features import ItemFeatures, read_item_features
from easrec_jax.data.interactions import Interactions, read_interactions


def load_data(config: DataConfig, *, seed: int) -> tuple[Interactions, Any]:
    """The interactions, and for planted data the `synthetic.Truth` behind them (None otherwise).

    Raises what `read_interactions` raises. `seed` decides the planted data.
    """
    if not config.path:
        from easrec_jax.data.synthetic import planted  # the one reader that needs JAX

        made = planted(**dataclasses.asdict(config.planted), seed=seed)
        return made.data, made.truth
    options = {
        "format": config.format, "separator": config.separator, "user_column": config.user_column,
        "item_column": config.item_column, "time_column": config.time_column, "history_column": config.history_column,
    }  # fmt: skip
    path: Any = config.path
    if path.startswith("catalog:"):
        from easrec_jax.data import catalog

        name = path.removeprefix("catalog:")
        given = {key: value for key, value in options.items() if value not in ("", "auto")}
        path, options = catalog.fetch(name), options | catalog.find(name).options | given
    data = read_interactions(
        path, **options, equal_times=config.equal_times, missing_ids=config.missing_ids, min_history=config.min_history,
        k_core=config.k_core, duplicates=config.duplicates,
    )  # fmt: skip
    return data, None


def load_features(config: DataConfig, data: Interactions, truth: Any) -> ItemFeatures:
    """The item features of `data.features`, or those of planted data (`truth` of `load_data`).

    Raises what `read_item_features` raises, and `ValueError` where there are none.
    """
    if config.features:
        return read_item_features(config.features, config.feature_columns, data.item_ids)
    if truth is None:
        raise ValueError("data.features: expected a file of item features (SASRecF and FDSA read them), got none")
    from easrec_jax.data.synthetic import planted_features

    return planted_features(truth)
