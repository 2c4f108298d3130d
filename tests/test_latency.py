"""Measured costs: once, of one space, and as means over the models of each side."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import SPLIT, TINY

from easrec_jax.evaluate.latency import compare_costs, latency_table
from easrec_jax.models.cost import request_flops
from easrec_jax.models.network import Network
from easrec_jax.space import space_of


def test_latency_is_measured_once_and_belongs_to_its_space(tmp_path):
    space, path = space_of(TINY), tmp_path / "latency.json"
    first = latency_table(space, SPLIT.data.num_items, path)
    before = path.read_text()
    table = latency_table(space, SPLIT.data.num_items, path)
    assert table.shape == (2, 2) and (table > 0).all() and path.read_text() == before and np.array_equal(table, first)
    with pytest.raises(ValueError, match="latency.json: measured on other networks or items"):
        latency_table(space, SPLIT.data.num_items + 1, path)


def test_costs_of_both_sides_are_means_over_their_models():
    space, items = space_of(TINY), 50
    small, large = (Network(space.architecture(number), items) for number in (2, 1))
    costs = compare_costs([small, large, small], [large], rows=2, repeats=2)
    of = [request_flops(network.architecture, items) / 1e6 for network in (small, large)]
    assert costs["mflops"] == pytest.approx(((2 * of[0] + of[1]) / 3, of[1]))
    assert costs["temporary_mb"][0] < costs["temporary_mb"][1] and min(costs["ms"]) > 0
