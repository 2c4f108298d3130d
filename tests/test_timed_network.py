"""Networks that read times: what reaches them when, that they are the others without, and that their slices are networks."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, ModelConfig
from easrec_jax.data.batches import scoring_samples, training_samples
from easrec_jax.data.clock import FIRST, GAP_ROWS, Timed, gap_codes, request_codes
from easrec_jax.data.read import read_interactions
from easrec_jax.data.split import Split
from easrec_jax.models.corner import corner
from easrec_jax.models.cost import parameter_count
from easrec_jax.models.masked import Masked
from easrec_jax.models.network import Network
from easrec_jax.models.supernet import Candidates
from easrec_jax.models.unknown_times import with_unknown_times
from easrec_jax.nn.times import read_out
from easrec_jax.space import Space
from easrec_jax.train.task import read_by

DAY = 86_400.0
ITEMS, LENGTH = 9, 6
ARCHITECTURE = Architecture(
    width=8,
    inner=8,
    depth=2,
    heads=2,
    max_length=LENGTH,
    attention="recent_linrec",
    gate_layers=1,
    conv_width=2,
    times="calendar",
)
NETWORK = Network(ARCHITECTURE, ITEMS)
ROWS = [
    ("u", item, 1.6e9 + at)
    for item, at in zip(
        "abcdefghi", (0, 5, 3600, 2 * DAY, 9 * DAY, 9 * DAY + 60, 40 * DAY, 41 * DAY, 99 * DAY), strict=True
    )
] + [("v", item, 1.6e9 + at) for item, at in zip("cab", (7, 90, 5 * DAY), strict=True)]


def data_of(rows=ROWS, **options):
    return read_interactions(rows, times=True, min_history=1, **options)


@partial(jax.jit, static_argnames=("encoder", "method"))
def apply(encoder, method, weights, *args):
    return method(encoder, weights, *args)


@pytest.fixture(scope="module")
def weights(draw_weights) -> dict:
    return draw_weights(NETWORK.init)


def batch_of(rows=ROWS) -> Timed:
    """The test histories of both users, with their requests."""
    samples = scoring_samples(Split(data_of(rows)), "test", max_length=LENGTH)
    return samples.batch(np.arange(2), LENGTH, 2).items


def test_codes_are_octaves_of_seconds_and_the_hour_and_weekday_in_utc():
    gaps = np.array([-5.0, 0, 0.9, 1, 2.9, 3, 2.0**31, 2.0**40])
    assert gap_codes(gaps).tolist() == [2, 2, 2, 3, 3, 4, 33, 33] and GAP_ROWS == 34
    codes = request_codes(np.array([1_700_000_000.0, 0.0]), np.array([1.0, 0.0]))  # Tuesday 22:13, Thursday 0:00
    assert codes.tolist() == [[3, 34 + 1 + 22, 59 + 1 + 1], [2, 35, 59 + 1 + 3]]


def test_data_keep_times_of_any_unit_and_order_and_refuse_what_is_none():
    data = data_of()
    assert data.time_codes[:, 0].tolist() == [FIRST, 4, 13, 19, 21, 7, 23, 18, 24, FIRST, 8, 20]
    for unit in (1e3, 1e9):
        other = data_of([(user, item, int(time * unit)) for user, item, time in reversed(ROWS)])
        assert np.array_equal(other.times, data.times) and other.fingerprint() == data.fingerprint()
    assert read_interactions(ROWS, min_history=1).fingerprint() != data.fingerprint()
    shifted = data_of([(user, item, time + 12_345.0) for user, item, time in ROWS])
    assert np.array_equal(shifted.time_codes[:, 0], data.time_codes[:, 0])
    assert not np.array_equal(shifted.time_codes[:, 1], data.time_codes[:, 1])
    with pytest.raises(ValueError, match=r"expected times between 1980 and 2039 for model.times.* got 1 to 12"):
        data_of([(user, item, number) for number, (user, item, _) in enumerate(ROWS, 1)])
    with pytest.raises(ValueError, match="model.times needs times, the data have none"):
        data_of([row[:2] for row in ROWS])


def test_events_that_a_model_does_not_know_leave_the_times_of_the_others():
    data = data_of()
    known, _ = data.restricted_to(dataclasses.replace(data.item_ids, raw=data.item_ids.raw[:7]))
    kept = [time for user, item, time in ROWS if user == "v" or item < "h"]
    assert np.array_equal(known.times, kept)
    assert known.time_codes[: known.offsets[1], 0].tolist() == data.time_codes[:7, 0].tolist()


def test_batches_give_each_event_the_gap_before_it_and_the_request_after_it():
    data = data_of([row for row in ROWS if row[0] == "u"])
    samples = training_samples(Split(data), max_length=4, targets="all", windows="all")
    for start, batch in ((s, samples.batch(np.array([n]), 4, 1)) for n, s in enumerate(samples.start)):
        real = int(np.count_nonzero(batch.items.items))
        codes = data.time_codes[start : start + real + 1]
        assert np.array_equal(batch.items.before[0, :real], codes[:-1, 0])
        assert np.array_equal(batch.items.request[0, :real], codes[1:])
        assert np.array_equal(batch.targets[0, :real], data.items[start + 1 : start + real + 1])
    assert (
        sum(samples.start == data.offsets[0]) == 1 and len(samples) == 2
    )  # the second begins with a gap that is known


def test_nothing_of_the_future_but_the_time_of_the_request(weights):
    whole = batch_of()
    before = np.asarray(apply(NETWORK, Network.encode, weights, whole))

    def with_changed(place: int, item: str | None, later: float) -> np.ndarray:
        rows = list(ROWS)
        user, old, time = rows[place]
        rows[place] = (user, item or old, time + later)
        return np.asarray(apply(NETWORK, Network.encode, weights, batch_of(rows)))

    # user u's history for the test item is b to h, of which c to h are read: place 8 is the target, 5 the event f at position 3
    assert np.array_equal(with_changed(8, "b", 0.0), before)  # the target's item changes nothing
    moved = with_changed(8, None, 100 * DAY)  # its time is the request's
    assert np.array_equal(moved[0, :5], before[0, :5]) and not np.allclose(moved[0, 5], before[0, 5])
    other = with_changed(5, "b", 0.0)
    assert np.array_equal(other[0, :3], before[0, :3]) and not np.allclose(other[0, 3], before[0, 3])
    later = with_changed(5, None, 3 * DAY)  # event 3's time is the request after event 2
    assert np.array_equal(later[0, :2], before[0, :2]) and not np.allclose(later[0, 2:], before[0, 2:])
    assert np.array_equal(later[1], before[1])


def test_all_sides_of_a_network_agree(weights):
    events = batch_of()
    encoded = apply(NETWORK, Network.encode, weights, events)
    lengths = np.count_nonzero(events.items, 1)
    last = np.asarray(encoded)[np.arange(2), lengths - 1]
    np.testing.assert_allclose(apply(NETWORK, Network.encode_last, weights, events), last, atol=2e-5)
    request = events.request[np.arange(2), lengths - 1]
    hidden, _ = apply(NETWORK, Network.start, weights, events)
    np.testing.assert_allclose(apply(NETWORK, Network.read_out, weights, hidden, request), last, atol=2e-5)
    _, state = apply(NETWORK, Network.start, weights, jax.tree.map(lambda a: a[:, :1], events))
    stepped, _ = apply(NETWORK, Network.step, weights, state, jax.tree.map(lambda a: a[:, 1], events))
    read = apply(NETWORK, Network.read_out, weights, stepped, events.request[:, 1])
    np.testing.assert_allclose(read, np.asarray(encoded)[:, 1], atol=2e-5)


def test_a_fresh_network_is_the_one_without_times_bit_by_bit():
    plain = Network(dataclasses.replace(ARCHITECTURE, times="no"), ITEMS)
    timed, others = NETWORK.init(jax.random.key(0)), plain.init(jax.random.key(0))
    own = timed | {"tables": {name: timed["tables"][name] for name in others["tables"]}}
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), own, others))
    events = batch_of()
    with_times = apply(NETWORK, Network.encode, timed, events)
    assert np.array_equal(with_times, apply(plain, Network.encode, others, events.items))
    assert sum(x.size for x in jax.tree.leaves(timed)) == parameter_count(ARCHITECTURE, ITEMS)


def test_an_architecture_without_times_says_nothing_of_them_and_old_ones_are_read():
    plain = dataclasses.replace(ARCHITECTURE, times="no")
    assert "times" not in plain.to_json() and Architecture.from_json(plain.to_json()) == plain
    assert Architecture.from_json(ARCHITECTURE.to_json()) == ARCHITECTURE
    with pytest.raises(ValueError, match="architecture.times: expected one of"):
        dataclasses.replace(ARCHITECTURE, times="hours")


@pytest.mark.parametrize("kind", ["masks", "corners", "own"])
def test_a_network_drawn_in_a_supernet_is_its_cut(kind, draw_weights):
    largest = dataclasses.replace(ARCHITECTURE, depth=2, times="gaps")
    space = Space(largest, (8, 4), (8, 4), (2,), (1,), ("recent_linrec",), conv_width=2)
    if kind == "masks":
        space = dataclasses.replace(space, inner_of="network")
        supernet = Masked(space, ITEMS)
    else:
        supernet = Candidates(space, ITEMS, sharing=kind)
    weights, events = draw_weights(supernet.init), batch_of()
    for row in (0, len(space.networks) - 1):  # the shallow wide one, the deep narrow one
        architecture = space.architecture(row)
        cut = supernet.cut(weights, architecture)
        drawn = jnp.asarray(space.networks[row])
        if kind != "masks":
            drawn = jnp.zeros(space.shape).at[int(space.networks[row, 0]), architecture.depth - 1].set(1.0)
        found = np.asarray(apply(supernet, type(supernet).encode, weights, events, drawn))
        alone = np.asarray(apply(Network(architecture, ITEMS), Network.encode, cut, events))
        real = events.items > 0
        np.testing.assert_allclose(found[real][:, : architecture.width], alone[real], atol=2e-5)
        assert not found[real][:, architecture.width :].any()
    if kind == "corners":
        assert cut["tables"]["shift"].shape == corner(weights, architecture)["tables"]["shift"].shape == (GAP_ROWS, 4)


def test_an_unknown_time_is_the_mean_of_those_in_training(weights):
    split = Split(data_of([row for row in ROWS if row[0] == "u"]))
    tables = with_unknown_times(weights, split)["tables"]
    codes = split.data.time_codes[:7]  # training events
    np.testing.assert_allclose(tables["gaps"][0], np.mean(weights["tables"]["gaps"][codes[:, 0]], 0), atol=1e-5)
    hidden = np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32)
    unknown = apply(NETWORK, Network.read_out, {"tables": tables}, hidden, np.array([[0, 34, 59]], np.uint8))
    targets = codes[1:]
    # each part of a request by itself, as it is not known which go together
    each = [read_out(jnp.asarray(hidden).repeat(6, 0), tables["scale"], tables["shift"], jnp.asarray(targets))]
    np.testing.assert_allclose(unknown, np.mean(each[0], 0, keepdims=True), atol=1e-4)
    assert with_unknown_times({"tables": {"items": 0}}, split) == {"tables": {"items": 0}}


def test_networks_get_the_times_that_they_read_and_no_others():
    split, timed = Split(data_of()), Config(model=ModelConfig(times="gaps"))
    assert read_by(timed, split) is split
    assert read_by(Config(), split).data.times is None
    with pytest.raises(ValueError, match="model.times: expected no, or data with times"):
        read_by(timed, split.without_times())
