"""The distribution over networks: relaxed draws, temperature, the resource constraint, budgets, the likeliest; in both spaces."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, DataConfig, EasrecConfig, ModelConfig, SearchConfig
from easrec_jax.models.cost import cost_table
from easrec_jax.nas.distribution import (
    Table,
    by_factor,
    init_logits,
    likeliest,
    log_probability,
    preferences,
    softmax_over,
)
from easrec_jax.nas.strategies.easrec import constraint, temperature
from easrec_jax.nas.strategies.easrec import draw as relax
from easrec_jax.nas.strategies.strategy import Moment, score_gradient
from easrec_jax.space import Space, space_of

SPACE = Space(Architecture(8, 8, 4, 2, 5, "softmax", 0), (8, 6, 4), (8, 6, 4), (2,), (0,), ("softmax",))
LOGITS = {"width": jnp.array([0.5, -0.3, 1.0]), "depth": jnp.array([0.2, 1.1, -0.4, 0.0])}
COSTS = np.array([[0.3, 0.5, 0.8, 1.0], [0.2, 0.35, 0.55, 0.7], [0.1, 0.15, 0.2, 0.25]])
TABLE, WITHIN = (Table.of(SPACE, COSTS, budget) for budget in (None, 0.35))
ALLOWED = COSTS <= 0.35
DRAWS = 4000


def moment(table: Table = TABLE, *, step: int = 0, **settings) -> Moment:
    return Moment(step, 0.0, table, SearchConfig(**settings))


def draw(tau: float) -> tuple[np.ndarray, np.ndarray]:
    """(p, q) of many samples, [draws candidates] and [draws depths], whose product the shares are."""
    sample = jax.jit(jax.vmap(lambda key: relax(LOGITS, key, moment(easrec=EasrecConfig(tau_start=tau)))))
    shares = np.asarray(sample(jax.random.split(jax.random.key(0), DRAWS)))
    p, q = shares.sum(2), shares.sum(1)
    np.testing.assert_allclose(shares, p[:, :, None] * q[:, None], atol=1e-6)
    return p, q


def probabilities(logits: dict) -> tuple[jax.Array, jax.Array]:
    """alpha and beta."""
    return jax.nn.softmax(logits["width"]), jax.nn.softmax(logits["depth"])


def one_hot(candidate: int, depth: int) -> jax.Array:
    return jnp.zeros((3, 4)).at[candidate, depth].set(1.0)


@pytest.mark.parametrize("tau", [1.0, 0.3, 0.01])
def test_a_relaxed_sample_sums_to_one(tau):
    for share in draw(tau):
        assert np.isfinite(share).all() and (share >= 0).all()
        np.testing.assert_allclose(share.sum(1), 1.0, atol=1e-5)


def test_a_cold_sample_is_one_hot_and_a_warm_one_is_not():
    cold, warm = (draw(tau)[0].max(1) for tau in (0.01, 1.0))
    assert np.mean(cold > 0.99) > 0.9
    assert np.mean(warm > 0.99) < 0.2


def test_the_largest_share_follows_the_probabilities():
    """The Gumbel-max law; p and q are drawn independently of each other."""
    p, q = (share.argmax(1) for share in draw(0.5))
    alpha, beta = map(np.asarray, probabilities(LOGITS))
    joint = np.zeros((3, 4))
    np.add.at(joint, (p, q), 1 / DRAWS)
    np.testing.assert_allclose(joint, alpha[:, None] * beta, atol=0.03)


def test_within_a_budget_pairs_follow_the_restricted_probabilities_and_no_other_is_drawn():
    within = jax.jit(
        jax.vmap(lambda key: relax(LOGITS, key, moment(WITHIN, easrec=EasrecConfig(tau_start=0.02), budget=0.35)))
    )
    found = np.asarray(within(jax.random.split(jax.random.key(0), DRAWS)))
    drawn = np.bincount(found.reshape(DRAWS, -1).argmax(1), minlength=COSTS.size).reshape(COSTS.shape) / DRAWS
    np.testing.assert_allclose(found.sum((1, 2)), 1.0, atol=1e-5)
    assert not found[:, ~ALLOWED].any()
    alpha, beta = map(np.asarray, probabilities(LOGITS))
    depths = np.where(ALLOWED, beta, 0.0)
    expected = alpha[:, None] * depths / depths.sum(1, keepdims=True)
    assert len(set(ALLOWED.sum(1))) > 1  # candidates with few depths are drawn as often as those with many
    np.testing.assert_allclose(drawn, expected, atol=0.03)
    np.testing.assert_allclose(np.exp(log_probability(LOGITS, WITHIN)), expected, rtol=1e-5)
    np.testing.assert_allclose(softmax_over(preferences(LOGITS, WITHIN), jnp.asarray(ALLOWED)), expected, rtol=1e-5)


def test_gradients_within_a_budget_are_finite():
    weight = jnp.arange(3.0)[:, None] + jnp.arange(4.0)[None, :]

    def value(logits):
        return jnp.sum(
            relax(logits, jax.random.key(3), moment(WITHIN, easrec=EasrecConfig(tau_start=0.5), budget=0.35)) * weight
        )

    grads = jax.grad(value)(LOGITS)
    assert all(np.isfinite(g).all() and np.abs(g).max() > 1e-4 for g in grads.values())


def test_fresh_logits_are_uniform():
    alpha, beta = probabilities(init_logits(SPACE))
    np.testing.assert_allclose(alpha, [1 / 3] * 3)
    np.testing.assert_allclose(beta, [1 / 4] * 4)


def test_temperature_falls_by_the_schedule_to_its_floor():
    steps = [0, 1000, 19_800, 1_000_000]
    values = [temperature(moment(step=step)) for step in steps]
    np.testing.assert_allclose(values, [1.0, 0.95, 0.01, 0.01], rtol=1e-5)


def resource(shares: jax.Array, logits: dict = LOGITS, *, dynamic: bool = True) -> jax.Array:
    """R, lambda being 1."""
    found = constraint(logits, shares, moment(easrec=EasrecConfig(cost_weight=1.0, dynamic=dynamic)))
    assert found is not None
    return found


def test_under_one_hot_shares_the_constraint_is_the_exact_cost():
    for (i, j), cost in np.ndenumerate(COSTS):
        np.testing.assert_allclose(resource(one_hot(i, j), dynamic=False), cost, rtol=1e-6)


def test_the_constraint_is_scaled_by_the_currently_likeliest_depth():
    for best in range(4):
        logits = LOGITS | {"depth": jnp.eye(4)[best]}
        np.testing.assert_allclose(resource(one_hot(0, 3), logits), (best + 1) / 4, rtol=1e-6)


def test_the_dynamic_scale_carries_no_gradient():
    grads = jax.grad(lambda logits: resource(one_hot(1, 2), logits))(LOGITS)
    assert not any(np.asarray(g).any() for g in grads.values())


def test_the_constraint_pushes_alpha_and_beta_to_cheaper_networks():
    grads = jax.grad(lambda logits: resource(jnp.outer(*probabilities(logits)), logits))(LOGITS)
    assert grads["width"][0] > 0 > grads["width"][2]
    assert grads["depth"][3] > 0 > grads["depth"][0]

    relaxed = jax.grad(lambda logits: resource(relax(logits, jax.random.key(3), moment()), logits))(LOGITS)
    assert np.abs(relaxed["width"]).max() > 1e-4 and np.abs(relaxed["depth"]).max() > 1e-4


def shares_of(logits: dict, table: Table) -> np.ndarray:
    return np.exp(np.asarray(log_probability(logits, table), np.float64))


def test_the_pick_is_the_likeliest_candidate_and_depth():
    """Rows of the table: candidate 2 and candidate 0, two layers each."""
    assert likeliest(shares_of(LOGITS, TABLE), SPACE)[0][0] == 2 * 4 + 1
    assert likeliest(shares_of(LOGITS | {"width": jnp.array([3.0, 0.0, 0.0])}, TABLE), SPACE)[0][0] == 1


@pytest.mark.parametrize("budget", [0.1, 0.15, 0.3, 0.6, 1.0])
def test_the_most_probable_are_the_likeliest_within_the_budget_in_order(budget):
    logits = {"width": jnp.array([2.0, 1.0, 0.0]), "depth": jnp.array([0.0, 0.3, 0.65, 0.9])}
    found = likeliest(shares_of(logits, Table.of(SPACE, COSTS, budget)), SPACE)
    networks = [network for network, _ in found]
    assert sorted(networks) == np.flatnonzero(budget >= COSTS).tolist()
    alpha, beta = map(np.asarray, probabilities(logits))
    depths = np.where(budget >= COSTS, beta, 0.0)
    score = alpha[:, None] * depths / np.maximum(depths.sum(1, keepdims=True), 1e-9)
    expected = np.sort(score[budget >= COSTS] / score.sum())[::-1]
    np.testing.assert_allclose([probability for _, probability in found], expected, rtol=1e-5)
    np.testing.assert_allclose(score.ravel()[networks] / score.sum(), expected, rtol=1e-5)


def test_a_budget_below_the_smallest_network_is_refused():
    with pytest.raises(ValueError, match="search.budget: expected at least 0.1, the smallest network's cost, got 0.05"):
        Table.of(SPACE, COSTS, 0.05)


def test_the_budget_that_an_error_asks_for_is_one():
    space = dataclasses.replace(SPACE, widths=(8,), inners=(8,), largest=Architecture(8, 8, 2, 2, 5, "softmax", 0))
    costs = np.array([[0.23434, 0.5]])
    with pytest.raises(ValueError, match="expected at least 0.2344, ") as error:
        Table.of(space, costs, 0.2343)
    Table.of(space, costs, float(str(error.value).split("at least ")[1].split(",")[0]))


# ------------------------------------------------------------------------------------------------------ of a wide space

CHOICES = {
    "prune": (0.0, 0.25, 0.5), "inner_prune": (0.0, 0.5), "heads": (2, 4), "gate_layers": (0, 1, 2),
    "attentions": ("softmax", "linrec", "causal_linrec", "recent_linrec"),
}  # fmt: skip


def wide_space(**settings) -> Space:
    model = ModelConfig(width=16, inner=24, layers=2, heads=2, max_length=12, conv_width=3)
    return space_of(Config(data=DataConfig(targets="last"), model=model, search=SearchConfig(**(CHOICES | settings))))


WIDE, SHARED = wide_space(), wide_space(per_layer=False)  # an inner size a layer, or a network


def wide_table(budget: float | None = None, space: Space = WIDE) -> Table:
    return Table.of(space, cost_table(space, 30), budget)


def random_logits(space: Space = WIDE, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), init_logits(space))


@pytest.mark.parametrize("budget", [None, 1.0])
def test_probabilities_of_all_networks_sum_to_one_and_follow_their_choices(budget):
    logits = random_logits()
    shares = shares_of(logits, wide_table(budget)).ravel()
    np.testing.assert_allclose(shares.sum(), 1.0, rtol=1e-5)
    rows = WIDE.networks
    np.testing.assert_allclose(np.bincount(rows[:, 0], shares), jax.nn.softmax(logits["width"]), rtol=1e-5)
    deep = rows[:, 1] == 1
    second = np.bincount(rows[deep, 6], shares[deep]) / shares[deep].sum()
    np.testing.assert_allclose(second, jax.nn.softmax(logits["inner"][1]), rtol=1e-5)


@pytest.mark.parametrize("space", [WIDE, SHARED], ids=["a size a layer", "a size a network"])
@pytest.mark.parametrize("budget", [None, 0.4])
def test_the_width_comes_first_and_the_rest_sums_to_one_for_each(space, budget):
    logits, table = random_logits(space), wide_table(budget, space)
    widths = shares_of(logits, table).sum(1)
    np.testing.assert_allclose(widths, jax.nn.softmax(logits["width"]), rtol=1e-5)
    if budget is not None:
        assert not shares_of(logits, table)[~np.asarray(table.allowed)].any()


def test_the_shares_of_each_choice_sum_to_one_and_a_layers_to_its_own():
    shares = shares_of(random_logits(), wide_table(0.4))
    found = by_factor(shares, WIDE)
    for name, options in WIDE.factors.items():
        assert len(found[name]) == len(options)
        np.testing.assert_allclose(sum(found[name]), 1.0, rtol=1e-5)
    np.testing.assert_allclose([sum(layer) for layer in found["inner"]], [1.0, found["depth"][1]], rtol=1e-5)
    assert list(by_factor(shares_of(LOGITS, TABLE), SPACE)) == ["width", "depth"]  # nothing else is open there


def test_the_score_gradient_is_that_of_the_expected_loss_within_the_budget():
    logits, table = random_logits(), wide_table(0.4)
    rng = np.random.default_rng(1)
    losses = jnp.asarray(rng.normal(size=len(WIDE.networks)) + WIDE.networks[:, 0], jnp.float32)
    allowed = table.allowed.ravel()

    def of_each(logits: dict) -> jax.Array:
        return log_probability(logits, table)

    def expected(logits: dict) -> jax.Array:
        return jnp.sum(jnp.where(allowed, jnp.exp(of_each(logits).ravel()) * losses, 0.0))

    exact = jax.grad(expected)(logits)

    @jax.jit
    def estimate(key):
        drawn = jax.random.categorical(key, of_each(logits).ravel(), shape=(4,))
        return score_gradient(logits, drawn, losses[drawn], of_each), allowed[drawn].all()

    grads, within = jax.lax.map(estimate, jax.random.split(jax.random.key(0), 8_000), batch_size=500)
    assert within.all()
    for name in exact:
        error = np.std(grads[name], axis=0) / np.sqrt(8_000)
        assert (np.abs(np.mean(grads[name], axis=0) - exact[name]) < 5 * error + 1e-6).all(), name
    assert max(float(np.abs(g).max()) for g in exact.values()) > 0.05


def test_finalists_are_the_best_of_each_width_and_depth_in_the_order_of_the_pairs_probabilities():
    # a depth without preference is as probable as the other, however many inner sizes share what it has
    even = shares_of(init_logits(WIDE), wide_table())
    assert np.ptp([probability for _, probability in likeliest(even, WIDE)]) < 1e-6
    for budget in (1.0, 0.4):
        shares = shares_of(random_logits(), wide_table(budget))
        picks = likeliest(shares, WIDE)
        networks, probabilities = [WIDE.architecture(n) for n, _ in picks], [p for _, p in picks]
        assert probabilities == sorted(probabilities, reverse=True)
        np.testing.assert_allclose(sum(probabilities), 1.0, rtol=1e-5)
        shares = shares.ravel()
        within = [int(n) for n in np.flatnonzero(shares)]
        of = {n: (WIDE.architecture(n).width, WIDE.architecture(n).depth) for n in within}
        pairs = [(network.width, network.depth) for network in networks]
        assert len(set(pairs)) == len(pairs) and set(pairs) == set(of.values())
        for (n, probability), pair in zip(picks, pairs, strict=True):
            group = [k for k in within if of[k] == pair]
            assert shares[n] == shares[group].max()
            np.testing.assert_allclose(probability, shares[group].sum())
