"""Pairing of layers: Sinkhorn against an exact solver, weights that adapt, fixed mappings, distances over real positions alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from easrec_jax.nn.transport import adapted, fixed_plan, layer_distances, transport_plan


def exact_cost(distance: np.ndarray, student: np.ndarray, teacher: np.ndarray) -> float:
    """The least sum F D of all F >= 0 with these marginals."""
    rows, columns = distance.shape
    sums = np.concatenate([np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))])
    found = linprog(distance.ravel(), A_eq=sums, b_eq=np.concatenate([student, teacher]))
    assert found.status == 0
    return found.fun


@pytest.mark.parametrize(("shape", "within"), [((4, 8), 0.02), ((1, 3), 0.001), ((4, 4), 0.02), ((2, 8), 0.02)])
def test_the_plan_costs_what_the_best_one_costs(shape, within):
    rng = np.random.default_rng(0)
    for _ in range(30):
        distance = rng.gamma(2.0, size=shape).astype(np.float32)
        student, teacher = (rng.dirichlet(np.full(size, 5.0)).astype(np.float64) for size in shape)
        plan = np.asarray(transport_plan(*(jnp.asarray(x, jnp.float32) for x in (distance, student, teacher))))
        assert (plan >= 0).all()
        np.testing.assert_allclose(plan.sum(1), student, atol=0.01)
        np.testing.assert_allclose(plan.sum(0), teacher, atol=1e-5)
        assert (plan * distance).sum() == pytest.approx(exact_cost(distance, student, teacher), rel=within)


def test_the_plan_is_a_constant_and_scale_does_not_matter():
    rng = np.random.default_rng(1)
    distance = jnp.asarray(rng.gamma(2.0, size=(3, 5)), jnp.float32)
    even = jnp.full(3, 1 / 3), jnp.full(5, 0.2)
    plan = transport_plan(distance, *even)
    np.testing.assert_allclose(transport_plan(1e-4 * distance, *even), plan, atol=1e-5)
    gradient = jax.grad(lambda d: jnp.sum(transport_plan(d, *even) * d))(distance)
    np.testing.assert_allclose(gradient, plan, rtol=1e-5)
    assert np.isfinite(transport_plan(jnp.zeros((3, 5)), *even)).all()


def test_a_dear_layer_loses_weight():
    distance = jnp.array([[1.0, 1.0], [4.0, 4.0]])
    even = jnp.full(2, 0.5), jnp.full(2, 0.5)
    student, teacher = adapted(transport_plan(distance, *even), distance, *even)
    assert student[0] > student[1] and student.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(student, jax.nn.softmax(jnp.array([5.0, 1.25]) / 10), rtol=1e-3)
    np.testing.assert_allclose(teacher, [0.5, 0.5], rtol=1e-3)


def test_fixed_mappings():
    chosen = {name: fixed_plan(name, 4, 8).argmax(1).tolist() for name in ("left", "right", "left_jump", "right_jump")}
    assert chosen == {
        "left": [0, 1, 2, 3],
        "right": [4, 5, 6, 7],
        "left_jump": [0, 2, 4, 6],
        "right_jump": [1, 3, 5, 7],
    }
    drawn = fixed_plan("random", 4, 8)
    assert (drawn.sum(1) == 0.25).all() and (drawn.sum(0) <= 0.25).all()
    assert fixed_plan("right_jump", 1, 3).tolist() == [[0, 0, 1]]
    with pytest.raises(ValueError, match=r"distill\.layers: expected at least 3"):
        fixed_plan("left", 3, 2)


def test_distances_are_divergences_of_the_teacher_from_the_student_at_real_positions():
    rng = np.random.default_rng(2)
    student, teacher = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((3, 3, 4, 5))
    mask = np.arange(4) < np.array([[4], [2], [1]])
    found = layer_distances(*(jnp.asarray(x, jnp.float32) for x in (student, teacher)), jnp.asarray(mask))

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    for s in range(2):
        for t in range(3):
            p, q = softmax(teacher[t])[mask], softmax(student[s])[mask]
            assert found[s, t] == pytest.approx((p * np.log(p / q)).sum(-1).mean(), rel=1e-4)
    other = np.where(mask[None, ..., None], student, 9.0)
    again = layer_distances(jnp.asarray(other, jnp.float32), jnp.asarray(teacher, jnp.float32), jnp.asarray(mask))
    np.testing.assert_allclose(again, found, rtol=1e-6)
