"""FLOPs of training: the products of the program, and of a search the blocks that its steps really computed."""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from products import product_flops

from easrec_jax.architecture import Architecture, SearchSpace
from easrec_jax.config import RetrainConfig, SearchConfig
from easrec_jax.cost import request_flops, token_flops
from easrec_jax.data.batches import training_samples
from easrec_jax.network import Network, init_network
from easrec_jax.reproduce.effort import alone_flops, batch_shapes, epochs_run, search_flops, watched
from easrec_jax.strategies import STRATEGIES, Moment

ITEMS, LENGTH = 20, 8
SPACE = SearchSpace(Architecture(8, 12, 2, 2, LENGTH, "softmax", 2), ((8, 12), (4, 6)))
SHAPES = Counter({(4, 6): 2, (LENGTH, 3): 5})  # (length, rows): batches
STEPS = sum(SHAPES.values())


def test_training_a_network_is_three_times_the_products_of_its_forward_pass():
    network = Network(SPACE.largest, ITEMS)
    weights = jax.eval_shape(lambda key: init_network(network, key), jax.random.key(0))

    def forward(weights, items):
        return network.apply({"params": weights}, items, method="encode") @ weights["tables"]["items"].T

    expected = 0
    for (length, rows), count in SHAPES.items():
        jaxpr = jax.make_jaxpr(forward)(weights, jax.ShapeDtypeStruct((rows, length), jnp.int32)).jaxpr
        padding = 2 * rows * length * SPACE.largest.width  # item 0 is scored too
        expected += 3 * count * (product_flops(jaxpr) - padding)
    assert alone_flops(SPACE.largest, ITEMS, SHAPES, every_position=True) == expected


def test_one_sample_a_prefix_is_a_request_each():
    requests = sum(
        count * rows * request_flops(SPACE.largest, ITEMS, length) for (length, rows), count in SHAPES.items()
    )
    assert alone_flops(SPACE.largest, ITEMS, SHAPES, every_position=False) == 3 * requests


def test_shapes_are_those_of_the_batches(split):
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="all")
    shapes = batch_shapes(samples, LENGTH, RetrainConfig(batch_size=4, buckets=2))
    lengths = samples.stop - samples.start
    assert set(shapes) == {(4, 8), (8, 4)}
    assert shapes[4, 8] == -(-np.sum(lengths <= 4) // 8) and shapes[8, 4] == -(-np.sum(lengths > 4) // 4)


def test_early_stopping_is_in_the_price():
    settings = RetrainConfig(epochs=30, patience=10)
    assert [epochs_run({"best_epoch": best}, settings) for best in (3, 20, 28)] == [13, 30, 30]


def test_a_search_that_drew_one_network_all_the_time_is_training_it_with_its_blocks_computed_once_more():
    blocks = [[STEPS, STEPS], [0, 0]]
    none = {"steps": 0, "blocks": [[0, 0], [0, 0]]}
    drawn = {"weight": {"steps": STEPS, "blocks": blocks}, "architecture": none}
    found = search_flops(SPACE, ITEMS, SHAPES, drawn, [], SearchConfig(), every_position=True)
    again = sum(
        count * rows * length * 2 * token_flops(SPACE.largest, length) for (length, rows), count in SHAPES.items()
    )
    assert found == pytest.approx(alone_flops(SPACE.largest, ITEMS, SHAPES, every_position=True) + again)
    entries = [{"candidate": 0, "depth": 1}, {"candidate": 1, "depth": 2}]
    more = search_flops(SPACE, ITEMS, SHAPES, drawn, entries, SearchConfig(finalist_epochs=3), every_position=True)
    alone = [alone_flops(SPACE.architecture(i, j), ITEMS, SHAPES, every_position=True) for i, j in ((0, 1), (1, 2))]
    assert more - found == pytest.approx(3 * sum(alone))


@pytest.mark.parametrize("name", ["easrec", "darts", "proxyless", "recnas"])
def test_draws_are_counted_as_they_are_made_and_left_as_they_are(name):
    plain = STRATEGIES[name]
    (counted, drawn), arch = watched(plain), plain.init(SPACE)
    assert watched(plain)[0] is counted
    moment = Moment(0.3, 0.2, None, SearchConfig(strategy=name))
    step, unwatched = (jax.jit(lambda key, s=s: s.draw(arch, key, moment)) for s in (counted, plain))
    blocks = np.zeros((2, 2), np.int64)
    for seed in range(12):
        p, q = map(np.asarray, step(jax.random.key(seed)))
        np.testing.assert_array_equal(p, unwatched(jax.random.key(seed))[0])
        blocks += np.outer(p > 1e-3, [q.sum() > 1e-3, q[1] > 1e-3])
    jax.jit(jax.grad(lambda arch: counted.relax(arch, jax.random.key(0), moment)[0][0]))(arch)
    counts = drawn.taken()
    assert counts["weight"] == {"steps": 12, "blocks": blocks.tolist()}
    assert counts["architecture"]["steps"] == 1 and drawn.taken()["weight"]["steps"] == 0
