"""A model folder of cells: read back, recommended from, streamed and drawn like any other."""

from __future__ import annotations

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.cells import CellArchitecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.kinds import network_of
from easrec_jax.runs.picture import architecture_svg, read_drawn
from easrec_jax.serving.artifact import Model, load_model, load_tree, save_model
from easrec_jax.serving.recommend import Recommender

IDS = tuple(f"i{k}" for k in range(30))
ARCHITECTURE = CellArchitecture(8, 2, ("conv3_2", "max3", "identity", "conv5_1", "mean3", "zero"), 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    weights = network_of(ARCHITECTURE, len(IDS)).init(jax.random.key(3))
    model = Model(ARCHITECTURE, weights, IdMap(IDS), np.arange(len(IDS) + 1), {"test": {}})
    path = tmp_path_factory.mktemp("cells") / "model"
    save_model(path, model, architecture=ARCHITECTURE.to_json(), config="{}", metrics="")
    return path


def test_the_folder_knows_what_network_it_holds(folder):
    model = load_model(folder)
    assert model.architecture == ARCHITECTURE
    weights = jax.tree.map(jnp.asarray, model.weights)
    network, items = network_of(ARCHITECTURE, len(IDS)), np.array([[3, 5, 7, 0, 0, 0]], np.int32)
    scores = np.array(network.encode_last(weights, jnp.asarray(items)) @ weights["tables"]["items"].T)[0, 1:]
    scores[[2, 4, 6]] = -np.inf
    (found,) = Recommender(model).recommend([["i2", "i4", "i6"]], 3)
    assert [name for name, _ in found] == [IDS[k] for k in np.argsort(-scores)[:3]]
    assert [score for _, score in found] == pytest.approx(np.sort(scores)[::-1][:3].tolist(), rel=1e-5)


def test_a_stream_answers_as_the_history_does_even_beyond_n(folder):
    recommender = pickle.loads(pickle.dumps(Recommender.load(folder)))
    clicks = np.random.default_rng(0).choice(IDS, 11).tolist()
    stream = recommender.start([clicks[:2]])
    for step in range(2, 11):
        stream = recommender.update(stream, [clicks[step]])
        counted = clicks[: step + 1][-int(stream.count[0]) :]
        (mine,), (whole,) = recommender.recommend_from(stream, 5), recommender.recommend([counted], 5)
        assert [name for name, _ in mine] == [name for name, _ in whole]
        np.testing.assert_allclose([x for _, x in mine], [x for _, x in whole], rtol=1e-4, atol=1e-5)


def test_the_picture_shows_every_edge(folder):
    picture = architecture_svg(read_drawn(folder, len(IDS)))
    for edge in ("0 → 1: conv3_2", "2 → 3: zero", "0 → 3: conv5_1"):
        assert picture.count(edge) == 2


def test_weights_of_other_operations_are_refused(folder, tmp_path):
    other = CellArchitecture(8, 2, ("conv3_2",) * 6, 6)
    weights = load_tree(folder / "weights.npz")
    model = Model(other, weights, IdMap(IDS), np.arange(len(IDS) + 1), {})
    save_model(tmp_path / "wrong", model, architecture=other.to_json(), config="{}", metrics="")
    with pytest.raises(ValueError, match=r"weights\.npz: cells_\d/edges_\d/\w+/.*missing"):
        load_model(tmp_path / "wrong")
    assert json.loads((folder / "architecture.json").read_text())["kind"] == "cells"
