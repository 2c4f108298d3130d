"""A teacher in the searches of our own space: the shared weights hear its scores, finalists all of its terms, share 0 nothing."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from chain import ITEMS, LENGTH, search_chain, setting, task_of

from easrec_jax.architecture import Architecture
from easrec_jax.config import DistillConfig
from easrec_jax.data.batches import Batch
from easrec_jax.models.cost import cost_table
from easrec_jax.models.network import Network
from easrec_jax.nas import finalists
from easrec_jax.nas.distribution import Table
from easrec_jax.nas.search import search, supernet_of
from easrec_jax.nas.steps import architecture_step, init_search, make_searcher, weight_step
from easrec_jax.nas.strategies.known import find_strategy
from easrec_jax.space import space_of
from easrec_jax.train.distillation import Taught

TEACHER = Network(Architecture(12, 12, 2, 2, LENGTH, "softmax", 0), ITEMS)
SHORT = {"epochs": 1, "warmup_epochs": 0, "finalists": 2}


def taught_by(share: float, **settings) -> Taught:
    return Taught(
        TEACHER, TEACHER.init(jax.random.key(5)), DistillConfig(share=share, teacher="sasrec", **settings), "abc"
    )


def same(a, b) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def batch_of(seed: int) -> Batch:
    """Always the same events, labels of their own."""
    rng, labels = np.random.default_rng(0), np.random.default_rng(seed)
    return Batch(*(r.integers(1, ITEMS + 1, (8, LENGTH)).astype(np.int32) for r in (rng, labels)))


@pytest.mark.parametrize("fields", [{}, {"sharing": "corners", "training": "sandwich", "teacher": 1.0}, {"wide": True}])
def test_both_steps_listen_to_the_teacher_as_much_as_its_share(fields):
    """At a share of one the labels are not seen; at less they are, and so is the teacher."""
    config = setting(**fields)
    space, theirs = space_of(config), taught_by(1.0).weights
    supernet = supernet_of(space, ITEMS, 0.0, config.search.sharing)
    table = Table.of(space, cost_table(space, ITEMS), None)

    def stepped(share: float, labels: int, theirs=theirs):
        teacher = TEACHER if share else None
        searcher = make_searcher(supernet, config.search, find_strategy("easrec"), (0, 10), teacher, share)
        state = init_search(searcher, jax.random.key(0))
        state, _ = weight_step(state, batch_of(labels), jax.random.key(1), table, theirs, searcher=searcher)
        state, _ = architecture_step(state, batch_of(labels), jax.random.key(2), table, theirs, searcher=searcher)
        return jax.tree.map(np.asarray, (state.weights, state.arch_opt))

    other = TEACHER.init(jax.random.key(6))
    whole = stepped(1.0, 1)
    assert same(whole, stepped(1.0, 2))
    assert not same(whole[0], stepped(1.0, 1, other)[0]) and not same(whole[1], stepped(1.0, 1, other)[1])
    if fields:  # a share mixes two losses, whatever the supernet
        return
    half = stepped(0.5, 1)
    assert not same(half[0], stepped(0.5, 2)[0]) and not same(half[1], stepped(0.5, 2)[1])
    assert not same(half[0], stepped(0.5, 1, other)[0]) and not same(half[1], stepped(0.5, 1, other)[1])


@pytest.mark.parametrize("strategy", ["easrec", "random"])
def test_a_share_of_nothing_is_todays_search_bit_for_bit(strategy):
    config = setting(strategy=strategy, **SHORT)
    space, plain = search_chain(config)
    again = search(space, task_of(config), settings=config.search, taught=taught_by(0.0))
    assert same(plain.weights, again.weights) and plain.finalists == again.finalists
    if strategy == "random":  # the others' steps are in the test above
        taught = search(space, task_of(config), settings=config.search, taught=taught_by(0.5))
        assert taught.finalists != plain.finalists


@pytest.mark.parametrize("strategy", ["easrec", "random"])
def test_finalists_learn_as_they_would_be_retrained(strategy, monkeypatch):
    heard = []
    whole = finalists.fit_taught
    monkeypatch.setattr(finalists, "fit_taught", lambda *a, **f: heard.append(a[3]) or whole(*a, **f))
    config, taught = setting(strategy=strategy, **SHORT), taught_by(0.5)
    search(space_of(config), task_of(config), settings=config.search, taught=taught)
    assert heard == [taught, taught]


def test_a_supernet_of_our_space_is_not_taught_what_it_cannot_hear():
    config, taught = setting(**SHORT), taught_by(0.5, terms=("hidden",))
    with pytest.raises(ValueError, match=r"distill\.terms: expected scores among them"):
        search(space_of(config), task_of(config), settings=config.search, taught=taught)
    silent = dataclasses.replace(taught.settings, share=0.0)
    search(space_of(config), task_of(config), settings=config.search, taught=taught._replace(settings=silent))
