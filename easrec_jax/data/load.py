"""From a `DataConfig` to interactions: a file, a catalogued data set, or planted data."""

from __future__ import annotations

import dataclasses
from typing import Any

from easrec_jax.config import DataConfig
from easrec_jax.data import catalog
from easrec_jax.data.features import ItemFeatures, read_item_features
from easrec_jax.data.interactions import Interactions
from easrec_jax.data.item_files import ItemFiles, with_item_features, with_planted_features
from easrec_jax.data.parts import parted
from easrec_jax.data.read import read_interactions
from easrec_jax.data.reading import Options
from easrec_jax.typed import check


def load_data(config: DataConfig, *, seed: int, times: bool = False) -> tuple[Interactions, Any]:
    """The interactions, and for planted data the `synthetic.Truth` behind them (None otherwise).

    With `data.item_features` they have features of the items. Raises what `read_interactions` and `ItemFile` raise. `seed` decides
    the planted data; with `times` the events keep theirs.
    """
    data, truth = _load(config, seed, times)
    if config.item_features == "no":
        return data, truth
    if truth is not None and not config.features and not config.item_vectors:
        return with_planted_features(data, load_features(config, data, truth)), truth
    files = ItemFiles(config.features, config.feature_columns, config.item_vectors)
    return with_item_features(data, files, join=config.item_features == "all"), truth


def _load(config: DataConfig, seed: int, times: bool) -> tuple[Interactions, Any]:
    if not config.path:
        from easrec_jax.data.synthetic import planted  # here, not above: it alone needs JAX

        made = planted(**dataclasses.asdict(config.planted), seed=seed)
        expected = "true with model.times: other planted events have no times"
        check(made.data.times is not None or not times, "data.planted.timed", expected, config.planted.timed)
        data = made.data if times else dataclasses.replace(made.data, times=None)
        return parted(data, config.split, times=made.data.times), made.truth
    path: Any = config.path
    names = {field.name for field in dataclasses.fields(Options)} - {"times"}
    options = {name: getattr(config, name) for name in names}
    if path.startswith("catalog:"):
        entry = catalog.find(path.removeprefix("catalog:"))
        path = catalog.fetch(entry.name)
        options |= {name: value for name, value in entry.options.items() if options[name] in ("", "auto")}
    return read_interactions(path, **options, times=times), None


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
