"""Item features in our networks: coded by what was trained on, folded into the item table, and rows for items that nobody met."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from documents import block
from tiny import TINY

from easrec_jax.architecture import Architecture
from easrec_jax.config import DataConfig, RetrainConfig
from easrec_jax.data.batches import Batch
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.item_files import with_raw_features
from easrec_jax.data.item_inputs import Coding, ItemInputs, RawFeatures
from easrec_jax.data.split import Split
from easrec_jax.models.item_features import fold, has_features, with_features
from easrec_jax.models.masked import Masked
from easrec_jax.models.network import Network, item_table
from easrec_jax.models.supernet import Candidates
from easrec_jax.nas.search import search
from easrec_jax.runs.search_folder import write_search
from easrec_jax.runs.start import find_start
from easrec_jax.serving.artifact import Model, load_model, save_model
from easrec_jax.serving.new_items import add_items
from easrec_jax.serving.recommend import Recommender
from easrec_jax.space import space_of
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.featured import featured_loss, known_items
from easrec_jax.train.fit import fit
from easrec_jax.train.loop import Run
from easrec_jax.train.rows import draw_negatives, make_sampler
from easrec_jax.train.step import softmax_loss
from easrec_jax.train.task import task_of

ITEMS, COLD = 14, (12, 13, 14)  # 12 is a test item, 13 and 14 nobody met
NETWORK = Network(
    Architecture(
        width=8, inner=8, depth=1, heads=2, max_length=12, attention="recent_linrec", gate_layers=0, conv_width=0
    ),
    ITEMS,
)
CONFIG = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, id_dropout=0.5))


def raw_features(**of_cold: object) -> RawFeatures:
    """Two tastes of items; what is said of item 14 can be changed."""
    colours: list[tuple[str, ...]] = [(), *[("red",) if item % 2 else ("blue", "old") for item in range(1, ITEMS + 1)]]
    prices = np.arange(ITEMS + 1, dtype=np.float64)
    prices[[3, 13]] = np.nan
    vectors = np.random.default_rng(0).standard_normal((ITEMS + 1, 3))
    vectors[5] = np.nan
    if of_cold:
        colours[14], prices[14], vectors[14] = of_cold["colours"], of_cold["price"], of_cold["vector"]  # type: ignore[assignment]
    return RawFeatures({"colour:token_seq": colours}, {"price:float": prices}, vectors)


@pytest.fixture(scope="module")
def plain(interactions):
    """Users who stay with odd or with even items."""
    rng = np.random.default_rng(3)
    histories = [(2 * rng.integers(0, 6 - user % 2, 9) + 1 + user % 2).tolist() for user in range(24)]
    histories[0][-1] = 12
    return interactions(histories, ITEMS)


@pytest.fixture(scope="module")
def data(plain):
    return with_raw_features(plain, raw_features())


@pytest.fixture(scope="module")
def weights(data, draw_weights):
    return draw_weights(lambda key: with_features(NETWORK.init(key), data.features))


@pytest.fixture(scope="module")
def fitted(data):
    return train(data)


def train(data, run: Run | None = None, **settings):
    start = with_features(NETWORK.init(jax.random.key(0)), data.features)
    retrain = RetrainConfig(**({"epochs": 3, "batch_size": 8, "buckets": 1, "learning_rate": 0.03} | settings))
    options = {"run": run} if run else {}
    return fit(NETWORK, start, task_of(CONFIG, Split(data)), settings=retrain, **options)


# ---------------------------------------------------------------------------------------------------------------------- coding


def test_the_coding_is_that_of_the_items_with_training_events(data):
    coding, coded, trained = data.features.coding, data.features.coded, data.features.trained
    assert np.flatnonzero(~trained).tolist() == [0, *COLD]
    assert coding.values == (("blue", "old", "red"),) and coded.values[0][:3].tolist() == [[0, 0], [3, 0], [1, 2]]
    prices = raw_features().numbers["price:float"][1:12]
    np.testing.assert_allclose([coding.means[0], coding.scales[0]], [np.nanmean(prices), np.nanstd(prices)], rtol=1e-6)
    assert coded.numbers[[0, 3, 13]].tolist() == [[0, 0], [0, 1], [0, 1]] and coded.numbers[14, 1] == 0
    length = np.sum(coded.vectors[1:12] ** 2, 1)
    assert not coded.vectors[[0, 5]].any() and length[length > 0].mean() == pytest.approx(1, rel=1e-5)
    assert Coding.from_json(coding.to_json(), source="x") == coding
    assert data.fingerprint() != dataclasses.replace(data, features=None).fingerprint()


def test_what_is_said_of_an_item_without_training_events_changes_its_row_alone(plain, data):
    other = raw_features(colours=("green", "red"), price=1e6, vector=[9.0, 9.0, 9.0])
    changed = with_raw_features(plain, other).features
    assert changed.coding == data.features.coding
    for mine, theirs in zip(jax.tree.leaves(changed.coded), jax.tree.leaves(data.features.coded), strict=True):
        np.testing.assert_array_equal(mine[:14], theirs[:14])
        assert (mine[14] != theirs[14]).any()
    assert changed.coded.values[0][14].tolist() == [3, 0], "green is no value that training knew"


def test_a_column_of_values_of_one_item_each_is_warned_of(plain):
    column = {"price:token": [(), *[(f"{item}.99",) for item in range(1, ITEMS + 1)]]}
    with pytest.warns(UserWarning, match="'price:token': 11 of its 11 values belong to one item each"):
        with_raw_features(plain, RawFeatures(column, {}))


# ---------------------------------------------------------------------------------------------------------------------- folding


def by_hand(weights: dict, raw: RawFeatures, inputs: ItemInputs, item: int) -> np.ndarray:
    """What features add to a row."""
    tables, coding = jax.tree.map(np.asarray, weights["tables"]), inputs.coding
    known = [coding.values[0].index(value) + 1 for value in raw.values["colour:token_seq"][item]]
    price = raw.numbers["price:float"][item]
    row = np.mean([tables["values_0"][number] for number in known], 0)
    row = row + (
        tables["numbers"][1] if np.isnan(price) else (price - coding.means[0]) / coding.scales[0] * tables["numbers"][0]
    )
    assert raw.vectors is not None
    vector = (raw.vectors[item] - coding.vector_mean) / coding.vector_scale
    return row + (0 if np.isnan(vector).any() else vector @ tables["vectors"])


def test_a_row_is_the_id_and_its_features(data, weights):
    folded = fold(weights, data.features)
    assert has_features(weights) and not has_features(folded)
    for item in range(1, ITEMS + 1):
        row = np.asarray(weights["tables"]["items"][item]) + by_hand(weights, raw_features(), data.features, item)
        np.testing.assert_allclose(item_table(folded)[item], row, rtol=1e-5, atol=1e-6)
    assert not np.any(item_table(folded)[0]), "padding"
    assert jax.tree.structure(folded) == jax.tree.structure(NETWORK.init(jax.random.key(0)))
    assert fold(folded, data.features) is folded and fold(weights, None) is weights


@pytest.mark.parametrize("sharing", ["own", "corners", "masks"])
def test_a_network_cut_out_of_a_supernet_has_its_features_cut_out(sharing, data, draw_weights):
    space = space_of(TINY)
    supernet = Masked(space, ITEMS) if sharing == "masks" else Candidates(space, ITEMS, sharing=sharing)
    weights = draw_weights(lambda key: with_features(supernet.init(key), data.features))
    small = min((space.architecture(n) for n in range(len(space.networks))), key=lambda one: one.width)
    first = fold(supernet.cut(weights, small), data.features)
    last = supernet.cut(fold(weights, data.features), small)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), first, last)


# --------------------------------------------------------------------------------------------------------------------- training


def test_the_loss_is_that_of_the_folded_network_over_the_items_with_training_events(plain, data, weights):
    items = np.array([[1, 3, 5, 2, 0, 0], [2, 4, 6, 8, 9, 11]], np.int32)
    batch = Batch(*map(jnp.asarray, (items, np.where(items > 0, np.roll(items, -1, 1), 0))))
    known, key = known_items(task_of(TINY, Split(data))._replace(id_dropout=0.0)), jax.random.key(0)
    loss, gradient = jax.jit(jax.value_and_grad(lambda w: featured_loss(w, NETWORK, batch, key, known)))(weights)
    small, folded = NETWORK.clone(num_items=11), fold(weights, data.features)
    folded["tables"]["items"] = item_table(folded)[:12]  # items 1 to 11 have training events
    plain_loss = jax.jit(lambda w: softmax_loss(w, small, batch, jax.random.key(1)))  # without dropout
    assert float(loss) == pytest.approx(float(plain_loss(folded)), rel=1e-5)
    moved = [name for name, part in gradient["tables"].items() if np.any(part)]
    assert set(moved) == {"items", "positions", "values_0", "numbers", "vectors"}
    assert not np.any(np.asarray(gradient["tables"]["items"])[list(COLD)]), "no negatives"
    held_out = known.batch(Batch(np.array([[1, 12]]), np.array([12])))
    assert np.asarray(held_out.items).tolist() == [[1, 0]] and not np.any(held_out.targets)


def test_ids_are_left_out_by_the_step(data, weights):
    known = known_items(task_of(CONFIG, Split(data)))
    whole, bare = (np.asarray(item_table(known.fold(one))) for one in (weights, no_ids(weights)))
    folded = [known.fold(weights, key) for key in jax.random.split(jax.random.key(0), 40)]
    mixed = [np.asarray(item_table(one)) for one in folded]
    left_out = [(rows == bare).all(1)[1:] for rows in mixed]
    assert 0.4 < np.mean(left_out) < 0.6 and len({tuple(one) for one in left_out}) > 30
    assert all(((rows == bare).all(1) | (rows == whole).all(1)).all() for rows in mixed)
    np.testing.assert_array_equal(folded[0]["tables"]["items"], whole, "histories keep their ids")


def no_ids(weights: dict) -> dict:
    return weights | {"tables": weights["tables"] | {"items": jnp.zeros_like(weights["tables"]["items"])}}


def test_items_that_nobody_met_have_rows_of_their_features_and_are_told_apart_by_them(plain, data, fitted):
    table = np.asarray(item_table(fitted.weights))
    for item in COLD:
        row = by_hand({"tables": fitted.features.tables}, raw_features(), data.features, item)
        np.testing.assert_allclose(table[item], row, rtol=1e-4, atol=1e-6)
    other = with_raw_features(plain, raw_features(colours=("blue",), price=3.0, vector=[1.0, 0.0, 0.0]))
    again = train(other)
    jax.tree.map(np.testing.assert_array_equal, again.features.tables, fitted.features.tables)
    np.testing.assert_array_equal(item_table(again.weights)[:14], table[:14])
    assert (item_table(again.weights)[14] != table[14]).any()


def test_weights_without_features_are_trained_as_if_the_data_had_none(plain, data):
    start, settings = NETWORK.init(jax.random.key(0)), RetrainConfig(epochs=1, batch_size=8, buckets=1)
    both = [fit(NETWORK, start, task_of(CONFIG, Split(of)), settings=settings) for of in (plain, data)]
    assert both[1].features is None
    jax.tree.map(np.testing.assert_array_equal, both[0].weights, both[1].weights)


def test_a_resumed_training_is_the_same(data, fitted, tmp_path):
    begun = train(data, Run(Checkpoints(tmp_path)), epochs=3)
    jax.tree.map(np.testing.assert_array_equal, begun.weights, fitted.weights)
    for late in sorted(Checkpoints(tmp_path).steps())[1:]:
        (tmp_path / f"{late}.json").unlink()
    resumed = train(data, Run(Checkpoints(tmp_path), resume=True), epochs=3)
    jax.tree.map(np.testing.assert_array_equal, resumed.weights, fitted.weights)
    with pytest.raises(ValueError, match="another run's"):
        train(with_raw_features(data, RawFeatures(raw_features().values, {})), Run(Checkpoints(tmp_path), resume=True))


def test_sampled_negatives_are_items_with_training_events_and_features_learn(data):
    known = known_items(task_of(CONFIG, Split(data)))
    drawn = draw_negatives(make_sampler(Split(data), known), jax.random.key(0), 2000)
    assert set(np.unique(drawn).tolist()) == set(range(1, 12))
    done = train(data, loss="sampled", negatives=8)
    assert all(np.any(table) for table in done.features.tables.values())
    row = by_hand({"tables": done.features.tables}, raw_features(), data.features, 14)
    np.testing.assert_allclose(item_table(done.weights)[14], row, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------- search, serving


def test_a_search_learns_features_and_hands_them_on(data, tmp_path):
    settings = dataclasses.replace(TINY.search, sharing="corners", epochs=1, finalists=1)
    config = dataclasses.replace(CONFIG, search=settings, model=dataclasses.replace(CONFIG.model, layers=1))
    found = search(space_of(config), task_of(config, Split(data)), settings=settings)
    tables = found.weights["tables"]
    assert np.any(tables["values_0"]) and not np.any(np.asarray(tables["items"])[list(COLD)])
    write_search(tmp_path / "search", found, config, data)
    start = find_start(config, tmp_path, data)
    jax.tree.map(np.testing.assert_array_equal, start.weights, found.cut())
    values, *others = raw_features()
    shouted = {name: [tuple(map(str.upper, row)) for row in column] for name, column in values.items()}
    with pytest.raises(ValueError, match="others than in the search"):
        find_start(config, tmp_path, with_raw_features(data, RawFeatures(shouted, *others)))


@pytest.fixture(scope="module")
def folder(data, fitted, tmp_path_factory):
    """A model folder whose catalogue lacks item 14."""
    weights = fitted.weights | {"tables": fitted.weights["tables"] | {"items": fitted.weights["tables"]["items"][:14]}}
    counts = Split(data).popularity()[:14]
    model = Model(
        NETWORK.architecture, weights, IdMap(data.item_ids.raw[:13]), counts, {"test": {}}, features=fitted.features
    )
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(path, model, architecture=NETWORK.architecture.to_json(), config="{}", metrics="")
    return path


FILE = "id,colour,price\ni14,blue|old,14\ni2,red,7\nx1,red,\nx2,green,\n"


def test_new_items_get_the_rows_that_training_would_have_given_them(folder, fitted, call_here, tmp_path, monkeypatch):
    (tmp_path / "new.csv").write_text(FILE)
    vectors = raw_features().vectors
    pl.DataFrame({"item_id": ["i14"], "vector": [vectors[14].tolist()]}).write_parquet(tmp_path / "new.parquet")
    arguments = ("--features", tmp_path / "new.csv", "--item_vectors", tmp_path / "new.parquet")
    out = call_here("add_items", folder, *arguments, "--out", tmp_path / "larger")
    assert "3 new items, 16 in all, 1 were there already" in out
    before, after = load_model(folder), load_model(tmp_path / "larger")
    assert after.item_ids.raw == (*before.item_ids.raw, "i14", "x1", "x2") and after.popularity[-3:].tolist() == [
        0,
        0,
        0,
    ]
    old, new = (model.weights["tables"]["items"] for model in (before, after))
    np.testing.assert_allclose(new[14], item_table(fitted.weights)[14], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(new[:14], old)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/featured").mkdir(parents=True)
    (tmp_path / "runs/featured/model").symlink_to(folder)
    names: dict = {}
    exec(block("from easrec_jax.serving.new_items", "docs/guide.md").replace('""', '"new.parquet"'), names)
    assert names["recommender"].item_ids == after.item_ids
    recommender = Recommender(after)
    best = recommender.recommend([["i2", "i4", "i6"]], k=3, allow=["i14", "x1", "i13"])[0]
    assert best[0][0] == "i14", "blue and old as the history"
    assert recommender.recommend([["i14", "i2"]], k=16)[0] and len(recommender.recommend([["i14"]], k=16)[0]) == 15


def test_a_model_without_features_says_so(folder):
    model = load_model(folder)
    with pytest.raises(ValueError, match="trained without item features"):
        add_items(model._replace(features=None), IdMap(("x",)), RawFeatures({"colour:token_seq": [(), ()]}, {}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "x", "item_features": "all"}, "data.item_features: expected no without data.features"),
        (
            {"path": "x", "item_vectors": "v.parquet"},
            "data.item_features: expected known or all with data.item_vectors",
        ),
    ],
)
def test_settings_that_ask_for_features_without_a_file_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)
