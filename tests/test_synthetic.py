"""The planted data: the tables are the process, and looking far back pays."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.config import DataConfig, PlantedConfig
from easrec_jax.data.load import load_data
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import Planted, ideal_scores, myopic_scores, planted
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.rivals.popularity import popularity_scores

CLUSTERS, TASTES, LENGTHS = 10, 32, (12, 40)


@pytest.fixture(scope="module")
def sample() -> Planted:
    return planted(users=1500, items=120, seed=4)


def test_every_row_of_the_tables_sums_to_one_over_the_real_items(sample):
    tables = np.asarray(sample.truth.tables)
    assert tables.shape == (TASTES, CLUSTERS, sample.data.num_items + 1)
    assert sample.data.num_items == 120 + TASTES and (tables >= 0).all()
    assert not tables[..., 0].any()
    np.testing.assert_allclose(tables.sum(-1), 1.0, atol=1e-5)


def test_a_history_is_a_marker_and_then_items(sample):
    data, taste = sample.data, np.asarray(sample.truth.taste)
    markers = np.array([raw.startswith("m") for raw in data.item_ids.raw])[data.items - 1]
    assert (np.flatnonzero(markers) == data.offsets[:-1]).all()
    found = {data.item_ids.raw[item - 1]: taste[item] for item in data.items[markers]}
    assert found == {f"m{g}": g for g in range(TASTES)}
    assert data.lengths.min() >= LENGTHS[0] and data.lengths.max() <= LENGTHS[1]


@pytest.mark.parametrize("by", ["taste", "cluster", "both"])
def test_next_items_are_distributed_as_the_tables_say(sample, by):
    data, truth = sample.data, sample.truth
    taste = np.repeat(np.asarray(truth.taste)[data.items[data.offsets[:-1]]], data.lengths)
    event = np.arange(len(data.items)) - np.repeat(data.offsets[:-1], data.lengths)
    at = np.flatnonzero(event >= 2)  # after the marker and one item
    rows = taste[at], np.asarray(truth.cluster)[data.items[at - 1]]
    visits = np.zeros((TASTES, CLUSTERS))
    np.add.at(visits, rows, 1)
    observed = np.zeros(truth.tables.shape)
    np.add.at(observed, (*rows, data.items[at]), 1)
    tables = np.asarray(truth.tables)
    expected, variance = (visits[..., None] * x for x in (tables, tables * (1 - tables)))
    if by != "both":
        observed, expected, variance = (x.sum(1 if by == "taste" else 0) for x in (observed, expected, variance))
    assert not observed[expected == 0].any()
    cells = expected > 5
    assert np.mean((observed - expected)[cells] ** 2 / variance[cells]) == pytest.approx(1.0, abs=0.12)


def test_looking_far_back_beats_looking_at_the_last_item_beats_popularity(sample):
    split = Split(sample.data)
    evaluator = Evaluator(split, "test", LENGTHS[1], ("full",))
    popularity = jnp.asarray(split.popularity(), jnp.float32)
    scores = ((ideal_scores, sample.truth), (myopic_scores, sample.truth), (popularity_scores, popularity))
    ideal, myopic, popular = (evaluator(function, weights)["full"]["ndcg@10"] for function, weights in scores)
    assert ideal > myopic + 0.1
    assert myopic > popular + 0.1


def test_the_seed_decides_the_data(sample):
    again, other = (planted(users=1500, items=120, seed=seed).data for seed in (4, 5))
    np.testing.assert_array_equal(again.items, sample.data.items)
    assert again.item_ids == sample.data.item_ids and again.user_ids == sample.data.user_ids
    assert other.items.shape != again.items.shape or (other.items != again.items).any()


def test_data_of_another_shape():
    """A handful of items and short histories, the marker's items among them; still told apart by looking far back."""
    shape = PlantedConfig(users=2000, items=24, clusters=4, tastes=4, variants=3, lengths=(3, 36))
    data, truth = load_data(DataConfig(planted=shape), seed=0)
    assert data.num_items == 28 and data.lengths.min() == 3 and data.lengths.max() == 36
    assert np.asarray(truth.tables).shape == (4, 4, 29)
    split = Split(data)
    evaluator = Evaluator(split, "test", 36, ("full",))
    ideal, myopic = (evaluator(f, truth)["full"]["ndcg@10"] for f in (ideal_scores, myopic_scores))
    assert ideal > myopic + 0.03


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        ({"items": 79}, "items"),
        ({"clusters": 0}, "clusters"),
        ({"lengths": (2, 9)}, "lengths"),
        ({"lengths": (9, 8)}, "lengths"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(shape, field):
    with pytest.raises(ValueError, match=f"data.planted.{field}: expected"):
        PlantedConfig(**shape)


def test_too_few_items_are_refused():
    with pytest.raises(ValueError, match="data.planted.items"):
        planted(users=20, items=79, seed=0)
