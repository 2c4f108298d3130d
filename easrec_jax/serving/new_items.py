"""New items for a trained model: rows of its item table out of their features, nothing is trained.

A model that was trained with item features keeps what each feature counts (features.json, features.npz). The row of a new item is
the one it would have had in training without an event: its features' sum. The items that are there stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from easrec_jax.data.interactions import IdMap
from easrec_jax.data.item_inputs import RawFeatures
from easrec_jax.files import read_json
from easrec_jax.models.item_features import FeatureWeights, Rows, feature_rows
from easrec_jax.precision import in_float32
from easrec_jax.serving.artifact import Model, load_model, save_model


class Added(NamedTuple):
    """A model with new items, and how many there are."""

    model: Model
    new: int
    there: int  # items of the files that the model has already: they stay as they are
    unknown: int  # new items without a value, number or vector that the model knows: they score 0


@in_float32
def add_items(model: Model, ids: IdMap, raw: RawFeatures, *, titles: dict[str, str] | None = None) -> Added:
    """The model with a row for each of these ids that it lacks; `raw` is of `ids`, position 0 being padding.

    Raises `ValueError` where the model was trained without item features, or with others than `raw` has.
    """
    coding, tables = _features_of(model)
    there = model.item_ids.encode(ids.raw)
    new = np.flatnonzero(there == 0)
    coded = coding.encode(raw)
    table = jnp.asarray(model.weights["tables"]["items"])
    rows = feature_rows({name: jnp.asarray(part) for name, part in tables.items()}, Rows.of(coded, new + 1))
    weights = model.weights | {"tables": model.weights["tables"] | {"items": jnp.concatenate([table, rows])}}
    raws = [ids.raw[number] for number in new.tolist()]
    shown = {raw: titles[raw] for raw in raws if titles and raw in titles}
    dumb = ~np.any(np.asarray(rows), 1)
    grown = model._replace(
        weights=weights,
        item_ids=IdMap((*model.item_ids.raw, *raws)),
        popularity=np.concatenate([model.popularity, np.zeros(len(raws), np.int64)]),
        titles=model.titles | shown,
        results=model.results | {"added_items": model.results.get("added_items", 0) + len(raws)},
    )
    return Added(grown, len(raws), len(ids) - len(raws), int(np.count_nonzero(dumb)))


def _features_of(model: Model) -> FeatureWeights:
    if model.features is None:
        raise ValueError(
            "the model was trained without item features, so they say nothing of new items to it: train one with "
            "--data.item_features (docs/guide.md)"
        )
    return model.features


def read_new_items(model: Model, features: str, vectors: str) -> tuple[IdMap, RawFeatures]:
    """(ids, features) of files that have what the model was trained with; `ValueError` names what is missing."""
    from easrec_jax.data.item_files import ItemFiles

    coding = _features_of(model).coding
    for name, wanted, given in (
        ("features", bool(coding.names or coding.numbers), features),
        ("item_vectors", bool(coding.vector_mean), vectors),
    ):
        if wanted != bool(given):
            expected = (
                "a file, as the model was trained with one" if wanted else "none, as the model was trained without"
            )
            raise ValueError(f"{name}: expected {expected}, got {given!r}")
    files = ItemFiles(features, (*coding.names, *coding.numbers), vectors)
    ids = IdMap(tuple(files.ids))
    return ids, files.read(ids)


def add_items_to(folder: Path, out: Path, *, features: str = "", vectors: str = "", titles: dict[str, str]) -> Added:
    """Read a model folder and write another one, with the new items of these files; raises what `add_items` and `load_model` raise."""
    model = load_model(folder)
    added = add_items(model, *read_new_items(model, features, vectors), titles=titles)
    texts = {"config": (folder / "config.json").read_text(), "metrics": (folder / "metrics.jsonl").read_text()}
    save_model(out, added.model, architecture=read_json(folder / "architecture.json"), **texts)
    return added
