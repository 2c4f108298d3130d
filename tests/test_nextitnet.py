"""NextItNet: the laws of a network, its reach, and what it costs."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from products import product_flops

from easrec_jax.architecture import Architecture
from easrec_jax.models.rival import find_rival

ITEMS, LENGTH = 20, 9
ARCHITECTURE = Architecture(8, 12, 2, 2, LENGTH, "softmax", 0)
make = find_rival("nextitnet")[0].network
assert make is not None


@pytest.fixture(scope="module")
def network():
    return make(ARCHITECTURE, None, ITEMS, 0.0)


@pytest.fixture(scope="module")
def weights(network, draw_weights):
    return draw_weights(network.init)


@pytest.fixture(scope="module")
def items() -> jax.Array:
    drawn = np.random.default_rng(5).integers(1, ITEMS + 1, (3, LENGTH))
    return jnp.asarray(np.where(np.arange(LENGTH) < np.array([[9], [4], [1]]), drawn, 0), jnp.int32)


@partial(jax.jit, static_argnames=("network", "method"))
def run(network, weights, items, method="encode"):
    return getattr(network, method)(weights, items)


def test_it_keeps_the_laws_of_a_causal_network(network, weights, items):
    whole, last = run(network, weights, items), run(network, weights, items[1:, :5], "encode_last")
    np.testing.assert_allclose(last, whole[[1, 2], [3, 0]], atol=1e-5)
    later = run(network, weights, items.at[0, 6].set(items[0, 6] % ITEMS + 1))
    assert np.abs(later[0, 6:] - whole[0, 6:]).max() > 1e-3
    np.testing.assert_allclose(later[0, :6], whole[0, :6], atol=1e-5)


def test_layers_are_read_one_by_one_and_the_last_is_the_networks(network, weights, items):
    after = [np.asarray(x) for x in run(network, weights, items, "exits")]
    assert len(after) == ARCHITECTURE.depth
    np.testing.assert_array_equal(after[-1], run(network, weights, items))
    shorter = make(Architecture(8, 12, 1, 2, LENGTH, "softmax", 0), None, ITEMS, 0.0)
    normed = run(shorter, weights, items)
    apart = (after[0] - after[0].mean(-1, keepdims=True)) / after[0].std(-1, keepdims=True)
    norm = {name: np.asarray(value) for name, value in weights["output_norm"].items()}
    np.testing.assert_allclose(apart * norm["scale"] + norm["bias"], normed, atol=1e-3)


def test_a_fresh_layer_adds_nothing_and_a_block_reaches_as_far_as_its_dilations(network, weights):
    fresh = network.init(jax.random.key(0))
    length = 2 * (1 + 2 + 4 + 8) + 2
    long = make(Architecture(8, 12, 1, 2, length, "softmax", 0), None, ITEMS, 0.0)
    drawn = jnp.ones((1, length), jnp.int32).at[0, 0].set(2)
    deep = long.init(jax.random.key(0))
    assert all(not fresh[f"blocks_{n}"]["share"] for n in range(4))
    for block in range(2):
        deep[f"blocks_{block}"]["share"] = jnp.ones(())
    moved = np.abs(run(long, deep, drawn) - run(long, deep, drawn.at[0, 0].set(1)))[0].max(-1)
    assert moved[-2] > 1e-6 and moved[-1] < 1e-6  # the last position but one still reads the first event


def test_closed_form_flops_are_the_products_of_the_program(network, weights):
    def request(weights, items):
        return network.encode_last(weights, items) @ weights["tables"]["items"].T

    jaxpr = jax.make_jaxpr(request)(weights, jax.ShapeDtypeStruct((1, LENGTH), jnp.int32)).jaxpr
    assert product_flops(jaxpr) - 2 * ARCHITECTURE.width == network.module.request_flops()
