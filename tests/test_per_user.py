"""A model that answers each user by the size that its router chooses: in Python, on disk, and as one service."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from elastic import HISTORIES, IDS, save_routed

from easrec_jax.files import file_digest
from easrec_jax.serving.batch import recommend_file
from easrec_jax.serving.part_answers import Request
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.shapes import flat

USERS = [*HISTORIES, *([f"i{a}", f"i{b}"] for a in range(1, 9) for b in (2, 11, 29))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_routed(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def routed(folder):
    return Recommender.load(folder, per_user=True)


def sizes_of(routed: Recommender, users) -> list[Recommender]:
    """For each user the recommender of the size that the router chooses."""
    encoded = [routed.item_ids.encode(user) for user in users]
    choice = routed.routed.choose(*flat(encoded))
    return [routed.with_budget(routed.front[number].cost) for number in choice]


def test_everyone_is_answered_as_by_the_size_of_his(routed):
    own = sizes_of(routed, USERS)
    assert len({one.architecture for one in own}) == 3
    for answer, user, one in zip(routed.recommend(USERS, 5), USERS, own, strict=True):
        (expected,) = one.recommend([user], 5)
        assert [item for item, _ in answer] == [item for item, _ in expected]
        np.testing.assert_allclose([s for _, s in answer], [s for _, s in expected], atol=1e-4)
        np.testing.assert_allclose(routed.score(user, ["i9", "i4"]), one.score(user, ["i9", "i4"]), atol=1e-4)
    (user, one) = next((user, one) for user, one in zip(USERS, own, strict=True) if one.cost < 1 and len(user) > 1)
    assert routed.explain(user, "i9") == one.explain(user, "i9")


def test_a_stream_answers_as_its_size_and_is_kept(routed, tmp_path):
    stream = routed.update(routed.start(USERS), ["i30"] * len(USERS))
    assert stream.count.tolist() == [min(len(user), 4) + 1 if len(user) >= 8 else len(user) + 1 for user in USERS]
    routed.save_stream(tmp_path / "s.npz", stream)
    again = routed.load_stream(tmp_path / "s.npz")
    for a, b in zip(routed.recommend_from(stream, 3), routed.recommend_from(again, 3), strict=True):
        assert [item for item, _ in a] == [item for item, _ in b]
    largest = routed.with_budget(None)
    with pytest.raises(ValueError, match="stream: expected one of this network"):
        largest.recommend_from(stream)
    with pytest.raises(ValueError, match="whose users have a network each"):
        routed.update(largest.start([["i1"]]), ["i2"])


def test_one_model_is_the_same_object_pickles_and_is_known_apart(routed, folder, tmp_path):
    whole = routed.with_budget(None)
    assert whole.per_user() is routed is whole.with_budget(routed.front[0].cost).per_user()
    assert len({whole.fingerprint, routed.fingerprint, whole.with_budget(routed.front[0].cost).fingerprint}) == 3
    assert pickle.loads(pickle.dumps(routed)).recommend(USERS, 3) == routed.recommend(USERS, 3)
    with pytest.raises(ValueError, match="budget: expected none with per_user"):
        Recommender.load(folder, 0.5, per_user=True)
    (tmp_path / "users.csv").write_text("user,item\n" + "\n".join(f"u{n},{i}" for n, u in enumerate(USERS) for i in u))
    request = Request(k=3)
    recommend_file(routed, tmp_path / "users.csv", tmp_path / "out.jsonl", request)
    with pytest.raises(ValueError, match="overwrite"):  # the largest network's answers are others
        recommend_file(whole, tmp_path / "users.csv", tmp_path / "out.jsonl", request)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    answers = {row["user"]: row for row in rows}
    assert len(answers) == len(USERS)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t: t["networks"][0].update(width=7), "networks\\[0\\].*(corner|multiple|heads)"),
        (lambda t: t["networks"].clear(), "networks: expected a list of at least one"),
        (lambda t: t["networks"][1].update(share=-1), "share: expected a number"),
        (lambda t: t["router"].update(width="8"), "router: width: expected an integer"),
        (
            lambda t: (t["networks"].pop(), t["lengths"][0]["shares"].pop()),
            "router.npz: kernel: expected finite float32 of shape",
        ),
        (lambda t: t.pop("test"), "test: expected figures"),
        (lambda t: t["lengths"][0]["shares"].pop(), "lengths: expected a list of from"),
        (lambda t: t["cost"].pop("test"), "cost: expected a number for validation and for test"),
    ],
)
def test_a_crafted_route_is_refused_by_name(tmp_path, change, word):
    folder = save_routed(tmp_path / "model")
    tree = json.loads((folder / "route.json").read_text())
    change(tree)
    (folder / "route.json").write_text(json.dumps(tree))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["route.json"] = file_digest(folder / "route.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=word):
        Recommender.load(folder)


def test_a_route_without_its_head_is_damaged(tmp_path):
    folder = save_routed(tmp_path / "model")
    (folder / "router.npz").unlink()
    with pytest.raises((FileNotFoundError, ValueError), match="router.npz"):
        Recommender.load(folder)


def test_items_are_those_of_the_model(routed):
    assert routed.item_ids.raw == IDS and routed.item_vectors()[1].shape == (len(IDS), 16)
    assert routed.embed([["i1"]]).shape == (1, 16)
