"""The distribution over the networks of a space: logits of its choices, the width first, the rest within the budget.

Arrays over networks have the space's `shape`, [widths networks-of-a-width]; in the paper's space that is [candidates depths].
The logits are one vector a factor that has more than one option, and [layers inner sizes] where layers choose theirs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from easrec_jax.space import FACTORS, FIRST_INNER, Space

LOW = -1e9  # log-probability of what is not allowed: zero, with a gradient of zero

Logits = dict[str, Array]
Shares = Float[Array, "widths rest"]  # of each network, summing to one


class Table(NamedTuple):
    """The networks of a space as arrays."""

    choices: Int[Array, "networks columns"]  # the rows of `Space.networks`
    costs: Float[Array, "widths rest"]  # over the largest network's
    allowed: Bool[Array, "widths rest"] | None  # the networks within the budget; None without one

    @classmethod
    def of(cls, space: Space, costs: np.ndarray, budget: float | None) -> Table:
        """`costs` are compared with the budget before they become float32. Raises `ValueError` if no network stays within it."""
        if budget is not None and not (costs <= budget).any():
            smallest = np.ceil(1e4 * costs.min()) / 1e4
            raise ValueError(
                f"search.budget: expected at least {smallest:g}, the smallest network's cost, got {budget}"
            )
        allowed = None if budget is None else jnp.asarray(costs <= budget)
        return cls(jnp.asarray(space.networks), jnp.asarray(costs, jnp.float32), allowed)


def init_logits(space: Space) -> Logits:
    """Uniform: log alpha = log_softmax(width), log beta = log_softmax(depth), and so on."""
    logits = {name: jnp.zeros(len(options)) for name, options in space.factors.items() if len(options) > 1}
    logits |= {name: jnp.zeros(len(space.factors[name])) for name in ("width", "depth")}
    if space.inner_of != "width":
        logits["inner"] = jnp.zeros((space.num_layers, len(space.inners)))
    return logits


def preferences(logits: Logits, table: Table) -> Float[Array, "widths rest"]:
    """log alpha of the width plus the log-probability of the rest among what the budget leaves that width.

    So a wide candidate, which is allowed few depths, is drawn as often as a narrow one, which is allowed many: drawn by the product
    of all choices it would be trained less and then look worse than it is. What is not allowed gets a low number.
    """
    rest = _rest(logits, table)
    if table.allowed is not None:
        rest = jnp.where(table.allowed, rest, LOW)
    # with one inner size for all layers, the products over the layers do not sum to one
    if table.allowed is not None or "inner" in logits:
        rest = jax.nn.log_softmax(rest, 1)
    return jax.nn.log_softmax(logits["width"])[:, None] + rest


def _rest(logits: Logits, table: Table) -> Float[Array, "widths rest"]:
    """log-probability of each network's choices but the width, before the budget."""
    of = {name: column for column, name in enumerate(FACTORS) if name in logits and name != "width"}
    parts = [jax.nn.log_softmax(logits[name])[table.choices[:, column]] for name, column in of.items()]
    if "inner" in logits:
        inner = table.choices[:, FIRST_INNER:]
        each = jnp.take_along_axis(jax.nn.log_softmax(logits["inner"])[None], jnp.maximum(inner, 0)[..., None], 2)
        parts.append(jnp.sum(jnp.where(inner >= 0, each[..., 0], 0.0), 1))
    return sum(parts[1:], parts[0]).reshape(table.costs.shape)


def log_probability(logits: Logits, table: Table) -> Float[Array, "widths rest"]:
    """log-probability of each network, -inf beyond the budget."""
    return normalised(preferences(logits, table), table.allowed)


def normalised(preferences: Float[Array, "widths rest"], allowed: Array | None) -> Float[Array, "widths rest"]:
    """The log-probabilities of these preferences, -inf where not `allowed`."""
    flat = preferences.ravel() if allowed is None else jnp.where(allowed, preferences, -jnp.inf).ravel()
    return jax.nn.log_softmax(flat).reshape(preferences.shape)


def softmax_over(preferences: Float[Array, "widths rest"], allowed: Array) -> Shares:
    """Shares of the allowed networks, summing to one."""
    return jax.nn.softmax(jnp.where(allowed, preferences, -jnp.inf).ravel()).reshape(preferences.shape)


def resource(costs: Any, depth: Any, depths: int, *, dynamic: bool) -> Any:
    """R of these costs (Eq. 15): times L_t / L, L_t being `depth` and L `depths`, unless not `dynamic`; arrays broadcast."""
    return (depth / depths if dynamic else 1.0) * costs


def likeliest(probabilities: np.ndarray, space: Space) -> list[tuple[int, float]]:
    """(network, probability): the most probable network of each width and depth, the most probable pair of these first.

    `probabilities` are float64 in the space's shape; the number is that of the width and depth together. Pairs without any are left
    out. Finalists shall differ in width or depth: the most probable networks of all would be copies of one but for the choice
    that matters least; and of two equally probable depths the shallow one would win, as a deep one's probability is shared
    by all inner sizes of its layers. In the paper's space, where a pair is a network, this is Eq. 18.
    """
    shares = probabilities.ravel()
    pairs, of = np.unique(space.networks[:, :2], axis=0, return_inverse=True)
    together = np.bincount(of.ravel(), shares)
    members = [np.flatnonzero(of.ravel() == pair) for pair in range(len(pairs))]
    order = [int(pair) for pair in np.argsort(-together, kind="stable") if together[pair] > 0]
    return [(int(members[pair][np.argmax(shares[members[pair]])]), float(together[pair])) for pair in order]


def by_factor(probabilities: np.ndarray, space: Space) -> dict[str, Any]:
    """The share of each option: {factor: [options]}, and "inner": [layers][inner sizes] where inner sizes are chosen.

    Factors of one option are left out, width and depth never. A layer's shares sum to the probability that it is there.
    """
    shares, rows = probabilities.ravel(), space.networks
    found: dict[str, Any] = {
        name: [float(shares[rows[:, column] == option].sum()) for option in range(len(options))]
        for column, (name, options) in enumerate(space.factors.items())
        if len(options) > 1 or name in ("width", "depth")
    }
    if space.inner_of != "width":
        found["inner"] = [
            [float(shares[rows[:, FIRST_INNER + layer] == option].sum()) for option in range(len(space.inners))]
            for layer in range(space.num_layers)
        ]
    return found
