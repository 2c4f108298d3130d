"""A model away from where it was trained: the exported file alone, and serving without what training needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from served import IDS, save

from easrec_jax.files import read_arrays
from easrec_jax.serving.recommend import Recommender


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def recommender(folder):
    return Recommender.load(folder)


def test_the_exported_file_answers_alone(recommender, tmp_path):
    """With JAX and NumPy, what those require, and flatbuffers, with which `jax.export` reads; nothing else can be imported."""
    recommender.export(tmp_path / "model.jax", k=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.items.json", "model.jax"]
    histories = [["i1"], ["i1", "i2", "i3"], [IDS[k] for k in range(8)]]
    items = np.zeros((3, 8), np.int32)
    for row, history in enumerate(histories):
        items[row, : len(history)] = recommender.item_ids.encode(history)
    (tmp_path / "histories.json").write_text(json.dumps(histories))
    items[0] = items[0, ::-1]  # padded in front
    items[1] = [0, items[1, 0], len(IDS) + 1, items[1, 1], -1, 0, items[1, 2], 10**9]  # ids that are none
    np.save(tmp_path / "items.npy", items)
    code = (
        "import sys, importlib.abc\n"
        "known = {'jax', 'jaxlib', 'numpy', 'scipy', 'ml_dtypes', 'opt_einsum', 'flatbuffers'} | set(sys.stdlib_module_names)\n"
        "class Only(importlib.abc.MetaPathFinder):\n"
        "    def __init__(self, finder): self.finder = finder\n"
        "    def find_spec(self, name, *more):\n"
        "        return self.finder.find_spec(name, *more) if name[0] == '_' or name.split('.')[0] in known else None\n"
        "sys.meta_path[:] = map(Only, sys.meta_path)\n"
        "import importlib.util; assert importlib.util.find_spec('easrec_jax') is None is importlib.util.find_spec('flax')\n"
        "import jax.export, numpy as np\n"
        "call = jax.export.deserialize(bytearray(open('model.jax', 'rb').read()))\n"
        "assert set(call.platforms) == {'cpu', 'cuda', 'tpu'}\n"
        "scores, best = call.call(np.load('items.npy'))\n"
        "assert call.call(np.load('items.npy')[:1])[0].shape == (1, 4)\n"
        "np.savez('answer.npz', scores=scores, best=best)\n"
        "import json\n"
        "raw = json.load(open('model.items.json'))\n"
        "number = {item: n for n, item in enumerate(raw)}\n"
        "rows = [[number[item] for item in history] for history in json.load(open('histories.json'))]\n"
        "padded = np.array([row + [0] * (8 - len(row)) for row in rows], np.int32)\n"
        "json.dump([[raw[n] for n in row] for row in np.asarray(call.call(padded)[1])], open('raw.json', 'w'))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    answer = read_arrays(tmp_path / "answer.npz")
    for row, want in enumerate(recommender.recommend(histories, 4)):
        assert recommender.item_ids.decode(answer["best"][row]) == [i for i, _ in want]
        np.testing.assert_allclose(answer["scores"][row], [s for _, s in want], rtol=1e-4, atol=1e-6)
        assert json.loads((tmp_path / "raw.json").read_text())[row] == [i for i, _ in want]


def test_serving_imports_no_training_code(folder):
    code = (
        "import sys\nfrom easrec_jax import Recommender\n"
        f"Recommender.load({str(folder)!r}).recommend([['i1']], 2)\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('optax', 'orbax', 'polars', 'matplotlib', 'tyro')]\n"
        "bad += [m for m in sys.modules if m in ('easrec_jax.train.fit', 'easrec_jax.nas.search')]\nprint(bad)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
