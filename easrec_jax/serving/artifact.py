"""A trained model as a folder: weights, ids, architecture, config, figures, checksums. No pickle, no code.

manifest.json       format name and version, SHA-256 of every other file
architecture.json   what network it is, its FLOPs and parameters, how it was chosen
weights.npz         the parameters, one array a name (`blocks_0/query/kernel`)
items.json          raw item ids by inner id (from 1), how often each was trained on, titles to show (may be none)
front.json          of an elastic model alone: the networks that its weights hold, corners of the largest (see `serving.sizes`)
route.json, router.npz    of an elastic model with a router: who is answered by which of them (see `serving.route`)
features.json, features.npz    of a model trained with item features: what gives new items rows (see `serving.new_items`)
config.json, results.json, metrics.jsonl    how it came about, figures with their protocol, the training curve
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from easrec_jax.cells import AnyArchitecture, CellArchitecture, architecture_from_json
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.item_inputs import Coding
from easrec_jax.files import (
    check_digests,
    file_digests,
    read_arrays,
    read_json,
    standing_folder,
    whole_folder,
    write_arrays,
    write_text,
)
from easrec_jax.models.item_features import FeatureWeights
from easrec_jax.models.kinds import network_of
from easrec_jax.precision import check_float32, in_float32
from easrec_jax.serving.route import ROUTE, ROUTER, Route, read_route, write_route
from easrec_jax.serving.sizes import Size, read_sizes, sizes_to_json

FORMAT = "easrec_jax model"
VERSION = 1
FRONT = "front.json"
FEATURES, FEATURE_WEIGHTS = "features.json", "features.npz"
NEEDED = ("weights.npz", "items.json", "architecture.json", "results.json")


class Model(NamedTuple):
    """What a model folder holds."""

    architecture: AnyArchitecture
    """The network."""
    weights: dict
    """Nested dict of float32 arrays."""
    item_ids: IdMap
    """Raw ids of the rows of the item table."""
    popularity: np.ndarray
    """int64 [items + 1], training interactions by inner id."""
    results: dict
    """Content of results.json: data, architecture, figures by part and protocol."""
    titles: dict[str, str] = {}
    """Raw item id -> text to show."""
    fingerprint: str = ""
    """Checksum of the weights; filled in by `load_model`."""
    front: tuple[Size, ...] = ()
    """Of an elastic model: the networks that its weights hold, the cheapest first."""
    route: Route | None = None
    """Of an elastic model: what chooses one of them for each user."""
    features: FeatureWeights | None = None
    """Of a model trained with item features: what gives new items rows."""


def save_tree(path: Path, tree: dict) -> None:
    """Nested dict of arrays -> one .npz, written aside and renamed."""
    write_arrays(path, {name: np.asarray(leaf) for name, leaf in flatten_dict(tree, sep="/").items()})


def load_tree(path: Path) -> dict:
    """The inverse of `save_tree`; `ValueError` names a file that is no such thing."""
    return unflatten_dict(read_arrays(path), sep="/")


def save_model(folder: str | Path, model: Model, *, architecture: dict, config: str, metrics: str) -> None:
    """Write the whole folder aside, then put it in place of what may stand there.

    `architecture` is the JSON of architecture.json (the fields of an architecture and more), `config` and `metrics` the
    texts of config.json and metrics.jsonl. Raises `ValueError` for weights of another type than float32.
    """
    check_float32(model.weights)
    with whole_folder(Path(folder)) as aside:
        save_tree(aside / "weights.npz", model.weights)
        items = {"ids": model.item_ids.to_json(), "interactions": model.popularity[1:].tolist(), "titles": model.titles}
        write_text(aside / "items.json", json.dumps(items))
        write_text(aside / "architecture.json", json.dumps(architecture, indent=2) + "\n")
        write_text(aside / "results.json", json.dumps(model.results, indent=2) + "\n")
        if model.front:
            write_text(aside / FRONT, sizes_to_json(model.front))
        if model.route:
            write_route(aside, model.route)
        if model.features:
            write_arrays(
                aside / FEATURE_WEIGHTS, {name: np.asarray(table) for name, table in model.features.tables.items()}
            )
            write_text(aside / FEATURES, json.dumps(model.features.coding.to_json()) + "\n")
        write_text(aside / "config.json", config)
        write_text(aside / "metrics.jsonl", metrics)
        manifest = {"format": FORMAT, "version": VERSION, "sha256": file_digests(aside)}
        write_text(aside / "manifest.json", json.dumps(manifest, indent=2) + "\n")


@in_float32
def load_model(folder: str | Path) -> Model:
    """Read and verify a model folder. Raises `FileNotFoundError` or `ValueError` naming the file that is at fault.

    Nothing in it is executed and nothing outside it is read. A folder that is replaced meanwhile is read again.
    """
    folder = Path(folder)
    while True:
        standing = standing_folder(folder)
        manifest = standing / "manifest.json"
        if not manifest.is_file() or not manifest.resolve().is_relative_to(standing.resolve()):
            inside = f"; there is one in {folder / 'model'}" if (folder / "model" / "manifest.json").is_file() else ""
            raise FileNotFoundError(
                f"{folder}: no model here (expected a folder with manifest.json, as the command retrain writes){inside}"
            )
        before = manifest.read_bytes()
        try:
            return _read_model(standing)
        except (FileNotFoundError, ValueError):
            now = standing_folder(folder) / "manifest.json"
            if not now.is_file() or now.read_bytes() == before:
                raise


def _read_model(folder: Path) -> Model:
    path = folder / "manifest.json"
    manifest = read_json(path)
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        got = f"{manifest.get('format')!r} version {manifest.get('version')!r}"
        raise ValueError(f"{path}: expected {FORMAT!r} version {VERSION}, got {got[:200]}")
    elastic = (folder / FRONT).exists()
    routed = (folder / ROUTE).exists()
    featured = (folder / FEATURES).exists()
    needed = (*NEEDED, *((FRONT,) if elastic else ()), *((ROUTE, ROUTER) if routed else ()))
    needed += (FEATURES, FEATURE_WEIGHTS) if featured else ()
    check_digests(folder, manifest.get("sha256"), source=path, needed=needed)
    path = folder / "architecture.json"
    architecture = architecture_from_json(read_json(path), source=str(path))
    item_ids, popularity, titles = _read_items(folder / "items.json")
    return Model(
        architecture=architecture,
        weights=_read_weights(folder / "weights.npz", architecture, len(item_ids)),
        item_ids=item_ids,
        popularity=popularity,
        results=read_json(folder / "results.json"),
        titles=titles,
        fingerprint=manifest["sha256"]["weights.npz"],
        front=read_sizes(folder / FRONT, architecture) if elastic else (),
        route=read_route(folder, architecture, len(item_ids)) if routed else None,
        features=_read_features(folder, architecture) if featured else None,
    )


def _read_features(folder: Path, architecture: AnyArchitecture) -> FeatureWeights:
    """The coding of features.json, and the arrays of features.npz, if they are those that the coding has, and finite."""
    path = folder / FEATURES
    coding, arrays = Coding.from_json(read_json(path), source=str(path)), read_arrays(folder / FEATURE_WEIGHTS)
    check_arrays(
        folder / FEATURE_WEIGHTS,
        arrays,
        lambda _: {name: jnp.zeros((rows, architecture.width)) for name, rows in coding.rows.items()},
    )
    return FeatureWeights(coding, arrays)


def _read_items(path: Path) -> tuple[IdMap, np.ndarray, dict[str, str]]:
    """(ids, interactions by inner id, titles) of items.json."""
    items = read_json(path)
    ids, counts, titles = items.get("ids"), items.get("interactions"), items.get("titles", {})
    if not isinstance(ids, list) or not ids or not all(isinstance(raw, str) for raw in ids):
        raise ValueError(f"{path}: ids: expected a list of raw item ids, each of them text")
    if (
        not isinstance(counts, list)
        or len(counts) != len(ids)
        or not all(type(x) is int and 0 <= x < 2**63 for x in counts)
    ):
        raise ValueError(f"{path}: interactions: expected {len(ids)} integers of 0 or more, one an item")
    if not isinstance(titles, dict) or not all(isinstance(text, str) for text in titles.values()):
        raise ValueError(f"{path}: titles: expected an object of item ids and text")
    try:
        item_ids = IdMap.from_json(ids)
        "".join([*ids, *titles, *titles.values()]).encode()  # half a surrogate pair could never be printed
    except ValueError as error:
        raise ValueError(f"{path}: ids: {error}") from None
    return item_ids, np.array([0, *counts], np.int64), titles


def _read_weights(path: Path, architecture: AnyArchitecture, num_items: int) -> dict:
    """The weights, if they are exactly the arrays that the architecture has, and finite."""
    arrays = read_arrays(path)
    layer = "cells_" if isinstance(architecture, CellArchitecture) else "blocks_"
    depth = len({name.split("/")[0] for name in arrays if name.startswith(layer)})
    if depth != architecture.depth:  # before a network of any depth is traced
        raise ValueError(f"{path}: expected weights of {architecture.depth} layers, got {depth}")
    check_arrays(path, arrays, network_of(architecture, num_items).init)
    return unflatten_dict(arrays, sep="/")


def check_arrays(path: Path, arrays: dict[str, np.ndarray], init: Callable[[Array], Any], hint: str = "") -> None:
    """Raise `ValueError` naming the first of a file's arrays that is not as `init(key)` makes it, or not finite."""
    expected: dict[str, Any] = flatten_dict(jax.eval_shape(init, jax.random.key(0)), sep="/")
    for name in sorted(expected.keys() ^ arrays.keys()):
        raise ValueError(
            f"{path}: {name}: {'missing' if name in expected else 'not a weight of this architecture'}{hint}"
        )
    for name, want in expected.items():
        got = arrays[name]
        if got.shape != want.shape or got.dtype != want.dtype:
            shapes = f"{want.dtype} of shape {want.shape}, got {got.dtype} of shape {got.shape}"
            raise ValueError(f"{path}: {name}: expected {shapes}{hint}")
        if not np.isfinite(got).all():
            raise ValueError(f"{path}: {name}: expected finite numbers, got NaN or infinity")
