"""A space of networks as one table: the paper's and the wide one, each row a network, each network a row."""

from __future__ import annotations

import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, DataConfig, ModelConfig, SearchConfig
from easrec_jax.space import Space, space_of

MODEL = ModelConfig(width=16, inner=24, layers=3, heads=2, max_length=12, conv_width=3)
WIDE = SearchConfig(
    prune=(0.0, 0.25, 0.5), inner_prune=(0.0, 0.5), heads=(2, 4), gate_layers=(0, 1, 2),
    attentions=("softmax", "linrec", "causal_linrec", "recent_linrec"),
)  # fmt: skip
OF = {
    "paper": space_of(Config(model=MODEL)),
    "wide": space_of(Config(data=DataConfig(targets="last"), model=MODEL, search=WIDE)),
    "one inner size a network": space_of(
        Config(model=MODEL, search=SearchConfig(inner_prune=(0.0, 0.5), per_layer=False))
    ),
}


@pytest.mark.parametrize("space", OF.values(), ids=OF)
def test_each_row_is_another_network_and_each_network_its_row(space: Space):
    networks = [space.architecture(number) for number in range(len(space.networks))]
    assert len(set(networks)) == len(networks)
    assert [space.network(network) for network in networks] == list(range(len(networks)))
    assert [space.widths[row[0]] for row in space.networks] == [network.width for network in networks]
    assert [row[1] + 1 for row in space.networks] == [network.depth for network in networks]


@pytest.mark.parametrize("space", OF.values(), ids=OF)
def test_networks_of_one_width_stand_together_and_are_as_many_for_each(space: Space):
    widths = space.networks[:, 0].reshape(space.shape)
    assert space.shape[0] == len(space.widths) and (widths == np.arange(len(space.widths))[:, None]).all()


@pytest.mark.parametrize("space", OF.values(), ids=OF)
def test_an_architecture_of_another_space_has_no_row(space: Space):
    for stranger in (
        Architecture(12, (24, 6), 2, 2, 12, "softmax", 0),
        Architecture(16, 24, 4, 2, 12, "recent_linrec", 2, conv_width=3),
        Architecture(16, 24, 3, 2, 11, "recent_linrec", 2, conv_width=3),
    ):
        with pytest.raises(ValueError, match="not in the search space"):
            space.network(stranger)


def test_the_papers_space_prunes_hidden_and_inner_size_alike_by_depth():
    space = OF["paper"]
    assert space.shape == (3, 3) and space.num_layers == 3
    networks = [space.architecture(number) for number in range(9)]
    sizes = [(network.width, network.inner, network.depth) for network in networks]
    assert sizes == [(w, d, n) for w, d in ((16, 24), (12, 18), (8, 12)) for n in (1, 2, 3)]
    assert networks[2] == space.largest and {network.conv_width for network in networks} == {3}
    rows = [[i, n - 1, 0, 0, 0, *[i] * n, *[-1] * (3 - n)] for i in range(3) for n in (1, 2, 3)]
    np.testing.assert_array_equal(space.networks, rows)


def test_the_wide_space_is_every_combination():
    once = 3 * 2 * 3 * 4
    assert len(OF["wide"].networks) == once * (2 + 4 + 8)
    networks = [OF["wide"].architecture(number) for number in range(len(OF["wide"].networks))]
    pairs = {network.inner_sizes for network in networks if network.depth == 2}
    assert pairs == {(24, 24), (24, 12), (12, 24), (12, 12)}
    assert {(network.attention, network.conv_width) for network in networks} == {
        ("softmax", 0), ("linrec", 0), ("causal_linrec", 0), ("recent_linrec", 3)
    }  # fmt: skip
    shared = OF["one inner size a network"]
    assert len(shared.networks) == 3 * 3 * 2
    assert {len(set(shared.architecture(number).inner_sizes)) for number in range(18)} == {1}


def test_candidates_that_round_to_the_same_inner_size_are_found_again():
    """0.2 of 4 channels is less than one: 3.2 and 3.0 are both 3."""
    space = Space(
        OF["paper"].largest,
        (16, 14, 12),
        (4, 3, 3),
        heads=(2,),
        gate_layers=(2,),
        attentions=("recent_linrec",),
        conv_width=3,
    )
    networks = [space.architecture(number) for number in range(len(space.networks))]
    assert [space.network(network) for network in networks] == list(range(9))
