"""The bilevel controllers: architecture parameters, their Gumbel relaxation, the temperature, the pick (EASRec, Eq. 10-18)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from easrec_jax.config import SearchConfig
from easrec_jax.space import SearchSpace

Allowed = Array | np.ndarray  # bool [candidates depths], the pairs within the budget
LOW = -1e9  # log-probability of what is not allowed: zero, with a gradient of zero


class ArchitectureParameters(NamedTuple):
    """Free logits: log alpha = log_softmax(width), shared by all layers; log beta = log_softmax(depth)."""

    width: Float[Array, " candidates"]
    depth: Float[Array, " depths"]


def init_architecture_parameters(space: SearchSpace) -> ArchitectureParameters:
    """Uniform over candidates and depths."""
    return ArchitectureParameters(jnp.zeros(space.num_candidates), jnp.zeros(space.num_layers))


def relax(
    parameters: ArchitectureParameters, key: Array, temperature: Array | float, allowed: Allowed | None = None
) -> Float[Array, "candidates depths"]:
    """The shares of one Gumbel-softmax sample; the key is consumed.

    Without `allowed`, p and q are drawn independently (Eq. 10) and a network's share is p_i q_j. With it, bool
    [candidates depths], one pair is drawn by `pair_logits` and relaxed alike: what no budget admits has no share.
    """
    if allowed is not None:
        logits = pair_logits(parameters, allowed)
        return softmax_over_pairs((logits + jax.random.gumbel(key, logits.shape)) / temperature, allowed)
    key_width, key_depth = jax.random.split(key)

    def sample(logits: Array, key: Array) -> Array:
        noisy = jax.nn.log_softmax(logits) + jax.random.gumbel(key, logits.shape)
        return jax.nn.softmax(noisy / temperature)

    return sample(parameters.width, key_width)[:, None] * sample(parameters.depth, key_depth)


def pair_logits(parameters: Any, allowed: Allowed | None = None) -> Float[Array, "candidates depths"]:
    """log alpha_i + log beta_j of parameters with logits `width` and `depth`.

    With `allowed`, beta is that of the depths which are allowed with candidate i; other pairs get a low number. So a wide
    candidate, which is allowed few depths, is drawn as often as a narrow one, which is allowed many: drawn by alpha_i beta_j over
    all pairs it would be trained less and then look worse than it is.
    """
    depths = jnp.broadcast_to(
        jax.nn.log_softmax(parameters.depth), (parameters.width.shape[0], parameters.depth.shape[0])
    )
    if allowed is not None:
        depths = jax.nn.log_softmax(jnp.where(allowed, depths, LOW), 1)
    return jax.nn.log_softmax(parameters.width)[:, None] + depths


def softmax_over_pairs(logits: Array, allowed: Allowed) -> Array:
    """Shares of the allowed pairs, summing to one; [candidates depths]."""
    return jax.nn.softmax(jnp.where(allowed, logits, -jnp.inf).ravel()).reshape(logits.shape)


def temperature(step: Array | int, settings: SearchConfig) -> Array:
    """tau_t = max(tau_min, tau_start - tau_decay t) (Table II)."""
    return jnp.maximum(settings.tau_min, settings.tau_start - settings.tau_decay * step)


def constraint(shares: Array, parameters: ArchitectureParameters, costs: Array, *, dynamic: bool = True) -> Array:
    """R = (L_t / L) sum_ij s_ij F(i, j) (Eq. 15, where s_ij = p_i q_j); L_t = argmax beta + 1 carries no gradient.

    `shares` and `costs` are [candidates depths].
    """
    return resource(jnp.sum(shares * costs), jnp.argmax(parameters.depth) + 1, costs.shape[1], dynamic=dynamic)


def resource(costs: Any, depth: Any, depths: int, *, dynamic: bool) -> Any:
    """R of these costs (Eq. 15): times L_t / L, L_t being `depth` and L `depths`, unless not `dynamic`; arrays broadcast."""
    return (depth / depths if dynamic else 1.0) * costs


def check_budget(costs: np.ndarray, budget: float | None) -> None:
    """Raise `ValueError` if no network of the cost table stays within the budget."""
    if budget is not None and not (costs <= budget).any():
        raise ValueError(
            f"search.budget: expected at least {np.ceil(1e4 * costs.min()) / 1e4:g}, the smallest network's cost, got {budget}"
        )


def most_probable(
    logits: Array | np.ndarray, costs: np.ndarray, budget: float | None = None, count: int = 1
) -> list[tuple[int, int]]:
    """The `count` pairs (candidate from 0, depth from 1) of highest logit, the highest first (Eq. 18 is count = 1).

    Both arrays are [candidates depths]; a logit of -inf is no choice. With a budget, those within it only; there may be
    fewer than `count`. Raises `ValueError` if the budget admits none, or none that has a logit.
    """
    check_budget(costs, budget)
    scores = np.asarray(logits).ravel()
    allowed = np.isfinite(scores) if budget is None else np.isfinite(scores) & (costs <= budget).ravel()
    order = [int(i) for i in np.argsort(-scores, kind="stable") if allowed[i]]
    if not order:
        raise ValueError("expected a network within the budget that the strategy has not ruled out, found none")
    return [(i // costs.shape[1], i % costs.shape[1] + 1) for i in order[:count]]
