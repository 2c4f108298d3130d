"""The wide space: one elastic supernet is all its networks, and the search through it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from easrec_jax.search import wide
from easrec_jax.search.wide import (
    Table,
    init_logits,
    likeliest,
    log_shares,
    network_logits,
    score_gradient,
    search_wide,
)

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, DataConfig, ModelConfig, SearchConfig
from easrec_jax.data.batches import training_samples
from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.cost import cost_table, request_flops
from easrec_jax.models.elastic import encode, encode_last, extract, init_elastic
from easrec_jax.models.network import Network, init_network, network_scores
from easrec_jax.nn.block import apply
from easrec_jax.space import space_of, wide_space
from easrec_jax.train.loop import Checkpoints

ITEMS, LENGTH = 30, 12
CHOICES = {
    "prune": (0.0, 0.25, 0.5), "inner_prune": (0.0, 0.5), "heads": (2, 4), "gate_layers": (0, 1, 2),
    "attentions": ("softmax", "linrec", "causal_linrec", "recent_linrec"),
}  # fmt: skip


def config(*, targets: str = "last", layers: int = 2, **settings) -> Config:
    model = ModelConfig(width=16, inner=24, layers=layers, heads=2, max_length=LENGTH, conv_width=3, dropout=0.1)
    return Config(data=DataConfig(targets=targets), model=model, search=SearchConfig(**settings))  # type: ignore[arg-type]


SPACE = wide_space(config(**CHOICES))


def test_the_space_is_every_combination_once_and_each_row_is_found_again():
    networks = [SPACE.architecture(n) for n in range(len(SPACE.choices))]
    assert len(networks) == 3 * 2 * 3 * 4 * (2 + 4) == len(set(networks))
    assert [SPACE.locate(network) for network in networks[::7]] == list(range(0, len(networks), 7))
    assert {network.inner_sizes for network in networks if network.depth == 2} == {
        (24, 24),
        (24, 12),
        (12, 24),
        (12, 12),
    }
    shared = wide_space(config(**CHOICES, per_layer=False))
    assert len(shared.choices) == 3 * 2 * 3 * 4 * (2 + 2)
    assert {len(set(shared.architecture(n).inner_sizes)) for n in range(len(shared.choices))} == {1}
    other = Architecture(12, (24, 6), 2, 2, LENGTH, "softmax", 0)
    with pytest.raises(ValueError, match="not in the search space"):
        SPACE.locate(other)
    costs = cost_table(SPACE, ITEMS)
    some = np.random.default_rng(0).choice(len(costs), 20)
    np.testing.assert_allclose(
        costs[some] * request_flops(SPACE.largest, ITEMS), [request_flops(networks[n], ITEMS) for n in some]
    )


def test_the_elastic_supernet_is_each_of_its_networks_in_one_program(draw_weights):
    weights = draw_weights(partial(init_elastic, SPACE, ITEMS))
    rng = np.random.default_rng(0)
    items = rng.integers(1, ITEMS + 1, (4, LENGTH)).astype(np.int32)
    for row, length in enumerate((LENGTH, 1, 5, 9)):
        items[row, length:] = 0
    whole = jax.jit(partial(encode, space=SPACE))
    last = jax.jit(partial(encode_last, space=SPACE))
    compare = jax.jit(
        lambda network, weights: apply(network, weights, jnp.asarray(items), method="encode"), static_argnums=0
    )
    seen = set()
    for number in rng.permutation(len(SPACE.choices))[:40]:
        network, choice = SPACE.architecture(int(number)), SPACE.choices[number]
        seen |= {(network.attention, network.heads)}
        cut = extract(weights, SPACE, network)
        like = jax.eval_shape(lambda key, n=network: init_network(Network(n, ITEMS), key), jax.random.key(0))
        assert jax.tree.map(jnp.shape, cut) == jax.tree.map(jnp.shape, like)
        hidden = np.asarray(whole(weights, items, choice))
        real = (items > 0)[..., None]
        expected = np.asarray(compare(Network(network, ITEMS), cut))
        np.testing.assert_allclose(hidden[..., : network.width] * real, expected * real, atol=2e-5)
        assert not hidden[..., network.width :].any()
        ends = hidden[np.arange(4), (items > 0).sum(1) - 1]
        np.testing.assert_allclose(last(weights, items, choice), ends, atol=1e-6)
    assert len(seen) == 8 and whole._cache_size() == 1  # every attention with every number of heads


def table(budget: float = 1.0) -> Table:
    costs = cost_table(SPACE, ITEMS)
    return Table(jnp.asarray(SPACE.choices), jnp.asarray(costs, jnp.float32), jnp.asarray(costs <= budget))


def random_logits(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), init_logits(SPACE))


def test_probabilities_of_all_networks_sum_to_one_and_follow_their_choices():
    logits = random_logits()
    log = np.asarray(network_logits(logits, table().choices), np.float64)
    np.testing.assert_allclose(np.exp(log).sum(), 1.0, rtol=1e-5)
    widths = np.bincount(SPACE.choices[:, 0], np.exp(log))
    np.testing.assert_allclose(widths, jax.nn.softmax(logits["width"]), rtol=1e-5)
    deep = SPACE.choices[:, 1] == 1
    second = np.bincount(SPACE.choices[deep, 6], np.exp(log[deep])) / np.exp(log[deep]).sum()
    np.testing.assert_allclose(second, jax.nn.softmax(logits["inner"][1]), rtol=1e-5)


def test_the_score_gradient_is_that_of_the_expected_loss_within_the_budget():
    logits, networks = random_logits(), table(budget=0.4)
    losses = jnp.asarray(np.random.default_rng(1).normal(size=len(SPACE.choices)) + SPACE.choices[:, 0], jnp.float32)

    def expected(logits: dict) -> jax.Array:
        return jnp.sum(jnp.where(networks.allowed, jnp.exp(log_shares(logits, networks)) * losses, 0.0))

    exact = jax.grad(expected)(logits)

    @jax.jit
    def estimate(key):
        drawn = jax.random.categorical(key, log_shares(logits, networks), shape=(4,))
        return score_gradient(logits, drawn, losses[drawn], networks), networks.allowed[drawn].all()

    grads, within = jax.lax.map(estimate, jax.random.split(jax.random.key(0), 20_000))
    assert within.all()
    for name in exact:
        error = np.std(grads[name], axis=0) / np.sqrt(20_000)
        assert (np.abs(np.mean(grads[name], axis=0) - exact[name]) < 5 * error + 1e-6).all(), name
    assert max(float(np.abs(g).max()) for g in exact.values()) > 0.05


def test_finalists_are_the_best_of_each_width_and_depth_in_the_order_of_the_pairs_probabilities():
    # a depth without preference is as probable as the other, however many inner sizes share what it has
    even = np.exp(np.asarray(log_shares(init_logits(SPACE), table()), np.float64))
    assert np.ptp([probability for _, probability in likeliest(even, SPACE.choices)]) < 1e-6
    for budget in (1.0, 0.4):
        shares = np.exp(np.asarray(log_shares(random_logits(), table(budget)), np.float64))
        picks = likeliest(shares, SPACE.choices)
        networks, probabilities = [SPACE.architecture(n) for n, _ in picks], [p for _, p in picks]
        assert probabilities == sorted(probabilities, reverse=True)
        np.testing.assert_allclose(sum(probabilities), 1.0, rtol=1e-5)
        within = [int(n) for n in np.flatnonzero(shares)]
        of = {n: (SPACE.architecture(n).width, SPACE.architecture(n).depth) for n in within}
        pairs = [(network.width, network.depth) for network in networks]
        assert len(set(pairs)) == len(pairs) and set(pairs) == set(of.values())
        for (n, probability), pair in zip(picks, pairs, strict=True):
            group = [k for k in within if of[k] == pair]
            assert shares[n] == shares[group].max()
            np.testing.assert_allclose(probability, shares[group].sum())


# -------------------------------------------------------------------------------------------------------- whole searches


@pytest.fixture(scope="module")
def chain(interactions) -> Split:
    """Each of 60 items has one successor, which follows nine times in ten: narrow networks cannot tell 60 apart."""
    rng = np.random.default_rng(0)
    successor = rng.permutation(60)
    histories = rng.integers(0, 60, (160, LENGTH + 2))
    for t in range(1, histories.shape[1]):
        follow = rng.random(len(histories)) < 0.9
        histories[:, t] = np.where(follow, successor[histories[:, t - 1]], histories[:, t])
    return Split(interactions((1 + histories).tolist(), 60))


SEARCH = {
    "prune": (0.75, 0.0), "inner_prune": (0.0, 0.75), "heads": (1, 2), "gate_layers": (0, 1), "attentions": ("causal_linrec",),
    "epochs": 8, "batch_size": 16, "buckets": 1, "learning_rate": 0.02, "finalists": 2, "arch_learning_rate": 0.1, "every": 2,
    "warmup_epochs": 3,
}  # fmt: skip


def run(split: Split, *, seed: int = 0, options: dict | None = None, **settings):
    settings = config(targets="all", **(SEARCH | settings))
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="all")
    evaluator = Evaluator(split, "validation", LENGTH, ("full",))
    return search_wide(
        wide_space(settings), samples, evaluator, settings=settings.search, dropout=0.1, seed=seed, **(options or {})
    )


def test_the_search_finds_the_planted_width_within_the_budget(chain):
    records: list[dict] = []
    found = run(chain, budget=0.6, options={"on_epoch": records.append})
    assert found.architecture.width == 16
    assert all(f["cost"] <= 0.6 for f in found.finalists) and all(r["pick"]["cost"] <= 0.6 for r in records)
    assert found.architecture.to_json() == max(found.finalists, key=lambda f: f["ndcg@10"])["architecture"]
    for record in records:
        for name in ("width", "depth", "heads", "gate_layers", "attention"):
            np.testing.assert_allclose(sum(record["shares"][name]), 1.0, rtol=1e-4)
    assert records[-1]["shares"]["width"][1] > 0.8 > records[0]["shares"]["width"][1]


def test_without_a_budget_a_high_price_drives_the_cost_down(chain):
    settings = {"epochs": 6, "finalists": 1, "every": 1, "warmup_epochs": 0}
    cheap, free = (run(chain, cost_weight=weight, **settings) for weight in (30.0, 0.0))
    space = wide_space(config(targets="all", **SEARCH))
    costs = cost_table(space, 60)

    def expected(found):
        everything = Table(jnp.asarray(space.choices), jnp.asarray(costs, jnp.float32), jnp.ones(len(costs), bool))
        return float(np.exp(log_shares(found.arch, everything)) @ costs)

    assert expected(cheap) < 0.7 * expected(free)


def test_without_a_budget_wide_finalists_are_compared_by_loss_plus_lambda_r(chain):
    found = run(chain, cost_weight=1000.0, epochs=1, warmup_epochs=0, finalists=3)
    for f in found.finalists:
        np.testing.assert_allclose(f["price"], 1000.0 * f["cost"] * f["architecture"]["depth"] / 2, rtol=1e-6)
    cheapest = min(found.finalists, key=lambda f: f["price"])
    assert found.architecture.to_json() == cheapest["architecture"] and all(
        "cross_entropy" in f for f in found.finalists
    )
    assert all("price" not in f for f in run(chain, budget=0.6, epochs=1, warmup_epochs=0).finalists)


def test_a_wide_search_cut_in_two_is_the_search_bit_for_bit(chain, tmp_path):
    settings = {"epochs": 2, "warmup_epochs": 0, "finalists": 1}
    whole = run(chain, **settings)

    class Killed(Exception):
        pass

    def die(record):
        if record["epoch"] == 2:
            raise Killed

    checkpoints = {"checkpoints": Checkpoints(tmp_path)}
    with pytest.raises(Killed):
        run(chain, options=checkpoints | {"on_epoch": die}, **settings)
    resumed = run(chain, options=checkpoints | {"resume": True}, **settings)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), (whole.weights, whole.arch), (resumed.weights, resumed.arch))
    assert jax.tree.all(same) and whole.architecture == resumed.architecture


def test_the_pick_keeps_what_it_learned_in_the_supernet(chain):
    found = run(chain, epochs=3, finalists=1)
    assert found.weights is not None
    space = wide_space(config(targets="all", **SEARCH))
    network = Network(found.architecture, 60)
    evaluator = Evaluator(chain, "validation", LENGTH, ("full",))

    def ndcg(weights: dict) -> float:
        return evaluator(network_scores(network), weights)["full"]["ndcg@10"]

    fresh = init_network(network, jax.random.key(1))
    assert ndcg(extract(found.weights, space, found.architecture)) > ndcg(fresh) + 0.1


def test_both_steps_are_traced_once(chain, monkeypatch):
    traces, original = [], wide._loss
    monkeypatch.setattr(wide, "_loss", lambda *args: traces.append(args[3] is None) or original(*args))
    run(chain, epochs=2, warmup_epochs=0, finalists=1, learning_rate=0.021)
    assert sorted(traces) == [False, True]  # the weight step, the architecture step


def test_random_search_trains_networks_of_the_wide_space_within_the_budget_alone(chain):
    found = run(chain, strategy="random", budget=0.3, finalists=2, epochs=1, warmup_epochs=0)
    assert found.weights is None and len({f["network"] for f in found.finalists}) == 2
    assert all(f["cost"] <= 0.3 and "ndcg@10" in f for f in found.finalists)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "darts", "heads": (2,)}, "search.strategy: expected easrec or random"),
        ({"cost": "latency", "heads": (2,)}, "search.strategy: expected easrec or random, and search.cost = 'flops'"),
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
    assert type(space_of(config())).__name__ == "SearchSpace"
    assert type(space_of(config(heads=(2, 4)))).__name__ == "WideSpace"
