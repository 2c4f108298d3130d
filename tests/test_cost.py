"""The closed forms against XLA's own count and the real pytrees."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from products import product_flops

from easrec_jax.architecture import Architecture
from easrec_jax.config import EasrecConfig, SearchConfig
from easrec_jax.models.cost import all_positions_flops, cost_table, parameter_count, request_flops, token_flops
from easrec_jax.models.network import Network, item_table
from easrec_jax.nas.distribution import Table, init_logits
from easrec_jax.nas.strategies import easrec
from easrec_jax.nas.strategies.strategy import Moment
from easrec_jax.space import Space

ITEMS = 1000
SPACE = Space(
    Architecture(128, 256, 4, 4, 64, "recent_linrec", 2, 4),
    (128, 96, 64),
    (256, 192, 128),
    (4,),
    (2,),
    ("recent_linrec",),
    4,
)
# length 64: one chunk, so no loop, whose body XLA would count once
MEASURED = [
    Architecture(128, 256, 2, 4, 64, "softmax", 0),
    Architecture(128, 256, 3, 4, 64, "linrec", 1),
    Architecture(128, 256, 2, 4, 64, "causal_linrec", 2),
    Architecture(128, 256, 2, 8, 50, "recent_linrec", 2, conv_width=4, learn_decay=True),
    Architecture(128, 256, 3, 4, 64, "recent_linrec", 2, conv_width=4),
]


def shapes(architecture: Architecture, num_items: int = ITEMS) -> tuple[Network, dict]:
    network = Network(architecture, num_items)
    return network, jax.eval_shape(network.init, jax.random.key(0))


def xla_flops(function, *args) -> float:
    return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("architecture", MEASURED, ids=Architecture.describe)
def test_closed_form_flops_are_xlas_count_within_ten_per_cent(architecture):
    """At width 128; what is left out (norms, activations) weighs more in narrower networks."""
    network, weights = shapes(architecture)
    items = jax.ShapeDtypeStruct((1, architecture.max_length), jnp.int32)

    def request(weights, items):
        return network.encode_last(weights, items) @ item_table(weights).T

    def encode(weights, items):
        return network.encode(weights, items)

    length, depth = architecture.max_length, architecture.depth
    assert 1.0 <= xla_flops(request, weights, items) / request_flops(architecture, ITEMS) <= 1.1
    assert 1.0 <= xla_flops(encode, weights, items) / (depth * length * token_flops(architecture, length)) <= 1.1


# MovieLens-1M's networks at N 200, 3,416 items: XLA's count over the closed form, FLOPs of a request, at all positions
LONG = [
    (Architecture(128, 256, 1, 4, 200, "recent_linrec", 2, conv_width=4), 1.17, 8_640_512, 97_232_896),
    (Architecture(128, 256, 1, 4, 200, "softmax", 0), 1.09, 7_913_472, 73_783_296),
    (Architecture(128, 256, 2, 4, 200, "softmax", 0), 1.07, 80_822_272, 146_692_096),
]


@pytest.mark.parametrize(
    ("architecture", "margin", "flops", "everywhere"), LONG, ids=lambda x: getattr(x, "depth", None)
)
def test_the_networks_of_the_headline_cost_what_is_stated(architecture, margin, flops, everywhere):
    network, weights = shapes(architecture, 3416)
    items = jax.ShapeDtypeStruct((1, 200), jnp.int32)

    def request(weights, items):
        return network.encode_last(weights, items) @ item_table(weights).T

    assert request_flops(architecture, 3416) == flops and all_positions_flops(architecture, 3416) == everywhere
    assert xla_flops(request, weights, items) / flops == pytest.approx(margin, abs=0.015)


@pytest.mark.parametrize("architecture", MEASURED, ids=Architecture.describe)
def test_all_layers_at_all_positions_are_the_products_of_a_program_that_leaves_nothing_out(architecture):
    network, weights = shapes(architecture)
    length, width = architecture.max_length, architecture.width

    def everything(weights, items):
        last = network.encode(weights, items)[:, -1]
        return last @ item_table(weights).T

    jaxpr = jax.make_jaxpr(everything)(weights, jax.ShapeDtypeStruct((1, length), jnp.int32)).jaxpr
    taps = 2 * architecture.conv_width * width * length * architecture.depth
    assert product_flops(jaxpr) - 2 * width == all_positions_flops(architecture, ITEMS) - taps


def test_the_table_at_all_positions_gives_one_layer_its_share():
    table = cost_table(SPACE, ITEMS, "flops_all")
    for (i, j), cost in np.ndenumerate(table):
        network = SPACE.architecture(4 * i + j)
        assert cost == all_positions_flops(network, ITEMS) / all_positions_flops(SPACE.largest, ITEMS)
    assert np.ptp(np.diff(table[0])) < 1e-9 and 0.25 < table[0, 0] < 0.3
    assert cost_table(SPACE, ITEMS)[0, 0] < 0.1


@pytest.mark.parametrize("narrow", [8, 64])
@pytest.mark.parametrize("architecture", MEASURED, ids=Architecture.describe)
def test_closed_form_flops_are_the_products_of_the_program(architecture, narrow):
    """All of them and no others, but for the convolution, which is no product, and the scores of the padding item."""
    architecture = dataclasses.replace(architecture, width=narrow, inner=2 * narrow)
    network, weights = shapes(architecture)
    length, depth, width = architecture.max_length, architecture.depth, architecture.width
    items = jax.ShapeDtypeStruct((1, length), jnp.int32)

    def request(weights, items):
        return network.encode_last(weights, items) @ item_table(weights).T

    def encode(weights, items):
        return network.encode(weights, items)

    taps = 2 * architecture.conv_width * width * length * depth
    counted = product_flops(jax.make_jaxpr(request)(weights, items).jaxpr) - 2 * width
    assert counted == request_flops(architecture, ITEMS) - taps
    counted = product_flops(jax.make_jaxpr(encode)(weights, items).jaxpr)
    assert counted == depth * length * token_flops(architecture, length) - taps


@pytest.mark.parametrize("gates", [0, 1, 2])
@pytest.mark.parametrize(
    "options",
    [("softmax", 0, False), ("causal_linrec", 0, False), ("recent_linrec", 4, False), ("recent_linrec", 3, True)],
)
def test_parameter_count_is_the_size_of_the_pytree(gates, options):
    architecture = Architecture(8, 20, 3, 2, 7, options[0], gates, *options[1:])
    assert parameter_count(architecture, 31) == sum(x.size for x in jax.tree.leaves(shapes(architecture, 31)[1]))


@pytest.mark.parametrize("attention", ["softmax", "linrec", "causal_linrec", "recent_linrec"])
def test_cost_grows_with_depth_and_width_to_one(attention):
    conv_width = SPACE.conv_width if attention == "recent_linrec" else 0
    largest = dataclasses.replace(SPACE.largest, attention=attention, conv_width=conv_width)
    space = dataclasses.replace(SPACE, largest=largest, attentions=(attention,))
    table = cost_table(space, ITEMS)
    assert table.shape == (3, 4)
    assert (np.diff(table, axis=1) > 0).all() and (np.diff(table, axis=0) < 0).all()
    assert table.max() == table[0, 3] == 1.0 and table.min() > 0


def test_each_entry_of_the_table_is_its_networks_cost():
    table = cost_table(SPACE, ITEMS)
    for (i, j), cost in np.ndenumerate(table):
        assert cost == request_flops(SPACE.architecture(4 * i + j), ITEMS) / request_flops(SPACE.largest, ITEMS)


def test_a_longer_history_costs_linear_attention_linearly_and_softmax_more():
    def growth(attention: str) -> float:
        architecture = dataclasses.replace(SPACE.largest, attention=attention, conv_width=0, max_length=4096)
        return request_flops(architecture, 0, 4096) / request_flops(architecture, 0, 1024)

    assert growth("causal_linrec") == pytest.approx(4, rel=0.01)
    assert growth("recent_linrec") == pytest.approx(4, rel=0.01)
    assert growth("linrec") == pytest.approx(4, rel=0.01)
    assert growth("softmax") > 6


def test_expected_cost_under_one_hot_shares_is_the_table_entry():
    table = cost_table(SPACE, ITEMS)
    settings = SearchConfig(easrec=EasrecConfig(cost_weight=1.0, dynamic=False))
    moment = Moment(0, 0.0, Table.of(SPACE, table, None), settings)
    for (i, j), cost in np.ndenumerate(table):
        expected = easrec.constraint(init_logits(SPACE), jnp.zeros((3, 4)).at[i, j].set(1.0), moment)
        np.testing.assert_allclose(expected, cost, rtol=1e-6)


def test_inner_sizes_of_their_own_cost_what_the_program_does_and_hold_what_it_holds():
    architecture = Architecture(16, (8, 48, 24), 3, 4, 50, "recent_linrec", 2, conv_width=4)
    network, weights = shapes(architecture)
    items = jax.ShapeDtypeStruct((1, architecture.max_length), jnp.int32)

    def request(weights, items):
        return network.encode_last(weights, items) @ item_table(weights).T

    taps = 2 * architecture.conv_width * architecture.width * architecture.max_length * architecture.depth
    counted = product_flops(jax.make_jaxpr(request)(weights, items).jaxpr) - 2 * architecture.width
    assert counted == request_flops(architecture, ITEMS) - taps
    assert parameter_count(architecture, ITEMS) == sum(x.size for x in jax.tree.leaves(weights))
    wide_last = dataclasses.replace(architecture, inner=(8, 24, 48))  # computed at one position alone
    assert request_flops(wide_last, ITEMS) < request_flops(architecture, ITEMS)
