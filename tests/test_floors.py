"""Rivals without a network: transitions and popularity against their definition, and their figures."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.config import Config, EvaluateConfig, ModelConfig, RetrainConfig
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.rivals.markov import fit_markov, markov_scores
from easrec_jax.models.rivals.popularity import popularity_scores
from easrec_jax.runs.retrain import baseline


@pytest.fixture(scope="module")
def made():
    return planted(users=120, items=400, seed=0)


@cache
def evaluator(split: Split) -> Evaluator:
    return Evaluator(split, "validation", 40, ("full",))


def test_markov_is_transitions_of_training_items_then_popularity(split):
    data, popularity = split.data, split.popularity()
    counts = np.zeros((data.num_items + 1,) * 2)
    for user in range(data.num_users):
        history = data.history(user)[:-2]
        for before, after in zip(history[:-1], history[1:], strict=True):
            counts[before, after] += 1
    histories = jnp.asarray([[3, 5, 1, 0], [2, 0, 0, 0], [30, 29, 28, 27]], jnp.int32)
    scores = jax.jit(markov_scores)(fit_markov(split), histories)
    expected = counts[[1, 2, 27]] + popularity / popularity.sum()
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_markov_of_data_without_a_transition_is_popularity(interactions):
    split = Split(interactions([[1, 2, 3], [1, 3, 2], [2, 1, 3]], 3))
    scores = markov_scores(fit_markov(split), jnp.asarray([[2, 0], [1, 3]], jnp.int32))
    np.testing.assert_allclose(scores, [[0, 2 / 3, 1 / 3, 0]] * 2, atol=1e-6)


def test_markov_beats_popularity_on_planted_data_and_is_no_better_than_the_last_item_allows(made):
    split = Split(made.data)
    markov = evaluator(split)(markov_scores, fit_markov(split))["full"]["ndcg@10"]
    popular = evaluator(split)(popularity_scores, jnp.asarray(split.popularity(), jnp.float32))["full"]["ndcg@10"]
    assert markov > 2 * popular


@pytest.mark.parametrize("name", ["popularity", "markov"])
def test_a_floor_gives_figures_of_both_parts(name, made):
    config = Config(
        model=ModelConfig(width=8, inner=8, heads=2, max_length=40, conv_width=2),
        retrain=RetrainConfig(epochs=1, batch_size=64, buckets=1, baselines=(name,)),
        evaluate=EvaluateConfig(protocols=("full",), buckets=1),
    )
    row = baseline(name, config, Split(made.data))
    assert (
        row is not None and 0 < row["test"]["full"]["ndcg@10"] < 1 and 0 <= row["validation"]["full"]["recall@10"] < 1
    )
