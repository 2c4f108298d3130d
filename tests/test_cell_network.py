"""Networks of cells: the laws of every causal network, one for each operation, and what they cost."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from products import product_flops

from easrec_jax.cells import NAMES, OPERATIONS, CellArchitecture, architecture_from_json, operation_cost
from easrec_jax.models.cost import parameter_count, request_flops
from easrec_jax.models.kinds import network_of
from easrec_jax.models.network import item_table

ITEMS, LENGTH = 20, 12
MIXES = {
    "convolutions": ("conv3_1", "conv5_4", "conv3_2", "conv5_1", "conv3_4", "conv5_2"),
    "pools": ("max3", "mean3", "identity", "zero", "max3", "conv3_1"),
    "nothing": ("zero",) * 6,
} | {name: (name,) * 6 for name in ("conv5_4", "max3", "mean3", "identity")}


def architecture(mix: str, width: int = 8, depth: int = 2, length: int = LENGTH) -> CellArchitecture:
    return CellArchitecture(width, depth, MIXES[mix], length)


@pytest.fixture(params=MIXES)
def network(request):
    return network_of(architecture(request.param), ITEMS)


@pytest.fixture
def weights(network, draw_weights):
    return draw_weights(network.init)


@pytest.fixture(scope="module")
def items() -> jax.Array:
    drawn = np.random.default_rng(5).integers(1, ITEMS + 1, (3, LENGTH))
    return jnp.asarray(np.where(np.arange(LENGTH) < np.array([[12], [7], [1]]), drawn, 0), jnp.int32)


@partial(jax.jit, static_argnames=("network", "method"))
def run(network, weights, *args, method="encode"):
    return getattr(network, method)(weights, *args)


def test_no_later_event_and_no_padding_is_read(network, weights, items):
    whole, last = run(network, weights, items), run(network, weights, items[1:, :8], method="encode_last")
    np.testing.assert_allclose(last, whole[[1, 2], [6, 0]], atol=1e-5)
    later = run(network, weights, items.at[0, 9].set(items[0, 9] % ITEMS + 1))
    assert np.abs(later[0, 9] - whole[0, 9]).max() > 1e-3
    np.testing.assert_allclose(later[0, :9], whole[0, :9], atol=1e-5)
    np.testing.assert_array_equal(run(network, weights, items, method="exits")[-1], whole)


def test_event_by_event_is_all_at_once(network, weights, items):
    whole = run(network, weights, items)
    for begun in (1, 4):
        hidden, state = run(network, weights, jnp.where(jnp.arange(LENGTH)[None] < begun, items, 0), method="start")
        np.testing.assert_allclose(hidden[:2], whole[:2, begun - 1], atol=1e-5)
        for event in range(begun, 7):
            hidden, state = run(network, weights, state, items[:, event], method="step")
            np.testing.assert_allclose(hidden[:2], whole[:2, event], atol=1e-5)


def test_operations_look_back_as_far_as_they_say():
    """One cell whose last edge alone is not zero: output t reads events t - lag, ..., t - dilation, t, and no other."""
    for name, operation in OPERATIONS.items():
        if operation.kind not in ("conv", "mean"):
            continue
        length = operation.lag + 3
        network = network_of(CellArchitecture(8, 1, (*("zero",) * 3, name, "zero", "zero"), length), ITEMS)
        weights = network.init(jax.random.key(0))
        items = jnp.ones((1, length), jnp.int32)
        whole = run(network, weights, items)[0, -1]
        read = [
            t for t in range(length) if np.abs(run(network, weights, items.at[0, t].set(2))[0, -1] - whole).max() > 1e-6
        ]
        assert read == [length - 1 - tap * operation.dilation for tap in range(operation.taps)][::-1]


def test_closed_forms_are_the_products_of_the_program_and_the_size_of_the_pytree(network):
    weights = jax.eval_shape(network.init, jax.random.key(0))
    assert parameter_count(network.architecture, ITEMS) == sum(x.size for x in jax.tree.leaves(weights))

    def request(weights, items):
        return network.encode_last(weights, items) @ item_table(weights).T

    jaxpr = jax.make_jaxpr(request)(weights, jax.ShapeDtypeStruct((1, LENGTH), jnp.int32)).jaxpr
    assert product_flops(jaxpr) - 2 * network.architecture.width == request_flops(network.architecture, ITEMS)


def test_closed_form_flops_are_xlas_count_within_ten_per_cent():
    arch = architecture("convolutions", 128, 2, 64)
    network = network_of(arch, 1000)
    weights = jax.eval_shape(network.init, jax.random.key(0))

    def request(weights, items):
        return network.encode_last(weights, items) @ item_table(weights).T

    compiled = jax.jit(request).lower(weights, jax.ShapeDtypeStruct((1, 64), jnp.int32)).compile()
    assert 1.0 <= compiled.cost_analysis()["flops"] / request_flops(arch, 1000) <= 1.1


def test_costs_of_operations_are_their_flops_over_the_dearest():
    plain = CellArchitecture(16, 1, ("zero",) * 6, LENGTH)

    def flops(name: str) -> int:
        return request_flops(CellArchitecture(16, 1, (name,) * 6, LENGTH), 0) - request_flops(plain, 0)

    for name in NAMES:
        assert operation_cost(name) == flops(name) / flops("conv5_1")
    assert architecture("convolutions").cost == pytest.approx(0.8) and plain.cost == 0


def test_an_architecture_is_read_back_and_wrong_ones_are_named():
    arch = architecture("pools")
    assert architecture_from_json(arch.to_json() | {"flops": 3}, source="x") == arch
    for change, message in (
        ({"operations": ["conv7_1"] * 6}, r"x: architecture\.operations: expected 6 of conv3_1"),
        ({"operations": 3}, r"x: architecture\.operations: expected a list of names"),
        ({"width": 0}, r"x: architecture\.width"),
        ({"kind": "mamba"}, r"x: kind: expected 'cells', or none"),
    ):
        with pytest.raises(ValueError, match=message):
            architecture_from_json(arch.to_json() | change, source="x")
    with pytest.raises(ValueError, match=r"x: missing fields \['depth'\]"):
        architecture_from_json({k: v for k, v in arch.to_json().items() if k != "depth"}, source="x")
