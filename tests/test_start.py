"""What a retraining starts from: item rows go with their items, nothing that does not fit is used, going on is exact."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest

from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.supernet import Candidates
from easrec_jax.runs.retrain import evaluate_both, retrain
from easrec_jax.runs.start import Rows, find_start, fresh_weights
from easrec_jax.serving.artifact import Model, save_model, save_tree
from easrec_jax.serving.recommend import Recommender
from easrec_jax.space import space_of
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.loop import Run

CONFIG = Config(
    data=DataConfig(path="clicks.csv"),
    model=ModelConfig(width=16, inner=16, layers=1, heads=2, max_length=40),
    search=SearchConfig(prune=(0.0, 0.5)),
    retrain=RetrainConfig(epochs=4, buckets=1, learning_rate=0.01, warmup_steps=5),
    evaluate=EvaluateConfig(protocols=("full",), buckets=1),
)


@pytest.fixture(scope="module")
def grown():
    """300 users over 100 items; its first 200 users, of whom none has seen the items that are new in it."""
    return planted(users=300, items=100, seed=0).data


@pytest.fixture(scope="module")
def known(grown, interactions):
    """The same interactions before: 200 users, without 20 of the items, under inner ids in another order."""
    gone = set(range(3, 23))
    histories = [[item for item in grown.history(user).tolist() if item not in gone] for user in range(200)]
    data = interactions([history for history in histories if len(history) >= 4], grown.num_items)
    kept = [item for item in range(grown.num_items, 0, -1) if item not in gone]
    inner = np.zeros(grown.num_items + 1, np.int32)
    inner[kept] = np.arange(1, len(kept) + 1)
    raw = tuple(grown.item_ids.raw[item - 1] for item in kept)
    return dataclasses.replace(data, items=inner[data.items], item_ids=IdMap(raw))


@pytest.fixture(scope="module")
def model(known, tmp_path_factory):
    """The folder of a model trained on `known`."""
    split, folder = Split(known), tmp_path_factory.mktemp("run") / "model"
    start = find_start(with_retrain(architecture="full"), folder, known)
    done = retrain(start.architecture, start.weights, CONFIG, split)
    assert done is not None
    save_model(
        folder, Model(start.architecture, done.fitted.weights, known.item_ids, split.popularity(), {}),
        architecture=start.architecture.to_json(), config="{}", metrics="",
    )  # fmt: skip
    return folder


def with_retrain(config: Config = CONFIG, **changes) -> Config:
    return dataclasses.replace(config, retrain=dataclasses.replace(config.retrain, **changes))


def network_of(start, data) -> Network:
    return Network(start.architecture, data.num_items)


def ndcg_of(start, weights, data) -> float:
    return evaluate_both(CONFIG, Split(data), network_scores(network_of(start, data)), weights)[1]["full"]["ndcg@10"]


def table(weights: dict) -> np.ndarray:
    return np.asarray(weights["tables"]["items"])


def finished_search(folder, data, config: Config = CONFIG) -> dict:
    """What a search leaves that retraining reads; the supernet's weights."""
    space = space_of(config)
    weights = Candidates(space, data.num_items).init(jax.random.key(9))
    folder.mkdir(parents=True, exist_ok=True)
    save_tree(folder / "supernet.npz", weights)
    (folder / "items.json").write_text(json.dumps({"ids": data.item_ids.to_json()}))
    described = space.architecture(0).to_json() | {"chosen_by": {"method": "easrec"}}
    (folder / "architecture.json").write_text(json.dumps(described))
    return weights


def test_rows_are_copied_by_id_new_items_get_those_of_a_fresh_training(known, grown, tmp_path):
    before = table(finished_search(tmp_path / "search", known))
    start = find_start(CONFIG, tmp_path, grown)
    assert start.rows == Rows(copied=known.num_items, fresh=grown.num_items - known.num_items, left_out=0)
    fresh = table(fresh_weights(start.architecture, CONFIG, grown))
    where = dict(zip(known.item_ids.raw, range(1, 1000), strict=False))
    for inner, raw in enumerate(grown.item_ids.raw, 1):
        expected = before[where[raw]] if raw in where else fresh[inner]
        np.testing.assert_array_equal(table(start.weights)[inner], expected)
    assert not table(start.weights)[0].any()


def test_rows_of_items_that_are_gone_are_left_out(known, grown, tmp_path):
    finished_search(tmp_path / "search", grown)
    start = find_start(CONFIG, tmp_path, known)
    assert start.rows == Rows(copied=known.num_items, fresh=0, left_out=grown.num_items - known.num_items)
    assert table(start.weights).shape == (known.num_items + 1, 16)


def test_a_search_that_does_not_say_whose_its_rows_are_starts_nothing_but_fresh_weights(known, tmp_path):
    finished_search(tmp_path / "search", known)
    (tmp_path / "search" / "items.json").unlink()
    with pytest.raises(ValueError, match=r"items\.json: missing.*search again, or use --retrain\.weights fresh"):
        find_start(CONFIG, tmp_path, known)
    fresh = find_start(with_retrain(weights="fresh"), tmp_path, known)
    assert fresh.rows is None and np.array_equal(
        table(fresh.weights), table(fresh_weights(fresh.architecture, CONFIG, known))
    )


