"""Blocks and the compact network: the paper's equations, causality, padding, streaming."""

from __future__ import annotations

from math import erf

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.models.network import Network, item_table
from easrec_jax.nn.block import Block
from easrec_jax.nn.dense import Gate
from easrec_jax.nn.dropout import dropout
from easrec_jax.nn.mixer import default_decay, find_mixer

ITEMS, LENGTH = 20, 9
LENGTHS = np.array([LENGTH, 5, 1])


@pytest.fixture(scope="module")
def items() -> jax.Array:
    """Three users with 9, 5 and 1 events."""
    drawn = np.random.default_rng(3).integers(1, ITEMS + 1, (3, LENGTH))
    return jnp.asarray(np.where(np.arange(LENGTH) < LENGTHS[:, None], drawn, 0), jnp.int32)


def test_a_later_item_changes_no_earlier_output(causal_network, items):
    before = causal_network(Network.encode, items)
    for t in range(1, LENGTH):
        after = causal_network(Network.encode, items.at[0, t:].set(items[0, t:] % ITEMS + 1))
        np.testing.assert_allclose(after[0, :t], before[0, :t], atol=1e-5)
        assert np.abs(after[0, t] - before[0, t]).max() > 1e-3


def test_in_linrec_a_later_item_changes_every_output(linrec_network, items):
    before = linrec_network(Network.encode, items)
    after = linrec_network(Network.encode, items.at[0, -1].set(items[0, -1] % ITEMS + 1))
    assert (np.abs(after - before)[0].max(-1) > 1e-4).all()


def test_longer_padding_changes_no_score(any_network, items):
    short, table = items[:, :5], item_table(any_network.weights)
    scores = [np.asarray(any_network(Network.encode_last, x))[1:] @ table.T for x in (items, short)]
    np.testing.assert_allclose(*scores, atol=1e-5)
    padded = items.at[:, 5:].set(0)
    np.testing.assert_allclose(
        any_network(Network.encode_last, padded)[0], any_network(Network.encode_last, short)[0], atol=1e-5
    )


def test_an_all_padding_row_is_finite_and_touches_no_other_row(any_network, items):
    mixed = items.at[1].set(0)
    for method in (Network.encode, Network.encode_last):
        hidden, before = any_network(method, mixed), any_network(method, items)
        assert np.isfinite(hidden).all()
        np.testing.assert_allclose(hidden[0], before[0], atol=1e-5)


def test_gradients_are_finite_and_none_reaches_the_padding_row(any_network, items):
    mixed = items.at[1].set(0)

    @jax.jit
    @jax.grad
    def gradient(weights):
        hidden = any_network.network.encode(weights, mixed)
        return jnp.sum(hidden**3) + jnp.sum(hidden[1] ** 2)

    grads = gradient(any_network.weights)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
    table = np.asarray(item_table(grads))
    assert not table[0].any()
    assert table[np.unique(mixed)[1:]].any(-1).all()


def test_encode_last_is_encode_at_the_last_event(any_network, items):
    last = any_network(Network.encode, items)[np.arange(3), LENGTHS - 1]
    np.testing.assert_allclose(any_network(Network.encode_last, items), last, atol=1e-5)


@pytest.mark.parametrize("seen", [[6, 2, 0], [1, 6, 3]])
def test_streaming_is_the_whole_sequence(causal_network, seen):
    events = jnp.asarray(np.random.default_rng(4).integers(1, ITEMS + 1, (3, LENGTH)), jnp.int32)
    seen, users = np.array(seen), np.arange(3)

    def prefix(lengths):
        return jnp.where(np.arange(LENGTH) < lengths[:, None], events, 0)

    hidden, state = causal_network(Network.start, prefix(seen))
    np.testing.assert_allclose(hidden, causal_network(Network.encode_last, prefix(seen)), atol=1e-5)
    whole = causal_network(Network.encode, events)
    for step in range(3):
        hidden, state = causal_network(Network.step, state, events[users, seen + step])
        np.testing.assert_allclose(hidden, whole[users, seen + step], atol=2e-5)
        np.testing.assert_allclose(hidden, causal_network(Network.encode_last, prefix(seen + step + 1)), atol=2e-5)
    np.testing.assert_array_equal(state.count, seen + 3)


