"""One model, any size: a size is the network cut out, nothing recompiles, and what belongs to one size is refused by another."""

from __future__ import annotations

import dataclasses
import json
import pickle

import jax
import numpy as np
import pytest
from elastic import FRONT, HISTORIES, IDS, LARGEST, SIZES, elastic_model, entry, save_elastic, weights

from easrec_jax.data.interactions import IdMap
from easrec_jax.files import file_digest
from easrec_jax.models.corner import corner, is_corner
from easrec_jax.models.network import Network, item_table
from easrec_jax.serving.artifact import Model, load_model, save_model
from easrec_jax.serving.batch import recommend_file
from easrec_jax.serving.part_answers import Request
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.sizes import Size, short_cost


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_elastic(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def whole(folder):
    return Recommender.load(folder)


@pytest.mark.parametrize("size", FRONT, ids=lambda size: f"{size.architecture.depth}x{size.architecture.width}")
def test_a_size_answers_as_the_network_cut_out(whole, size):
    one = whole.with_budget(size.cost)
    assert one.architecture == size.architecture and one.cost == size.cost
    weights_of = corner(weights(), size.architecture)
    assert jax.tree.all(jax.tree.map(np.array_equal, one.weights, weights_of))
    ids = IdMap(IDS)
    alone = Recommender(Model(size.architecture, weights_of, ids, whole.popularity, {}))
    assert one.recommend(HISTORIES, 5) == alone.recommend(HISTORIES, 5)
    items = np.zeros((len(HISTORIES), LARGEST.max_length), np.int32)
    for row, history in zip(items, HISTORIES, strict=True):
        known = ids.encode(history[-LARGEST.max_length :])
        row[: len(known)] = known
    hidden = Network(size.architecture, len(IDS)).encode_last(weights_of, jax.numpy.asarray(items))
    np.testing.assert_allclose(one.embed(HISTORIES), hidden, atol=1e-5)
    scores = np.asarray(hidden @ item_table(weights_of).T)[:, 1:].max(1)
    best = one.recommend(HISTORIES, 1, exclude_seen=False)
    np.testing.assert_allclose([answer[0][1] for answer in best], scores, atol=1e-4)


def test_a_budget_is_the_most_accurate_size_within_it(whole, folder):
    costs = [size.cost for size in FRONT]
    assert costs == sorted(costs)
    for budget, wanted in ((costs[0], 0), (costs[1] - 1e-6, 0), (costs[1], 1), (1, 2), (np.float32(1.0), 2)):
        assert whole.with_budget(budget).architecture == SIZES[wanted]
    assert whole.with_budget(None) is whole and whole.architecture == LARGEST and whole.cost == 1.0
    loaded = Recommender.load(folder, costs[1])
    assert loaded.architecture == SIZES[1] and loaded.with_budget(None).architecture == LARGEST
    worse = (FRONT[0], Size(SIZES[1], entry(SIZES[1], 0.1)))
    assert Recommender(elastic_model(worse)).with_budget(1.0).architecture == SIZES[0]


def test_sizes_share_what_is_no_weight_and_have_figures_of_their_own(whole):
    for size in FRONT:
        one = whole.with_budget(size.cost)
        assert one.item_ids is whole.item_ids and one.titles is whole.titles and one.popularity is whole.popularity
        assert one.results["test"] == size.entry["test"] and one.results["data"] == whole.results["data"]
    assert len({one.fingerprint for one in [whole, *(whole.with_budget(size.cost) for size in FRONT)]}) == 4


def test_a_largest_size_on_the_front_is_the_whole():
    whole = Recommender(elastic_model((*FRONT, Size(LARGEST, entry(LARGEST, 0.9)))))
    assert whole.with_budget(1.0) is whole


def test_with_budget_never_recompiles_what_it_has(whole):
    costs = [size.cost for size in FRONT]
    for _ in range(2):
        found = [whole.with_budget(cost) for cost in costs]
        answers = [one.recommend(HISTORIES, 5) for one in found]
        streams = [one.update(one.start(HISTORIES), ["i9"] * 4) for one in found]
    compiled = [(one.programs.top._cache_size(), one.programs.hidden._cache_size()) for one in found]
    for one, cost, answer, stream in zip(found, costs, answers, streams, strict=True):
        other = found[0].with_budget(cost)  # a size leads to all others
        assert other is one and other.recommend(HISTORIES, 5) == answer
        np.testing.assert_array_equal(other.update(other.start(HISTORIES), ["i9"] * 4).hidden, stream.hidden)
    assert compiled == [(one.programs.top._cache_size(), one.programs.hidden._cache_size()) for one in found]


def test_a_size_pickles_and_still_leads_to_the_others(whole):
    one = whole.with_budget(FRONT[1].cost)
    again = pickle.loads(pickle.dumps(one))
    assert again.fingerprint == one.fingerprint and again.recommend(HISTORIES, 5) == one.recommend(HISTORIES, 5)
    assert again.with_budget(None).recommend(HISTORIES, 5) == whole.recommend(HISTORIES, 5)


def test_a_stream_keeps_its_size(whole, tmp_path):
    small, deeper = (whole.with_budget(size.cost) for size in FRONT[:2])
    stream = small.update(small.start([["i1", "i2"]]), ["i3"])
    answers = small.recommend_from(stream, 5)
    assert [item for item, _ in answers[0]] == [item for item, _ in small.recommend([["i1", "i2", "i3"]], 5)[0]]
    small.save_stream(tmp_path / "small.npz", stream)
    assert small.recommend_from(small.load_stream(tmp_path / "small.npz"), 5) == answers
    for other in (deeper, whole):  # of another depth, of another width
        for method, rest in ((other.update, [["i4"]]), (other.recommend_from, [])):
            with pytest.raises(ValueError, match=r"stream: expected one of this network.*a stream keeps its network"):
                method(stream, *rest)
        with pytest.raises(ValueError, match=r"stream: expected one of this network"):
            other.save_stream(tmp_path / "other.npz", stream)
        with pytest.raises(ValueError, match=r"small\.npz: another model's stream"):
            other.load_stream(tmp_path / "small.npz")


def test_what_is_no_budget_is_told(whole):
    for budget in (0.0, -0.5, 1.01, float("nan"), True):
        with pytest.raises(ValueError, match=r"budget: expected a number in \(0, 1\]"):
            whole.with_budget(budget)
    with pytest.raises(ValueError, match=r"budget: expected at least (\S+), the cost of the smallest network") as told:
        whole.with_budget(1e-6)
    named = float(str(told.value).split("at least ")[1].split(",")[0])
    assert whole.with_budget(named).architecture == SIZES[0] and named == short_cost(FRONT[0].cost)
    with pytest.raises(ValueError, match=r"has one size; .*--retrain\.architecture elastic make one.*got 0\.5"):
        Recommender(elastic_model(())).with_budget(0.5)


def test_another_budget_is_another_bulk_request(whole, tmp_path):
    users, out = tmp_path / "users.csv", tmp_path / "recs.csv"
    users.write_text("user_id,item_id,timestamp\n" + "".join(f"u{k},i{k % 30 + 1},{k}\n" for k in range(40)))
    small, deeper = (whole.with_budget(size.cost) for size in FRONT[:2])
    assert recommend_file(small, users, out, Request(k=3)).written
    assert not recommend_file(small, users, out, Request(k=3)).written
    with pytest.raises(ValueError, match=r"recs\.csv.*overwrite"):
        recommend_file(deeper, users, out, Request(k=3))


def test_commands_refuse_a_budget_that_cannot_be(folder, refused):
    for name, more in (("recommend", ("--history", "i1")), ("evaluate", ())):
        done = refused(name, folder, *more, "--budget", "2")
        assert done.returncode == 2 and "budget: expected a number in (0, 1]" in done.stderr


# ------------------------------------------------------------------------------------------------------------- the folder


def test_a_folder_holds_its_front_and_older_ones_have_none(folder, tmp_path):
    assert load_model(folder).front == FRONT
    save_model(tmp_path / "m", elastic_model(()), architecture=LARGEST.to_json(), config="{}", metrics="")
    assert not (tmp_path / "m" / "front.json").exists() and load_model(tmp_path / "m").front == ()


def rewrite(folder, change) -> None:
    """Change the list of networks in front.json, and its checksum with it."""
    path, manifest = folder / "front.json", folder / "manifest.json"
    tree = json.loads(path.read_text())
    path.write_text(json.dumps({"networks": change(tree["networks"])}))
    known = json.loads(manifest.read_text())
    known["sha256"]["front.json"] = file_digest(path)
    manifest.write_text(json.dumps(known))


BROKEN = {
    "networks: expected a list": lambda n: [],
    r"networks\[0\]: expected an object": lambda n: ["x", *n],
    r"networks\[1\]: missing fields": lambda n: [n[0], {"width": 8}],
    r"networks\[0\]: expected a corner": lambda n: [n[0] | {"heads": 4}, *n[1:]],
    r"networks\[2\]: expected a corner": lambda n: [*n[:2], n[2] | {"depth": 4}],
    r"networks\[0\]: cost: expected a number in \(0, 1\]": lambda n: [n[0] | {"cost": 2.0}],
    r"networks\[0\]: ms: expected a number": lambda n: [n[0] | {"ms": "<b>"}],
    r"networks\[0\]: ndcg@10: expected a number": lambda n: [n[0] | {"ndcg@10": float("nan")}],
    r"networks\[0\]: select_by": lambda n: [n[0] | {"select_by": ["full"]}],
    r"networks\[0\]: test: expected figures": lambda n: [n[0] | {"test": {"full": 3}}],
    "networks: expected rising costs": lambda n: n[::-1],
}


@pytest.mark.parametrize("told", BROKEN)
def test_a_front_that_is_none_is_told(tmp_path, told):
    folder = save_elastic(tmp_path / "model")
    rewrite(folder, BROKEN[told])
    with pytest.raises(ValueError, match=rf"front\.json: {told}"):
        load_model(folder)


def test_a_front_is_under_the_checksums(tmp_path):
    folder = save_elastic(tmp_path / "model")
    path, manifest = folder / "front.json", folder / "manifest.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ValueError, match=r"front\.json: damaged"):
        load_model(folder)
    known = json.loads(manifest.read_text())
    del known["sha256"]["front.json"]
    manifest.write_text(json.dumps(known))
    with pytest.raises(ValueError, match=r"manifest\.json: there is no checksum of front\.json"):
        load_model(folder)


def test_corners():
    assert all(is_corner(one, LARGEST) for one in (*SIZES, LARGEST))
    for change in (
        {"width": 18},
        {"depth": 4},
        {"inner": 25},
        {"heads": 4},
        {"attention": "softmax"},
        {"max_length": 4},
    ):
        assert not is_corner(dataclasses.replace(LARGEST, **change), LARGEST)
