"""A trained model as a folder: weights, ids, architecture, config, figures, checksums. No pickle, no code.

manifest.json       format name and version, SHA-256 of every other file
architecture.json   what network it is, its FLOPs and parameters, how it was chosen
weights.npz         the parameters, one array a name (`blocks_0/query/kernel`)
items.json          raw item ids by inner id (from 1), how often each was trained on, titles to show (may be none)
config.json, results.json, metrics.jsonl    how it came about, figures with their protocol, the training curve
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from easrec_jax.architecture import Architecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.files import check_digests, file_digests, read_arrays, read_json, write_arrays, write_text

FORMAT = "easrec_jax model"
VERSION = 1


class Model(NamedTuple):
    """What a model folder holds."""

    architecture: Architecture
    weights: dict
    item_ids: IdMap
    popularity: np.ndarray  # int64 [items + 1], training interactions by inner id
    results: dict
    titles: dict[str, str] = {}  # raw item id -> text to show
    fingerprint: str = ""  # checksum of the weights; filled in by `load_model`


def save_tree(path: Path, tree: dict) -> None:
    """Nested dict of arrays -> one .npz, written aside and renamed."""
    write_arrays(path, {name: np.asarray(leaf) for name, leaf in flatten_dict(tree, sep="/").items()})


def load_tree(path: Path) -> dict:
    """The inverse of `save_tree`; `ValueError` names a file that is no such thing."""
    return unflatten_dict(read_arrays(path), sep="/")


def save_model(folder: str | Path, model: Model, *, architecture: dict, config: str, metrics: str) -> None:
    """Write the whole folder aside, then put it in place of what may stand there.

    `architecture` is the JSON of architecture.json (the fields of `Architecture` and more), `config` and `metrics` the
    texts of config.json and metrics.jsonl.
    """
    folder = Path(folder)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        save_tree(aside / "weights.npz", model.weights)
        items = {"ids": model.item_ids.to_json(), "interactions": model.popularity[1:].tolist(), "titles": model.titles}
        write_text(aside / "items.json", json.dumps(items))
        write_text(aside / "architecture.json", json.dumps(architecture, indent=2) + "\n")
        write_text(aside / "results.json", json.dumps(model.results, indent=2) + "\n")
        write_text(aside / "config.json", config)
        write_text(aside / "metrics.jsonl", metrics)
        manifest = {"format": FORMAT, "version": VERSION, "sha256": file_digests(aside)}
        write_text(aside / "manifest.json", json.dumps(manifest, indent=2) + "\n")
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        if folder.exists():
            os.replace(folder, old)
        os.replace(aside, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def load_model(folder: str | Path) -> Model:
    """Read and verify a model folder. Raises `FileNotFoundError` or `ValueError` naming the file that is at fault."""
    folder = Path(folder)
    if not (folder / "manifest.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no model here (expected a folder with manifest.json, as bin/retrain.py writes)"
        )
    manifest = read_json(folder / "manifest.json")
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        got = f"{manifest.get('format')!r} version {manifest.get('version')!r}"
        raise ValueError(f"{folder / 'manifest.json'}: expected {FORMAT!r} version {VERSION}, got {got}")
    check_digests(folder, manifest["sha256"])
    items = read_json(folder / "items.json")
    return Model(
        architecture=Architecture.from_json(
            read_json(folder / "architecture.json"), source=str(folder / "architecture.json")
        ),
        weights=load_tree(folder / "weights.npz"),
        item_ids=IdMap.from_json(items["ids"]),
        popularity=np.array([0, *items["interactions"]], np.int64),
        results=read_json(folder / "results.json"),
        titles=items.get("titles", {}),
        fingerprint=manifest["sha256"]["weights.npz"],
    )
