"""The controllers: Gumbel relaxation, temperature, the resource constraint, the pick."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from easrec_jax.search.distribution import (
    ArchitectureParameters,
    check_budget,
    constraint,
    init_architecture_parameters,
    most_probable,
    pair_logits,
    relax,
    softmax_over_pairs,
    temperature,
)

from easrec_jax.architecture import Architecture
from easrec_jax.config import SearchConfig
from easrec_jax.space import SearchSpace

PARAMETERS = ArchitectureParameters(jnp.array([0.5, -0.3, 1.0]), jnp.array([0.2, 1.1, -0.4, 0.0]))
COSTS = np.array([[0.3, 0.5, 0.8, 1.0], [0.2, 0.35, 0.55, 0.7], [0.1, 0.15, 0.2, 0.25]])
sample = jax.jit(jax.vmap(relax, in_axes=(None, 0, None)))


DRAWS = 4000


def draw(tau: float) -> tuple[np.ndarray, np.ndarray]:
    """(p, q) of many samples, [draws candidates] and [draws depths], whose product the shares are."""
    shares = np.asarray(sample(PARAMETERS, jax.random.split(jax.random.key(0), DRAWS), tau))
    p, q = shares.sum(2), shares.sum(1)
    np.testing.assert_allclose(shares, p[:, :, None] * q[:, None], atol=1e-6)
    return p, q


def probabilities(parameters: ArchitectureParameters) -> tuple[jax.Array, jax.Array]:
    """alpha and beta."""
    return jax.nn.softmax(parameters.width), jax.nn.softmax(parameters.depth)


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
    alpha, beta = map(np.asarray, probabilities(PARAMETERS))
    joint = np.zeros((3, 4))
    np.add.at(joint, (p, q), 1 / DRAWS)
    np.testing.assert_allclose(joint, alpha[:, None] * beta, atol=0.03)


ALLOWED = COSTS <= 0.35


def test_within_a_budget_pairs_follow_the_restricted_probabilities_and_no_other_is_drawn():
    within = jax.jit(jax.vmap(lambda key: relax(PARAMETERS, key, 0.02, ALLOWED)))
    found = np.asarray(within(jax.random.split(jax.random.key(0), DRAWS)))
    drawn = np.bincount(found.reshape(DRAWS, -1).argmax(1), minlength=COSTS.size).reshape(COSTS.shape) / DRAWS
    np.testing.assert_allclose(found.sum((1, 2)), 1.0, atol=1e-5)
    assert not found[:, ~ALLOWED].any()
    alpha, beta = map(np.asarray, probabilities(PARAMETERS))
    depths = np.where(ALLOWED, beta, 0.0)
    expected = alpha[:, None] * depths / depths.sum(1, keepdims=True)
    assert len(set(ALLOWED.sum(1))) > 1  # candidates with few depths are drawn as often as those with many
    np.testing.assert_allclose(drawn, expected, atol=0.03)
    shares = softmax_over_pairs(pair_logits(PARAMETERS, ALLOWED), ALLOWED)
    np.testing.assert_allclose(shares, expected, rtol=1e-5)


def test_gradients_within_a_budget_are_finite():
    weight = jnp.arange(3.0)[:, None] + jnp.arange(4.0)

    def value(parameters):
        return jnp.sum(relax(parameters, jax.random.key(3), 0.5, ALLOWED) * weight)

    grads = jax.grad(value)(PARAMETERS)
    assert all(np.isfinite(g).all() and np.abs(g).max() > 1e-4 for g in grads)


def test_a_fresh_controller_is_uniform():
    space = SearchSpace(Architecture(8, 8, 4, 2, 5, "softmax", 0), ((8, 8), (6, 6), (4, 4)))
    alpha, beta = probabilities(init_architecture_parameters(space))
    np.testing.assert_allclose(alpha, [1 / 3] * 3)
    np.testing.assert_allclose(beta, [1 / 4] * 4)


def test_temperature_falls_by_the_schedule_to_its_floor():
    settings = SearchConfig()
    steps = [0, 1000, 19_800, 1_000_000]
    np.testing.assert_allclose([temperature(t, settings) for t in steps], [1.0, 0.95, 0.01, 0.01], rtol=1e-5)


def test_under_one_hot_shares_the_constraint_is_the_exact_cost():
    for (i, j), cost in np.ndenumerate(COSTS):
        np.testing.assert_allclose(
            constraint(one_hot(i, j), PARAMETERS, jnp.array(COSTS), dynamic=False), cost, rtol=1e-6
        )


def test_the_constraint_is_scaled_by_the_currently_likeliest_depth():
    shares = one_hot(0, 3)
    for best in range(4):
        parameters = PARAMETERS._replace(depth=jnp.eye(4)[best])
        np.testing.assert_allclose(constraint(shares, parameters, jnp.array(COSTS)), (best + 1) / 4, rtol=1e-6)


def test_the_dynamic_scale_carries_no_gradient():
    shares = one_hot(1, 2)
    grads = jax.grad(lambda parameters: constraint(shares, parameters, jnp.array(COSTS)))(PARAMETERS)
    assert not any(np.asarray(g).any() for g in grads)


def test_the_constraint_pushes_alpha_and_beta_to_cheaper_networks():
    def expected(parameters):
        return constraint(jnp.outer(*probabilities(parameters)), parameters, jnp.array(COSTS))

    grads = jax.grad(expected)(PARAMETERS)
    assert grads.width[0] > 0 > grads.width[2]
    assert grads.depth[3] > 0 > grads.depth[0]

    relaxed = jax.grad(lambda a: constraint(relax(a, jax.random.key(3), 1.0), a, jnp.array(COSTS)))(PARAMETERS)
    assert np.abs(relaxed.width).max() > 1e-4 and np.abs(relaxed.depth).max() > 1e-4


def test_the_pick_is_the_likeliest_candidate_and_depth():
    assert most_probable(pair_logits(PARAMETERS), COSTS) == [(2, 2)]
    assert most_probable(pair_logits(PARAMETERS._replace(width=jnp.array([3.0, 0.0, 0.0]))), COSTS) == [(0, 2)]


@pytest.mark.parametrize("budget", [0.1, 0.15, 0.3, 0.6, 1.0])
def test_the_most_probable_are_the_likeliest_within_the_budget_in_order(budget):
    parameters = ArchitectureParameters(jnp.array([2.0, 1.0, 0.0]), jnp.array([0.0, 0.3, 0.65, 0.9]))
    found = most_probable(pair_logits(parameters), COSTS, budget, 4)
    assert all(COSTS[candidate, depth - 1] <= budget for candidate, depth in found)
    score = np.asarray(parameters.width)[:, None] + np.asarray(parameters.depth)
    expected = np.sort(score[budget >= COSTS])[::-1][:4]
    np.testing.assert_allclose([score[candidate, depth - 1] for candidate, depth in found], expected, rtol=1e-6)


def test_a_budget_below_the_smallest_network_is_refused():
    with pytest.raises(ValueError, match="search.budget"):
        most_probable(pair_logits(PARAMETERS), COSTS, 0.05)


def test_the_budget_that_an_error_asks_for_is_one():
    costs = np.array([[0.23434, 0.5]])
    with pytest.raises(ValueError, match="expected at least 0.2344, ") as error:
        check_budget(costs, 0.2343)
    check_budget(costs, float(str(error.value).split("at least ")[1].split(",")[0]))


def test_a_network_that_the_strategy_ruled_out_is_no_pick():
    with pytest.raises(ValueError, match="expected a network within the budget that the strategy has not ruled out"):
        most_probable(np.array([[-np.inf, 0.0]]), np.array([[0.2, 0.5]]), 0.3)
