"""Serving by a router: every user is answered by the network chosen for it, grouped or streamed, as that network alone would."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.models.corner import corner
from easrec_jax.models.network import Network
from easrec_jax.models.router import SIGNS, Router
from easrec_jax.serving.programs import programs
from easrec_jax.serving.routed import RoutedNetworks
from easrec_jax.serving.shapes import flat

ITEMS, LENGTH = 30, 6
LARGEST = Architecture(16, 24, 3, 2, LENGTH, "recent_linrec", 2, conv_width=3)
NETWORKS = tuple(
    Architecture(width, inner, depth, 2, LENGTH, "recent_linrec", 2, conv_width=3)
    for width, inner, depth in [(8, 12, 1), (8, 12, 3), (16, 24, 2)]
)


@pytest.fixture(scope="module")
def weights(draw_weights):
    return draw_weights(Network(LARGEST, ITEMS).init)


@pytest.fixture(scope="module")
def routed(weights, draw_weights):
    """A router of drawn weights, which does not give everyone the same network."""
    router = Router.beside(LARGEST, ITEMS, len(NETWORKS), width=8)
    rng = np.random.default_rng(1)
    head = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), router.init_head())
    head["kernel"] = head["kernel"].at[-SIGNS:].set(0.0)  # drawn, they would outweigh the hidden state
    return RoutedNetworks(weights, NETWORKS, router, head, ITEMS)


def histories(count: int, longest: int) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.integers(1, ITEMS + 1, rng.integers(1, longest + 1)).astype(np.int32) for _ in range(count)]


def alone(weights, number: int, history: np.ndarray, k: int):
    """The answer of one network to one user."""
    network, items = Network(NETWORKS[number], ITEMS), np.zeros((1, LENGTH), np.int32)
    items[0, : min(len(history), LENGTH)] = history[-LENGTH:]
    part = corner(weights, NETWORKS[number])
    scores, best = programs(network).top(part, items, history[None], jnp.zeros(ITEMS + 1), k=k)
    return np.asarray(scores)[0], np.asarray(best)[0]


def test_a_grouped_batch_is_answered_as_by_each_users_network_alone(routed, weights):
    users = histories(16, 9)
    items, ends = flat(users)
    choice = routed.choose(items, ends)
    assert set(choice) == {0, 1, 2}
    scores, best = routed.top_items(items, ends, 5)
    for user, history in enumerate(users):
        wanted = alone(weights, choice[user], history, 5)
        np.testing.assert_allclose(scores[user], wanted[0], rtol=1e-4, atol=1e-4)
        assert best[user].tolist() == wanted[1].tolist()


def test_the_choice_is_the_best_score_and_does_not_depend_on_who_else_asks(routed):
    users = histories(12, 9)
    choice = routed.choose(*flat(users))
    for user, history in enumerate(users):
        items = np.zeros((1, LENGTH), np.int32)
        items[0, : min(len(history), LENGTH)] = history[-LENGTH:]
        scores = routed.router.scores(routed.head, routed.router.features(routed.reader, jnp.asarray(items)))
        assert choice[user] == int(np.argmax(scores)) == routed.choose(*flat([history]))[0]


def test_a_stream_keeps_its_network_until_its_events_double_or_are_cut_and_answers_as_that_network(routed, weights):
    users = histories(8, LENGTH)
    stream, rng = routed.start(users), np.random.default_rng(3)
    own = [one.start(users) for one in routed.networks]
    counted, changed = [list(history) for history in users], 0
    for _ in range(2 * LENGTH):
        items = np.where(rng.random(len(users)) < 0.7, rng.integers(1, ITEMS + 1, len(users)), 0).astype(np.int32)
        before = stream.choice
        cut = [len(history) == LENGTH and item > 0 for history, item in zip(counted, items, strict=True)]
        doubled = [len(history) in (1, 2, 4) and item > 0 for history, item in zip(counted, items, strict=True)]
        for user in np.flatnonzero(cut):
            counted[user] = counted[user][-(LENGTH // 2) :]
        again = routed.choose(*flat([np.array(history, np.int32) for history in counted]))
        stream = routed.push(stream, items)
        assert stream.choice.tolist() == np.where(np.logical_or(cut, doubled), again, before).tolist()
        changed += int((stream.choice != before).sum())
        own = [one.push(s, items) for one, s in zip(routed.networks, own, strict=True)]
        for user, item in enumerate(items.tolist()):
            counted[user] += [item] if item else []
        for number, group in enumerate(stream.groups):
            real = np.flatnonzero(group.users >= 0) if group else np.zeros(0, int)
            assert sorted(group.users[real] if group else []) == np.flatnonzero(stream.choice == number).tolist()
            if group:
                theirs = own[number].hidden[group.users[real]]
                np.testing.assert_allclose(group.stream.hidden[real], theirs, rtol=1e-3, atol=1e-4)
                assert [counted[user] for user in group.users[real]] == [
                    row[:count].tolist()
                    for row, count in zip(group.stream.recent[real], group.stream.count[real], strict=True)
                ]
    assert changed > 0
    assert [row[:n].tolist() for row, n in zip(stream.recent, stream.count, strict=True)] == counted
    scores, best = routed.top_from(stream, 4)
    for user, history in enumerate(counted):
        wanted = alone(weights, stream.choice[user], np.array(history, np.int32), 4)
        np.testing.assert_allclose(scores[user], wanted[0], rtol=1e-3, atol=1e-3)
        assert best[user].tolist() == wanted[1].tolist()


def test_users_without_events_wait_for_their_first(routed):
    stream = routed.start([np.zeros(0, np.int32), np.array([3], np.int32)])
    assert np.isinf(routed.top_from(stream, 3)[0][0]).all()
    after = routed.push(stream, np.array([5, 0], np.int32))
    assert np.isfinite(routed.top_from(after, 3)[0]).all()
    assert np.isinf(routed.top_from(stream, 3)[0][0]).all()  # the old one is as it was


def test_as_many_networks_as_scores(routed, weights):
    with pytest.raises(ValueError, match="networks: expected 3"):
        RoutedNetworks(weights, NETWORKS[:2], routed.router, routed.head, ITEMS)


def test_a_stream_is_kept_on_disk_with_the_network_of_each_user(routed, tmp_path):
    stream = routed.push(routed.start(histories(9, 3)), np.full(9, 4, np.int32))
    routed.save(tmp_path / "stream.npz", stream, "me")
    again = routed.load(tmp_path / "stream.npz", "me")
    assert again.choice.tolist() == stream.choice.tolist() and again.recent.tolist() == stream.recent.tolist()
    np.testing.assert_allclose(routed.top_from(again, 3)[0], routed.top_from(stream, 3)[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="another model's stream"):
        routed.load(tmp_path / "stream.npz", "you")
    with pytest.raises(ValueError, match="a network each"):
        routed.check(routed.networks[0].start(histories(2, 3)))
    routed.networks[0].save(tmp_path / "one.npz", routed.networks[0].start(histories(2, 3)), "me")
    with pytest.raises(ValueError, match="expected a stream of format"):
        routed.load(tmp_path / "one.npz", "me")
    with pytest.raises(ValueError, match="at least one user"):
        routed.start([])
