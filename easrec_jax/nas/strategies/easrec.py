"""EASRec: Gumbel-softmax over widths and depths, a dynamic resource constraint or a budget (Eq. 10-16).

Source: Zhang et al., EASRec, arXiv 2402.00390; DNS-Rec, RecSys 2024. Kept: one alpha for all layers, beta over depths,
both relaxed with Gumbel noise at a falling temperature, weights and architecture parameters in turn, R = (L_t / L)
times the expected cost. Changed: with `search.budget` the constraint is not a term of the loss but of what is drawn:
one pair (width, depth) within the budget, the width first (`distribution.preferences`): so a width that is allowed few
depths begins with as much for each as a width that is allowed many has for all (`untrained` is the control for what
that alone finds). The final comparison of `search.finalists` is this package's, for every strategy that leaves more
than one; under lambda it counts lambda R. A space whose mixture cannot be computed, because thousands of networks are in it,
is searched by the same distribution without noise and temperature (`strategy.one_at_a_time`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from easrec_jax.nas.distribution import Logits, Shares, preferences, resource, softmax_over
from easrec_jax.nas.strategies.strategy import Moment, Strategy, relaxed
from easrec_jax.space import FIRST_INNER


def temperature(moment: Moment) -> Array:
    """tau_t = max(tau_min, tau_start - tau_decay t) (Table II)."""
    settings = moment.settings.easrec
    return jnp.maximum(settings.tau_min, settings.tau_start - settings.tau_decay * moment.step)


def draw(logits: Logits, key: Array, moment: Moment) -> Shares:
    """The shares of one Gumbel-softmax sample.

    Without a budget, p and q are drawn independently (Eq. 10) and a network's share is p_i q_j. With one, one pair within it is
    drawn and relaxed alike: what no budget admits has no share.
    """
    allowed, heat = moment.table.allowed, temperature(moment)
    if allowed is not None:
        of_each = preferences(logits, moment.table)
        return softmax_over((of_each + jax.random.gumbel(key, of_each.shape)) / heat, allowed)
    key_width, key_depth = jax.random.split(key)

    def sample(logits: Array, key: Array) -> Array:
        noisy = jax.nn.log_softmax(logits) + jax.random.gumbel(key, logits.shape)
        return jax.nn.softmax(noisy / heat)

    return sample(logits["width"], key_width)[:, None] * sample(logits["depth"], key_depth)[None, :]


def constraint(logits: Logits, shares: Shares, moment: Moment) -> Array | None:
    """lambda R of the shares (Eq. 15, where s_ij = p_i q_j); L_t = argmax beta + 1 carries no gradient."""
    return price(jnp.sum(shares * moment.table.costs), jnp.argmax(logits["depth"]) + 1, moment)


def price(costs: Any, depth: Any, moment: Moment) -> Any:
    """lambda R (Eq. 15), L_t being `depth`; nothing with a budget: Eq. 2 asks for the best network within it, not for the cheapest."""
    settings = moment.settings.easrec
    if moment.settings.budget is not None:
        return None
    depths = moment.table.choices.shape[1] - FIRST_INNER
    return settings.cost_weight * resource(costs, depth, depths, dynamic=settings.dynamic)


STRATEGY = Strategy(draw=draw, learn=relaxed(draw, constraint), price=price)
