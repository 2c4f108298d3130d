"""Whole searches of the wide space, and what it cannot be. Its table is in test_space, its draws in test_distribution."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chain import chain, search_chain, setting

from easrec_jax.config import Config, DataConfig, EasrecConfig, ModelConfig, SearchConfig
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.cost import cost_table, request_flops
from easrec_jax.models.masked import Masked
from easrec_jax.models.network import Network, item_table, network_scores
from easrec_jax.nas.search import Found
from easrec_jax.space import space_of
from easrec_jax.train.loop import Run

ITEMS, LENGTH = 30, 12
CHOICES = {
    "prune": (0.0, 0.25, 0.5), "inner_prune": (0.0, 0.5), "heads": (2, 4), "gate_layers": (0, 1, 2),
    "attentions": ("softmax", "linrec", "causal_linrec", "recent_linrec"),
}  # fmt: skip


def config(*, targets: str = "last", **settings) -> Config:
    model = ModelConfig(width=16, inner=24, layers=2, heads=2, max_length=LENGTH, conv_width=3, dropout=0.1)
    return Config(data=DataConfig(targets=targets), model=model, search=SearchConfig(**settings))  # type: ignore[arg-type]


SPACE = space_of(config(**CHOICES))


def test_costs_are_those_of_each_network_over_the_largest():
    costs = cost_table(SPACE, ITEMS)
    some = np.random.default_rng(0).choice(costs.size, 20)
    expected = [request_flops(SPACE.architecture(int(n)), ITEMS) for n in some]
    assert costs.shape == SPACE.shape
    np.testing.assert_allclose(costs.ravel()[some] * request_flops(SPACE.largest, ITEMS), expected)


def test_the_elastic_supernet_is_each_of_its_networks_in_one_program(draw_weights):
    supernet = Masked(SPACE, ITEMS)
    weights = draw_weights(supernet.init)
    rng = np.random.default_rng(0)
    items = rng.integers(1, ITEMS + 1, (4, LENGTH)).astype(np.int32)
    for row, length in enumerate((LENGTH, 1, 5, 9)):
        items[row, length:] = 0
    items = jnp.asarray(items)
    whole, last = jax.jit(supernet.encode), jax.jit(supernet.encode_last)
    compare = jax.jit(lambda network, weights: network.encode(weights, items), static_argnums=0)
    kinds: dict[tuple, int] = {}  # one network of each attention with each number of heads: each is a program more
    for number in rng.permutation(len(SPACE.networks)):
        kind = SPACE.architecture(int(number))
        kinds.setdefault((kind.attention, kind.heads), number)
    assert len(kinds) == 8
    for number in kinds.values():
        network, choice = Network(SPACE.architecture(int(number)), ITEMS), jnp.asarray(SPACE.networks[number])
        width = network.architecture.width
        cut = supernet.cut(weights, network.architecture)
        like = jax.eval_shape(network.init, jax.random.key(0))
        assert jax.tree.map(jnp.shape, cut) == jax.tree.map(jnp.shape, like)
        hidden, real = np.asarray(whole(weights, items, choice)), (np.asarray(items) > 0)[..., None]
        expected = np.asarray(compare(network, cut))
        np.testing.assert_allclose(hidden[..., :width] * real, expected * real, atol=2e-5)
        assert not hidden[..., width:].any()
        ends = hidden[np.arange(4), (np.asarray(items) > 0).sum(1) - 1]
        np.testing.assert_allclose(last(weights, items, choice), ends, atol=1e-6)
    assert whole._cache_size() == 1
    score, arguments = supernet.alone(weights, int(number))
    np.testing.assert_allclose(score(arguments, items), ends @ item_table(weights).T, atol=1e-4)


# -------------------------------------------------------------------------------------------------------- whole searches


@cache
def searched(**settings) -> tuple[Found, list[dict]]:
    """(what a search of the wide space finds, what it tells of each epoch); tests that ask for the same share it."""
    records: list[dict] = []
    _, found = search_chain(setting(wide=True, **settings), run=Run(on_epoch=records.append))
    return found, records


def test_the_search_finds_the_planted_width_within_the_budget():
    found, records = searched(budget=0.6)
    assert found.architecture.width == 16
    assert all(f.cost <= 0.6 and f.price is None for f in found.finalists)
    assert all(r["pick"]["cost"] <= 0.6 for r in records)
    assert found.architecture == max(found.finalists, key=lambda f: f.ndcg or 0.0).architecture
    for record in records:
        for name in ("width", "depth", "heads", "gate_layers"):
            np.testing.assert_allclose(sum(record["shares"][name]), 1.0, rtol=1e-4)
        assert "attention" not in record["shares"]  # there is but one
    assert records[-1]["shares"]["width"][1] > 0.8 > records[0]["shares"]["width"][1]


def test_the_pick_keeps_what_it_learned_in_the_supernet():
    found, _ = searched(budget=0.6)
    network = Network(found.architecture, 60)
    evaluator = Evaluator(chain(), "validation", LENGTH, ("full",))

    def ndcg(weights: dict) -> float:
        return evaluator(network_scores(network), weights)["full"]["ndcg@10"]

    cut = found.cut()
    assert cut is not None and ndcg(cut) > ndcg(network.init(jax.random.key(1))) + 0.1


def test_without_a_budget_a_high_price_drives_the_cost_down():
    settings = {"epochs": 6, "finalists": 1, "every": 1, "warmup_epochs": 0}
    (cheap, _), (free, _) = (searched(easrec=EasrecConfig(cost_weight=weight), **settings) for weight in (30.0, 0.0))
    assert cheap.expected_cost is not None and free.expected_cost is not None
    assert cheap.expected_cost < 0.7 * free.expected_cost


def test_without_a_budget_wide_finalists_are_compared_by_loss_plus_lambda_r():
    found, _ = searched(easrec=EasrecConfig(cost_weight=1000.0), epochs=1, warmup_epochs=0, finalists=3)
    for f in found.finalists:
        np.testing.assert_allclose(f.price, 1000.0 * f.cost * f.architecture.depth / 2, rtol=1e-6)
    assert found.architecture == min(found.finalists, key=lambda f: f.price or 0.0).architecture
    assert all(f.cross_entropy is not None for f in found.finalists)


def test_random_search_trains_networks_of_the_wide_space_within_the_budget_alone():
    found, _ = searched(strategy="random", budget=0.3, finalists=2, epochs=1, warmup_epochs=0)
    assert found.weights is None and found.cut() is None and len({f.network for f in found.finalists}) == 2
    assert all(f.cost <= 0.3 and f.ndcg is not None for f in found.finalists)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cost": "latency", "heads": (2,)}, "search.cost: expected 'flops' or 'flops_all' in a wide space"),
        ({"heads": (3,)}, "search.heads: expected numbers that divide every candidate's width, 16 among them, got 3"),
        ({"heads": (2, 2)}, "search.heads: expected different candidates"),
        ({"inner_prune": (1.0,)}, "search.inner_prune: expected fractions in"),
        ({"gate_layers": (3,)}, "search.gate_layers: expected 0, 1 or 2 each"),
    ],
)
def test_a_wide_space_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)
    with pytest.raises(ValueError, match="search.attentions: expected some of"):
        config(targets="all", attentions=("linrec",))


def test_a_config_without_wide_choices_spans_the_papers_space():
    assert space_of(config()).inner_of == "width" and space_of(config(heads=(2, 4))).inner_of == "layer"
