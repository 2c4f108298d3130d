"""ProxylessNAS: binarised paths, one active in a weight step, two in an architecture step, expected cost in the loss.

Source: Cai, Zhu, Han, ProxylessNAS, ICLR 2019. Kept: weight steps train one path, drawn by its probability; an
architecture step draws two paths and treats the choice as between them alone, with the gradient through the binary
gates g, dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i) over the two; expected cost (FLOPs, or latency with
`search.cost latency`) times lambda (`search.proxyless.cost_weight`) is added to the loss. Changed: a path here is a width
for all layers and a depth, drawn independently; the path that is not taken enters with a share of 0.002 instead of 0, so that
its output is computed and dL/dg_j is known; the two logits are not rescaled after the step (the gradient's sum over
them is zero as it is). The constraint is a price, not a limit: `search.budget` is refused. The final comparison of
`search.finalists` counts it too. Steps alternate, and the pick goes on from the supernet's weights, as with DARTS (the
source: from scratch).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from easrec_jax.models.supernet import NEGLIGIBLE
from easrec_jax.nas.distribution import Logits, Shares
from easrec_jax.nas.strategies.strategy import Moment, Strategy, one_hot, relaxed

FAINT = 2 * NEGLIGIBLE  # share of the second path: computed, next to nothing in the mixture


def one_path(logits: Logits, key: Array, moment: Moment) -> Shares:
    """A width and a depth, each drawn by its probability."""
    key_width, key_depth = jax.random.split(key)

    def sample(logits: Array, key: Array) -> Array:
        return one_hot(jax.random.categorical(key, logits), logits)

    return sample(logits["width"], key_width)[:, None] * sample(logits["depth"], key_depth)[None, :]


def two_paths(logits: Logits, key: Array, moment: Moment) -> Shares:
    """Two widths and two depths, of each pair one taken; the gradient is that of the choice between the two."""
    key_width, key_depth = jax.random.split(key)
    return _gates(logits["width"], key_width)[:, None] * _gates(logits["depth"], key_depth)[None, :]


def _gates(logits: Array, key: Array) -> Array:
    if logits.shape[0] == 1:
        return jnp.ones(1)
    key_pair, key_taken = jax.random.split(key)
    noisy = logits + jax.random.gumbel(key_pair, logits.shape)
    pair = noisy >= jax.lax.top_k(noisy, 2)[0][1]  # two without replacement
    between = jnp.where(pair, logits, -jnp.inf)
    taken = one_hot(jax.random.categorical(key_taken, between), logits)
    hard = jnp.where(pair, taken * (1 - 2 * FAINT) + FAINT, 0.0)
    soft = jax.nn.softmax(between)
    return jax.lax.stop_gradient(hard - soft) + soft  # the value of the gates, the gradient of their probabilities


def expected_price(logits: Logits, shares: Shares, moment: Moment) -> Array:
    """lambda times the expected cost under the probabilities of all paths."""
    expected = jax.nn.softmax(logits["width"]) @ moment.table.costs @ jax.nn.softmax(logits["depth"])
    return moment.settings.proxyless.cost_weight * expected


def price(costs: Any, depth: Any, moment: Moment) -> Any:
    """lambda times the cost."""
    return moment.settings.proxyless.cost_weight * costs


STRATEGY = Strategy(draw=one_path, learn=relaxed(two_paths, expected_price), price=price, keeps_budget=False)
