"""The split, the samples and the batches: what is trained on, in which order, in which shapes."""

from __future__ import annotations

from collections import Counter

import jax
import numpy as np
import optax
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.data import batches
from easrec_jax.data.batches import (
    EndlessBatches,
    Samples,
    batches_per_epoch,
    bucket_lengths,
    bucketed,
    epoch_batches,
    scoring_samples,
    training_samples,
)
from easrec_jax.data.split import Split
from easrec_jax.models.network import Network
from easrec_jax.train.step import TrainState, train_step

N = 8
PLAN = {"max_length": N, "batch_size": 3}


@pytest.fixture(scope="module")
def distinct(split, interactions) -> Split:
    """The split's histories with every event an item of its own, so that an item says whose which event it is."""
    lengths = split.data.lengths
    ends = np.cumsum(lengths)
    return Split(
        interactions([list(range(end - n + 1, end + 1)) for n, end in zip(lengths, ends, strict=True)], int(ends[-1]))
    )


def epoch(samples: Samples, seed: int = 0, number: int = 0, skip: int = 0) -> list:
    return list(epoch_batches(samples, **PLAN, seed=seed, epoch=number, skip=skip))


def pairs(samples: Samples) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(inputs, targets) of each sample in an epoch, padding taken off."""
    found = []
    for batch in epoch(samples):
        for items, targets in zip(batch.items, batch.targets.reshape(len(batch.items), -1), strict=True):
            real = items > 0
            if real.any():
                found.append((tuple(items[real].tolist()), tuple(targets[targets > 0].tolist())))
            else:
                assert not targets.any()
    return found


def test_the_last_item_is_test_and_the_one_before_it_validation(split):
    for user in range(split.data.num_users):
        history = split.data.history(user)
        assert split.targets("test")[user] == history[-1]
        assert split.targets("validation")[user] == history[-2]
        assert split.data.items[split.start[user] : split.train_end[user]].tolist() == history[:-2].tolist()


def test_popularity_counts_training_events_alone(split):
    trained = Counter(item for user in range(split.data.num_users) for item in split.data.history(user)[:-2].tolist())
    assert split.popularity().tolist() == [trained[item] for item in range(split.data.num_items + 1)]


def test_a_history_too_short_to_split_is_refused(interactions):
    with pytest.raises(ValueError, match="at least 3"):
        Split(interactions([[1, 2, 3], [1, 2]], 3))


def test_every_training_event_but_a_users_first_is_a_target_exactly_once(distinct):
    samples = training_samples(distinct, max_length=N, targets="all", windows="all")
    targets = Counter(target for _, row in pairs(samples) for target in row)
    users = range(distinct.data.num_users)
    assert targets == Counter(item for user in users for item in distinct.data.history(user)[1:-2].tolist())
    assert samples.num_targets == targets.total()


@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("windows", ["all", "last"])
def test_targets_follow_their_inputs_and_no_held_out_item_is_seen(distinct, targets, windows):
    held_out = {*distinct.targets("validation").tolist(), *distinct.targets("test").tolist()}
    samples = training_samples(distinct, max_length=N, targets=targets, windows=windows)
    for inputs, following in pairs(samples):
        expected = tuple(item + 1 for item in inputs)  # consecutive items by construction
        assert following == (expected if targets == "all" else expected[-1:])
        assert inputs[1:] == expected[:-1] and len(inputs) <= N
        assert not held_out & {*inputs, *following}


def test_the_last_window_is_each_users_last_events(distinct):
    samples = training_samples(distinct, max_length=N, targets="all", windows="last")
    trained = [distinct.data.history(user)[:-2].tolist() for user in range(distinct.data.num_users)]
    assert sorted(inputs for inputs, _ in pairs(samples)) == [tuple(t[:-1][-N:]) for t in trained if len(t) > 1]


def test_targets_last_is_one_sample_a_prefix(distinct):
    samples = training_samples(distinct, max_length=N, targets="last", windows="all")
    trained = [distinct.data.history(user)[:-2].tolist() for user in range(distinct.data.num_users)]
    prefixes = [(tuple(t[max(0, k - N) : k]), (t[k],)) for t in trained for k in range(1, len(t))]
    assert sorted(pairs(samples)) == sorted(prefixes)
    assert len(samples) == samples.num_targets == len(prefixes)


@pytest.mark.parametrize(("part", "held_out"), [("validation", 2), ("test", 1)])
def test_scoring_reads_each_users_events_before_the_held_out_item(distinct, part, held_out):
    samples = scoring_samples(distinct, part, max_length=N)
    histories = [distinct.data.history(user).tolist() for user in range(distinct.data.num_users)]
    assert sorted(pairs(samples)) == sorted((tuple(h[:-held_out][-N:]), (h[-held_out],)) for h in histories)


def test_an_epochs_order_depends_on_seed_and_epoch_alone(split):
    samples = training_samples(split, max_length=N, targets="all", windows="all")
    assert same(epoch(samples, 1, 2), epoch(samples, 1, 2))
    assert not same(epoch(samples, 1, 2), epoch(samples, 1, 3))
    assert not same(epoch(samples, 1, 2), epoch(samples, 2, 2))
    assert len(epoch(samples)) == batches_per_epoch(samples, **PLAN)


def test_skipping_gives_exactly_the_tail_of_the_epoch(split):
    samples = training_samples(split, max_length=N, targets="all", windows="all")
    whole = epoch(samples, 5, 1)
    for skip in (0, 1, len(whole) - 1, len(whole)):
        assert same(epoch(samples, 5, 1, skip), whole[skip:])


def same(ours: list, theirs: list) -> bool:
    return len(ours) == len(theirs) and all(
        np.array_equal(x, y) for a, b in zip(ours, theirs, strict=True) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("max_length", [1, 2, 3, 7, 8, 50])
def test_batches_have_at_most_four_shapes_of_equal_work(split, max_length):
    samples = training_samples(split, max_length=max_length, targets="all", windows="all")
    shapes = {b.items.shape for b in epoch_batches(samples, max_length=max_length, batch_size=3, seed=0, epoch=0)}
    assert len(shapes) <= 4
    assert {length for _, length in shapes} <= set(bucket_lengths(max_length))
    assert all(rows * length <= 3 * max_length < (rows + 1) * length for rows, length in shapes)
    assert bucket_lengths(max_length)[-1] == max_length


def test_endless_batches_are_those_of_epoch_after_epoch_whatever_is_asked_for_first(distinct):
    samples = scoring_samples(distinct, "validation", max_length=N)
    steps = batches_per_epoch(samples, **PLAN)
    endless = EndlessBatches(samples, **PLAN, seed=3)
    draw = [endless(number) for number in range(3 * steps)]
    assert same(draw, [batch for number in range(3) for batch in epoch(samples, seed=3, number=number)])
    assert not same(draw[:steps], draw[steps : 2 * steps])
    assert same(draw[steps + 1 : steps + 2], [EndlessBatches(samples, **PLAN, seed=3)(steps + 1)])
    assert same(draw[:1], [endless(0)])
    for start in (0, steps):
        targets = np.concatenate([batch.targets for batch in draw[start : start + steps]])
        assert sorted(targets[targets > 0]) == sorted(samples.items[samples.stop])


def test_an_endless_epoch_is_planned_once(distinct, monkeypatch):
    samples, planned = scoring_samples(distinct, "validation", max_length=N), []
    monkeypatch.setattr(batches, "bucketed", lambda *given, **named: planned.append(1) or bucketed(*given, **named))
    endless = EndlessBatches(samples, **PLAN, seed=0)
    for number in range(2 * batches_per_epoch(samples, **PLAN)):
        endless(number)
    assert len(planned) == 2


def test_a_training_step_is_traced_once_a_batch_shape(split):
    traces = []
    sgd = optax.sgd(0.01)

    def counted(*args):
        traces.append(1)
        return sgd.update(*args)

    tx = optax.GradientTransformation(sgd.init, counted)
    network = Network(Architecture(4, 4, 1, 1, 2, "causal_linrec", 0), split.data.num_items)
    weights = network.init(jax.random.key(0))
    state, key = TrainState(jax.numpy.int32(0), weights, tx.init(weights)), jax.random.key(1)
    samples, shapes = training_samples(split, max_length=2, targets="all", windows="all"), set()
    for number in range(2):
        for batch in epoch_batches(samples, max_length=2, batch_size=60, seed=0, epoch=number):
            state, _ = train_step(state, batch, key, encoder=network, tx=tx)
            shapes.add(batch.items.shape)
    assert len(traces) == len(shapes) == 2 < int(state.step)
    assert not np.asarray(state.weights["tables"]["items"][0]).any()
