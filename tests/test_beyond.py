"""What lists are like, by hand: coverage, novelty, share of popular items, diversity by features; and the file of all users."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from documents import block
from test_evaluate_command import PROTOCOLS, call, folder, rows, write  # noqa: F401  (fixtures)

from easrec_jax.data.features import ItemFeatures
from easrec_jax.evaluate.beyond import beyond_accuracy, diversity
from easrec_jax.evaluate.metrics import metrics


def test_of_two_lists_by_hand():
    popularity = np.array([0, 8, 4, 2, 1, 1, 0])
    lists = np.array([[1, 2, 6], [2, 1, 0]])
    found = beyond_accuracy(lists, popularity, (1, 3))
    assert found["coverage@1"] == pytest.approx(2 / 6) and found["coverage@3"] == pytest.approx(3 / 6)
    assert found["novelty@1"] == pytest.approx((1 + 2) / 2)  # shares 1/2 and 1/4 of 16 events
    assert found["novelty@3"] == pytest.approx((1 + 2 + 4 + 2 + 1) / 5)  # item 6 counts as one with one event
    assert found["popular@1"] == pytest.approx(1 / 2) and found["popular@3"] == pytest.approx(2 / 5)
    assert "diversity@1" not in found


def test_diversity_is_the_mean_distance_of_pairs():
    tokens = [[], ["a"], ["a", "b"], ["c"], [], ["a", "b"]]
    features = ItemFeatures.from_tokens({"class": tokens, "year": [[], ["1"], ["1"], ["2"], [], ["1"]]})
    # 1 and 2: 2 of 3 values in common; 3 shares nothing; 4 has no feature; 2 and 5 are alike
    lists = np.array([[1, 2, 3], [2, 5, 4], [4, 1, 0]])
    assert diversity(lists, features) == pytest.approx(((1 / 3 + 1 + 1) / 3 + 0.0) / 2)
    many = np.tile(lists, (50, 1))
    assert diversity(many, features) == pytest.approx(diversity(lists, features))
    assert np.isnan(diversity(lists[2:], features))
    assert beyond_accuracy(lists, np.arange(6), (3,), features)["diversity@3"] == pytest.approx(
        diversity(lists, features)
    )


def test_the_command_says_it_only_where_asked(call, folder, rows, tmp_path):  # noqa: F811
    path, items = write(tmp_path / "a.csv", rows), tmp_path / "a.item"
    items.write_text(
        "item_id:token\tclass:token_seq\n" + "".join(f"i{k}\t{'x' if k % 2 else 'y'} z\n" for k in range(30))
    )
    plain = json.loads(call(folder, "--data.path", path, *PROTOCOLS, "--json"))
    more = json.loads(call(folder, "--data.path", path, *PROTOCOLS, "--json", "--beyond", "--data.features", items))
    assert "beyond" not in plain and plain["figures"] == more["figures"]
    assert set(more["beyond"]) == {"full", "full_unseen"}
    assert set(more["beyond"]["full"]) == {"coverage@10", "novelty@10", "popular@10", "diversity@10"}
    assert 0 < more["beyond"]["full"]["diversity@10"] < 2 / 3
    assert "diversity@10" not in call(folder, "--data.path", path, "--beyond")
    with pytest.raises(ValueError, match="evaluate.protocols: expected one that ranks all items"):
        call(folder, "--data.path", path, "--beyond", "--evaluate.protocols", "pop10")


@pytest.mark.parametrize("name", ["users.parquet", "users.jsonl"])
@pytest.mark.parametrize("split", ["leave-one-out", "ratio:0.6/0.2/0.2"])
def test_the_file_of_all_users_holds_the_figures(call, folder, rows, tmp_path, monkeypatch, name, split):  # noqa: F811
    path, out = write(tmp_path / "a.csv", rows), tmp_path / name
    arguments = (
        folder,
        folder,
        "--data.path",
        path,
        *PROTOCOLS,
        "--data.split",
        split,
        "--evaluate.ks",
        "3",
        "10",
        "--json",
    )
    plain, done = json.loads(call(*arguments)), json.loads(call(*arguments, "--out", out))
    assert plain["figures"] == done["figures"]
    frame = pl.read_parquet(out) if name.endswith("parquet") else pl.read_ndjson(out)
    assert len(frame) == 2 * 4 * done["users"] and [p.name for p in tmp_path.iterdir() if "users" in p.name] == [name]
    for protocol, figures in done["figures"].items():
        mine = frame.filter(pl.col("protocol") == protocol)
        for metric, value in figures.items():
            assert mine[metric].mean() == pytest.approx(value)
        if protocol.startswith("full"):
            hits = [len(set(t) & set(items)) / len(t) for t, items in mine.select("targets", "items").iter_rows()]
            np.testing.assert_allclose(hits, mine["recall@10"])
        else:
            assert mine["items"].null_count() == len(mine)
    if name == "users.parquet":
        _, mean = block("import polars", "docs/evaluate.md").splitlines()
        monkeypatch.chdir(tmp_path)
        for protocol, figure in eval(mean, {"pl": pl}).iter_rows():
            assert figure == pytest.approx(done["figures"][protocol]["ndcg@10"])
    user, targets = frame.filter(pl.col("protocol") == "full").select("user", "targets").row(0)
    history = [item for name, item, _ in rows if name == user]
    assert set(targets) == set(history[-1:] if split == "leave-one-out" else history[len(history) * 8 // 10 :])


def test_a_name_that_cannot_hold_lists_is_refused_before_anything_is_read(call, folder, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match="ends in one of .parquet, .jsonl"):
        call(folder, "--data.path", tmp_path / "missing.csv", "--out", tmp_path / "users.csv")


def test_the_means_of_gains_are_the_metrics():
    ranks = np.stack([np.arange(20), np.zeros(20, int)], 1)
    assert metrics(ranks)["recall@10"] == 0.5