def test_the_streaming_state_of_linear_attention_does_not_grow(causal_network, items):
    if causal_network.network.architecture.attention == "softmax":
        pytest.skip("softmax keeps its keys and values")
    shapes = [
        jax.eval_shape(lambda x: causal_network(Network.start, x)[1], items[:, :length]) for length in (3, LENGTH)
    ]
    assert shapes[0] == shapes[1]


def test_linrec_cannot_stream(linrec_network, items):
    _, state = linrec_network(Network.start, items)
    with pytest.raises(ValueError, match="cannot stream"):
        linrec_network(Network.step, state, items[:, 0])


def test_positions_past_the_table_use_its_last_row(linrec_network, items):
    tables = linrec_network.network._module.bind({"params": linrec_network.weights}).tables
    counts = (LENGTH - 1, LENGTH, LENGTH + 50)
    outputs = [tables.at(items[:, 0], jnp.full(3, count)) for count in counts]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def dense(weights: dict, x: np.ndarray) -> np.ndarray:
    return x @ weights["kernel"] + weights["bias"]


def norm(weights: dict, x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * weights["scale"] + weights[
        "bias"
    ]


def gate(weights: dict, x: np.ndarray) -> np.ndarray:
    x = np.maximum(dense(weights["middle"], x), 0) if "middle" in weights else x
    return 2 / (1 + np.exp(-dense(weights["out"], x)))


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2


@pytest.mark.parametrize(("gates", "conv", "learned"), [(0, 0, False), (1, 0, True), (2, 3, False)])
def test_a_block_is_equations_6_to_9(draw_weights, gates, conv, learned):
    width, inner, heads, length = 6, 10, 2, 5
    block = Block(Architecture(width, inner, 1, heads, length, "recent_linrec", gates, conv, learned), inner)
    x, embedded = (jnp.asarray(np.random.default_rng(s).normal(size=(1, length, width)), jnp.float32) for s in (0, 1))
    mask = jnp.ones((1, length), bool)
    weights = draw_weights(lambda key: block.init(key, x, embedded, mask))["params"]
    out = jax.jit(block.apply)({"params": weights}, x, embedded, mask)

    w, t, e = jax.tree.map(np.asarray, (weights, x[0], embedded[0]))
    mixed_in = t
    if conv:
        before = np.concatenate([np.zeros((conv - 1, width)), t])
        mixed_in = sum(w["taps"][i] * before[i : i + length] for i in range(conv))
    decay = 1 / (1 + np.exp(-w["decay_logits"])) if learned else default_decay(heads)
    q, k, v = (
        jnp.asarray(dense(w[n], mixed_in).reshape(1, length, heads, -1), jnp.float32) for n in ("query", "key", "value")
    )
    mixed = np.asarray(find_mixer("recent_linrec").sequence(q, k, v, mask, jnp.asarray(decay)))
    s = norm(w["attention_norm"], t + dense(w["merge"], mixed.reshape(length, width)))
    f1 = gelu(dense(w["expand"], (gate(w["gate_hidden"], e) if gates else 1) * s))
    f2 = dense(w["contract"], (gate(w["gate_inner"], e) if gates else 1) * f1)
    np.testing.assert_allclose(out[0], norm(w["output_norm"], s + f2), atol=2e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_fresh_gate_is_the_identity_on_average(layers):
    x = jax.random.normal(jax.random.key(0), (400, 8))
    gates = Gate(12, layers).init_with_output(jax.random.key(1), x)[0]
    assert gates.shape == (400, 12)
    np.testing.assert_allclose(gates.mean(), 1.0, atol=0.01)


def test_dropout_keeps_the_mean_and_drops_its_rate():
    x = jnp.ones((100, 101))
    dropped = dropout(x, 0.25, jax.random.key(0))
    np.testing.assert_allclose(jnp.mean(dropped == 0), 0.25, atol=0.02)
    np.testing.assert_allclose(dropped[dropped > 0], 4 / 3, rtol=1e-6)
    np.testing.assert_array_equal(dropout(x, 0.25, None), x)


def test_dropout_follows_the_key_alone(linrec_network, items):
    network = Network(linrec_network.network.architecture, ITEMS, 0.5)

    @jax.jit
    def encode(key):
        return network.encode(linrec_network.weights, items, key=key)

    np.testing.assert_allclose(encode(None), linrec_network(Network.encode, items), atol=1e-5)
    np.testing.assert_array_equal(encode(jax.random.key(1)), encode(jax.random.key(1)))
    assert np.abs(encode(jax.random.key(1)) - encode(jax.random.key(2)))[0].max(-1).min() > 0.1
