"""The interface of a search strategy: a few pure functions over its own architecture parameters.

A strategy says how its parameters begin, what is drawn for a weight step, how the parameters learn on a validation batch, and how
probable each network is. `nas.search` is the one loop that runs them all: data, steps, optimisers, evaluation,
checkpoints and the final comparison are the same, whatever the space. Where the supernet computes mixtures, `draw` and
`learn` are the strategy's own; where it computes one network at a time, `one_at_a_time` replaces both by networks drawn
from the strategy's distribution and the score-function gradient of their losses.

A new one is a file that defines `STRATEGY = Strategy(...)`, or `Alone(...)` where networks are trained without a supernet;
`--search.strategy FILE.py` runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from easrec_jax.config import SearchConfig
from easrec_jax.nas.distribution import Logits, Shares, Table, init_logits, log_probability
from easrec_jax.space import Space

DRAWS = 4  # networks of an architecture step that computes one at a time
LossOf = Callable[[Array, Array | None], Array]  # (what is drawn, dropout's key): cross entropy of the validation batch


class Moment(NamedTuple):
    """What a strategy knows beside its parameters."""

    step: Array | int  # weight steps done
    progress: Array | float  # 0 up to the first architecture step, 1 after the last epoch
    table: Table  # the networks, their costs, and which the budget allows
    settings: SearchConfig


class Learned(NamedTuple):
    """What an architecture step has found."""

    gradient: Logits
    cross_entropy: Array  # [], mean of what was drawn
    drawn: Array  # the shares that were computed, or the networks


def softmax_shares(logits: Logits, key: Array, moment: Moment) -> Shares:
    """p_i q_j of a plain softmax of alpha and of beta; the key is not used."""
    return jax.nn.softmax(logits["width"])[:, None] * jax.nn.softmax(logits["depth"])[None, :]


def _no_price(costs: Any, depth: Any, moment: Moment) -> Any:
    return None


def relaxed(shares_of: Callable[[Logits, Array, Moment], Shares], penalty: Callable = _no_price) -> Callable:
    """A `learn`: the gradient goes through the shares that a mixture is computed with, and `penalty(logits, shares, moment)` is added."""

    def learn(logits: Logits, key: Array, moment: Moment, loss_of: LossOf) -> Learned:
        draw_key, dropout_key = jax.random.split(key)

        def total(logits: Logits) -> tuple[Array, tuple[Array, Array]]:
            shares = shares_of(logits, draw_key, moment)
            entropy, extra = loss_of(shares, dropout_key), penalty(logits, shares, moment)
            return (entropy if extra is None else entropy + extra), (entropy, shares)

        gradient, (entropy, shares) = jax.grad(total, has_aux=True)(logits)
        return Learned(gradient, entropy, shares)

    return learn


def _unchanged(logits: Logits, moment: Moment) -> Logits:
    return logits


def _of_table(logits: Logits, moment: Moment) -> Array:
    return log_probability(logits, moment.table)


class Strategy(NamedTuple):
    """The functions of a strategy; keys are consumed, arrays over networks are [widths networks-of-a-width]."""

    # the shares of a weight step
    draw: Callable[[Logits, Array, Moment], Shares] = softmax_shares
    # (logits, key, moment, loss_of): the gradient of an architecture step; None: the parameters stay as they begin, no such step is made
    learn: Callable[[Logits, Array, Moment, LossOf], Learned] | None = relaxed(softmax_shares)
    # the architecture parameters, a dict of float arrays
    init: Callable[[Space], Logits] = init_logits
    # after each architecture step
    revise: Callable[[Logits, Moment], Logits] = _unchanged
    # of each network, -inf where it is ruled out
    log_probability: Callable[[Logits, Moment], Array] = _of_table
    # (costs, depth, moment): what networks of these costs and this depth are charged, in nats, when losses are compared; None: nothing
    price: Callable[[Any, Any, Moment], Any] = _no_price
    # whether search.budget means something to it
    keeps_budget: bool = True


def one_at_a_time(strategy: Strategy) -> Strategy:
    """The strategy where a supernet computes no mixture: a weight step trains one network drawn, and the parameters learn by `scored`."""

    def draw(logits: Logits, key: Array, moment: Moment) -> Array:
        network = jax.random.categorical(key, strategy.log_probability(logits, moment).ravel())
        return moment.table.choices[network]

    return strategy._replace(draw=draw, learn=strategy.learn and scored(strategy))


def scored(strategy: Strategy) -> Callable:
    """A `learn`: `DRAWS` networks are drawn, and their losses on one batch give the score-function gradient of the expected loss.

    Each network's baseline is the mean of the others (Kool et al., "Buy 4 REINFORCE samples, get a baseline for free!", 2019).
    Without dropout: only losses are compared, and dropout's noise would be in each.
    """

    def learn(logits: Logits, key: Array, moment: Moment, loss_of: LossOf) -> Learned:
        table = moment.table
        of_each = strategy.log_probability(logits, moment).ravel()
        drawn = jax.random.categorical(key, of_each, shape=(DRAWS,))
        entropies = jax.lax.map(lambda network: loss_of(table.choices[network], None), drawn)
        price = strategy.price(table.costs.ravel()[drawn], jnp.argmax(logits["depth"]) + 1, moment)
        losses = entropies if price is None else entropies + price
        gradient = score_gradient(logits, drawn, losses, lambda logits: strategy.log_probability(logits, moment))
        return Learned(gradient, jnp.mean(entropies), drawn)

    return learn


def score_gradient(logits: Logits, drawn: Array, losses: Array, log_probability: Callable[[Logits], Array]) -> Logits:
    """Unbiased gradient of the expected loss from networks drawn independently and their losses, [draws] each."""
    draws = drawn.shape[0]
    advantages = (losses - jnp.mean(losses)) * draws / (draws - 1)  # each loss less the mean of the others
    return jax.grad(lambda logits: jnp.mean(advantages * log_probability(logits).ravel()[drawn]))(logits)


def one_hot(index: Array, like: Array) -> Array:
    """1 at `index`, 0 elsewhere, in the shape of `like`."""
    return (jnp.arange(like.shape[0]) == index).astype(like.dtype)