def test_another_length_or_shape_is_one_clear_line(known, model, tmp_path):
    longer = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, max_length=50))
    weights = finished_search(tmp_path / "search", known)
    with pytest.raises(ValueError, match=r"model\.max_length: expected 40 as in the search .*, got 50"):
        find_start(longer, tmp_path, known)
    with pytest.raises(ValueError, match=r"model\.max_length: expected 40, which the model .* reads, got 50"):
        find_start(with_retrain(longer, from_model=str(model)), tmp_path, known)
    deeper = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, layers=CONFIG.model.layers + 1))
    with pytest.raises(ValueError, match=r"supernet\.npz: .*: missing \(the search was of another config"):
        find_start(deeper, tmp_path, known)
    short = weights["tables"] | {"items": np.zeros((7, 16), np.float32)}
    save_tree(tmp_path / "search" / "supernet.npz", weights | {"tables": short})
    with pytest.raises(ValueError, match=r"supernet\.npz: tables/items: expected shape .*, got \(7, 16\)"):
        find_start(CONFIG, tmp_path, known)


def test_a_bidirectional_model_does_not_go_on_with_a_loss_at_every_position(model, grown, tmp_path):
    path = tmp_path / "model"
    config = dataclasses.replace(
        CONFIG, data=DataConfig(targets="last"), model=dataclasses.replace(CONFIG.model, attention="linrec")
    )
    start = find_start(with_retrain(config, architecture="full"), tmp_path, grown)
    trained = Model(start.architecture, start.weights, grown.item_ids, np.zeros(grown.num_items + 1, int), {})
    save_model(path, trained, architecture=start.architecture.to_json(), config="{}", metrics="")
    with pytest.raises(ValueError, match=r"data\.targets: expected 'last' for the model .* linrec"):
        find_start(with_retrain(from_model=str(path)), tmp_path, grown)


def test_going_on_knows_the_new_items_and_is_no_worse_on_the_old_ones(model, known, grown, tmp_path):
    config = with_retrain(from_model=str(model))
    start, split, records = find_start(config, tmp_path, grown), Split(grown), []
    done = retrain(
        start.architecture, start.weights, config, split, evaluate_start=True, run=Run(on_epoch=records.append)
    )
    assert done is not None and start.architecture.to_json() == json.loads((model / "architecture.json").read_text())
    assert [record["epoch"] for record in records] == [0, 1, 2, 3, 4]
    assert done.fitted.ndcg == max(record["ndcg@10"] for record in records) > records[0]["ndcg@10"] + 0.05

    new = set(grown.item_ids.raw) - set(known.item_ids.raw)
    path = tmp_path / "model"
    after = Model(start.architecture, done.fitted.weights, grown.item_ids, split.popularity(), {})
    save_model(path, after, architecture=start.architecture.to_json(), config="{}", metrics="")
    histories = [grown.item_ids.decode(grown.history(user)[:-1]) for user in range(grown.num_users)]
    recommended = {item for answer in Recommender.load(path).recommend(histories, 10) for item, _ in answer}
    assert len(new & recommended) > len(new) / 2

    cut = find_start(with_retrain(from_model=str(path)), tmp_path, known)  # the new model's rows of the old items
    before = ndcg_of(cut, Recommender.load(model).weights, known)
    assert ndcg_of(cut, cut.weights, known) > before - 0.02


def test_going_on_never_keeps_what_is_worse_than_its_start(model, known, tmp_path):
    config = with_retrain(from_model=str(model), learning_rate=0.5, epochs=1, warmup_steps=1)
    start, split = find_start(config, tmp_path, known), Split(known)
    done = retrain(start.architecture, start.weights, config, split, evaluate_start=True)
    assert done is not None and done.fitted.epoch == 0
    for kept, first in zip(jax.tree.leaves(done.fitted.weights), jax.tree.leaves(start.weights), strict=True):
        np.testing.assert_array_equal(kept, first)
    assert (
        done.fitted.ndcg
        == Evaluator(split, "validation", 40, buckets=1)(network_scores(network_of(start, known)), start.weights)[
            "full"
        ]["ndcg@10"]
    )


def test_going_on_cut_in_two_is_going_on_bit_for_bit(model, grown, tmp_path):
    config = with_retrain(from_model=str(model), epochs=2)
    split, cut, records = Split(grown), Checkpoints(tmp_path / "cut"), []

    def going_on(run: Run):
        start = find_start(config, tmp_path, grown)
        return retrain(start.architecture, start.weights, config, split, evaluate_start=True, run=run)

    def stop(info: dict) -> None:  # as Ctrl-C, told after the first step
        os.kill(os.getpid(), signal.SIGINT)

    whole = going_on(Run())
    assert going_on(Run(cut, on_step=stop)) is None and cut.latest() == 1
    rest = going_on(Run(cut, resume=True, on_epoch=records.append))
    assert whole is not None and rest is not None and [record["epoch"] for record in records] == [1, 2]
    assert rest.fitted.ndcg == whole.fitted.ndcg and rest.test == whole.test
    for x, y in zip(jax.tree.leaves(rest.fitted.weights), jax.tree.leaves(whole.fitted.weights), strict=True):
        np.testing.assert_array_equal(x, y)
