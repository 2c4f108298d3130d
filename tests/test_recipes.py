"""The recipes of the experiments: each admits a network, and its data have the size that it says."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.data.catalog import find
from easrec_jax.data.load import load_data
from easrec_jax.models.cost import request_flops
from easrec_jax.space import space_of
from experiments.recipes import Dataset, recipe
from experiments.spaces import paper_grid
from experiments.wide_space import widened


@pytest.mark.parametrize("dataset", get_args(Dataset))
@pytest.mark.parametrize("scale", ["smoke", "cpu", "paper"])
def test_every_recipe_admits_a_network(dataset, scale):
    config = recipe(dataset, scale)
    grid = paper_grid(config)
    largest = request_flops(grid.largest, 1000)
    smallest = min(request_flops(n, 1000) for row in grid.networks for n in row)
    assert config.search.budget is None or smallest <= config.search.budget * largest
    assert config.model.attention == "linrec" or scale != "paper"
    if config.data.path:
        find(config.data.path.removeprefix("catalog:"))
    else:
        assert config.model.max_length >= config.data.planted.lengths[1]


def test_planted_douban_has_its_shape():
    data, truth = load_data(recipe("planted-douban", "smoke").data, seed=0)
    assert data.num_items == 28 and 17 < data.lengths.mean() < 22 and truth is not None
    paper = recipe("planted-douban", "paper")
    assert paper.data.planted.users == 110_090 and paper.model.max_length == 100


@pytest.mark.parametrize("dataset", ["planted", "planted-douban", "ml-100k", "gowalla"])
@pytest.mark.parametrize("scale", ["smoke", "cpu", "paper"])
def test_the_wide_space_contains_the_papers(dataset, scale):
    config = recipe(dataset, scale)
    space, everything = space_of(config), space_of(widened(config, 1.0))
    for number in range(len(space.networks)):
        network = space.architecture(number)
        assert everything.architecture(everything.network(network)) == everything_of(network)


def everything_of(network: Architecture) -> Architecture:
    """The same with its inner sizes by layer."""
    return dataclasses.replace(network, inner=network.inner_sizes)
