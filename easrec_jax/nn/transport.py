"""How a student's layers are paired with a teacher's: earth mover's distance between them, or a fixed mapping.

Source: BERT-EMD (Li et al., EMNLP 2020), as AdaRec (arXiv 2107.07173) takes it over.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from easrec_jax.typed import check

ITERATIONS = 200
SHARPNESS = 0.02  # entropy's weight over the mean distance
LARGEST_RATIO = 100.0  # of all layers' prices to one's: beyond it a layer would take all of the weight at once


def transport_plan(
    distance: Float[Array, "student teacher"], student: Float[Array, " student"], teacher: Float[Array, " teacher"]
) -> Float[Array, "student teacher"]:
    """The plan F >= 0 of least sum F D whose rows sum to `student` and whose columns sum to `teacher`, nearly.

    Sinkhorn's iterations on the logarithms. The entropy's weight falls from the mean distance to `SHARPNESS` of it in the first
    half of them: begun with the last one, few layers would not get far. A constant: no gradient.
    """
    distance, student, teacher = jax.lax.stop_gradient((distance, student, teacher))
    scaled = distance / jnp.maximum(jnp.mean(distance), 1e-12)
    log_student, log_teacher = jnp.log(student), jnp.log(teacher)

    def iterate(number: Any, potentials: tuple[Array, Array]) -> tuple[Array, Array]:
        _, right = potentials
        weight = jnp.maximum(SHARPNESS ** (2.0 * number / ITERATIONS), SHARPNESS)
        left = weight * (log_student - jax.nn.logsumexp((right[None, :] - scaled) / weight, 1))
        return left, weight * (log_teacher - jax.nn.logsumexp((left[:, None] - scaled) / weight, 0))

    left, right = jax.lax.fori_loop(0, ITERATIONS, iterate, (jnp.zeros_like(student), jnp.zeros_like(teacher)))
    return jnp.exp((left[:, None] + right[None, :] - scaled) / SHARPNESS)


def adapted(
    plan: Float[Array, "student teacher"],
    distance: Float[Array, "student teacher"],
    student: Float[Array, " student"],
    teacher: Float[Array, " teacher"],
) -> tuple[Float[Array, " student"], Float[Array, " teacher"]]:
    """(student, teacher) weights of the layers for the next step: a layer that is dear to move loses weight."""
    moved = jax.lax.stop_gradient(plan * distance)

    def of(prices: Array) -> Array:
        ratio = jnp.sum(prices) / jnp.maximum(prices, jnp.sum(prices) / LARGEST_RATIO + 1e-12)
        return jax.nn.softmax(ratio / 10.0)

    return of(jnp.sum(moved, 1) / student), of(jnp.sum(moved, 0) / teacher)


def fixed_plan(mapping: str, student: int, teacher: int) -> np.ndarray:
    """float32 [student teacher]: the plan of a fixed mapping, each student layer with the same weight.

    Raises `ValueError` where the student has more layers than the teacher.
    """
    check(student <= teacher, "distill.layers", f"at least {student}, as many as learn from them", teacher)
    jump = (teacher - 1) // max(student - 1, 1)
    layers = np.arange(student)
    chosen = {
        "left": layers,
        "right": teacher - student + layers,
        "left_jump": layers * jump,
        "right_jump": (teacher - 1) - jump * layers[::-1],
        "random": np.random.default_rng(0).choice(teacher, student, replace=False),
    }[mapping]
    return np.eye(teacher, dtype=np.float32)[chosen] / np.float32(student)


def layer_distances(
    student: Float[Array, "student batch length width"],
    teacher: Float[Array, "teacher batch length width"],
    mask: Bool[Array, "batch length"],
) -> Float[Array, "student teacher"]:
    """KL(teacher || student) of the softmaxes over channels of each pair of layers, mean over the real positions."""
    weight = (mask / jnp.maximum(jnp.sum(mask), 1)).astype(jnp.float32)
    taught, learned = jax.nn.log_softmax(teacher, -1), jax.nn.log_softmax(student, -1)
    shares = jnp.exp(taught) * weight[None, :, :, None]
    return jnp.sum(shares * taught, (1, 2, 3))[None, :] - jnp.einsum("tblw,sblw->st", shares, learned)
