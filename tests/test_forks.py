"""A recommender in other processes: pickled it is the same, and a fork after JAX's start is told, never left to hang."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import jax
import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model, load_model, save_model
from easrec_jax.serving.recommend import Recommender

ARCHITECTURE = Architecture(width=8, inner=16, depth=1, heads=2, max_length=6, attention="recent_linrec", gate_layers=2)
IDS = IdMap(tuple(f"i{k}" for k in range(30)))


def save(folder):
    weights = Network(ARCHITECTURE, len(IDS)).init(jax.random.key(0))
    model = Model(ARCHITECTURE, weights, IDS, np.arange(31), {"test": {}}, {"i1": "One"})
    save_model(folder, model, architecture=ARCHITECTURE.to_json(), config="{}", metrics="")
    return folder


def test_a_recommender_and_its_streams_pickle(tmp_path):
    recommender = Recommender(load_model(save(tmp_path / "model")))
    stream = recommender.start([["i1", "i2"]])
    for other in (pickle.loads(pickle.dumps(recommender)), copy.deepcopy(recommender)):
        assert other.recommend([["i1", "i2"], ["i3"]], 5) == recommender.recommend([["i1", "i2"], ["i3"]], 5)
        assert other.titles == recommender.titles and other.fingerprint == recommender.fingerprint != ""
        assert other.results == recommender.results and other.item_ids.raw == recommender.item_ids.raw
        assert repr(other) == repr(recommender) and "30 items" in repr(other) and "width 8" in repr(other)
        moved = pickle.loads(pickle.dumps(stream))
        assert other.recommend_from(moved, 3) == recommender.recommend_from(stream, 3)


SCENE = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")  # JAX itself warns of forks
from easrec_jax import Recommender

def child(*works):
    if pid := os.fork():
        return os.waitpid(pid, 0)
    signal.alarm(20)  # whoever waits for ever
    for work in works:
        try:
            print(type(work()).__name__, flush=True)
        except RuntimeError as error:
            print("refused" if "forked after JAX had started" in str(error) else error, flush=True)
    os._exit(0)

folder = sys.argv[1]
child(lambda: Recommender.load(folder).recommend([["i1"]], 2))
r = Recommender.load(folder)
stream = r.start([["i1"]])
child(
    lambda: r.recommend([["i1"]], 2), lambda: r.recommend([["i1"]], 2, allow=["i2"]),
    lambda: r.score(["i1"], ["i2"]), lambda: r.similar(["i1"], 2), lambda: r.embed([["i1"]]), r.item_vectors,
    lambda: r.update(stream, ["i1"]), lambda: r.recommend_from(stream, 2), lambda: r.start([["i1"]]),
    lambda: Recommender.load(folder), lambda: __import__("pickle").dumps(r),
)
print(len(r.recommend([["i1"]], 2)[0]))
"""


def test_a_forked_child_answers_or_says_why_not(tmp_path):
    """Forked before JAX started it works, afterwards every call is refused, and the parent goes on."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCENE, str(save(tmp_path / "model"))],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["list", *["refused"] * 11, "2"], done.stdout + done.stderr
