"""One step of training a router: its loss over what the frozen networks are worth to each user, and the price of FLOPs.

    L = mean_u sum_n y_un loss_un + pressure * (cost - budget) + guide * L_guide + uniform * L_uniform
    cost = mean_u sum_n y_un cost_n,   pressure = max(0, price + penalty * (cost - budget))
    price <- max(0, price + rate * (cost - budget))

The pressure is the method of multipliers': the price alone would swing from one end to the other, as the loss is linear in y.

y_u is p_u, the router's distribution ("expected"), or one network drawn from it whose gradient is p_u's ("straight_through").
As the networks are frozen, what each loses on each user is known beforehand, and the first form is the exact mean of the second.

Sources: CANet (Liu et al., ICDM 2022) for the straight-through sample, guide and uniform losses; there the losses of the
networks learn too, and no cost is in the loss: the budget and its price are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float

from easrec_jax.architecture import Architecture
from easrec_jax.config import RouteConfig
from easrec_jax.models.router import Router

STEEPNESS = (2.0, 1.0)  # of the guide's targets for widths and for depths


class Menu(NamedTuple):
    """The networks that a router chooses from."""

    costs: Array  # float32 [networks], FLOPs over the largest network's, the router's included
    options: tuple[
        Array, Array
    ]  # float32 [options networks]: 1 where a network has that width, that depth; small to large


class Labelled(NamedTuple):
    """Users with what every network loses on their held-out item."""

    features: Any  # float32 [users features]
    losses: Any  # float32 [users networks]
    hits: Any  # bool [users], the cheapest network has the item among its first ten


class RouterState(NamedTuple):
    """Everything a step reads and writes."""

    step: Array  # int32 []
    head: Any
    head_opt: optax.OptState
    price: Array  # float32 [], of all FLOPs of the largest network


def menu_of(networks: Sequence[Architecture], costs: np.ndarray) -> Menu:
    """The menu of these networks."""

    def options(values: list[int]) -> Array:
        return jnp.asarray(np.unique(values)[:, None] == np.array(values)[None, :], jnp.float32)

    widths, depths = [n.width for n in networks], [n.depth for n in networks]
    return Menu(jnp.asarray(costs, jnp.float32), (options(widths), options(depths)))


@partial(jax.jit, static_argnames=("router", "tx", "settings"), donate_argnames="state")
def route_step(
    state: RouterState,
    batch: Labelled,
    key: Array,
    menu: Menu,
    *,
    router: Router,
    tx: optax.GradientTransformation,
    settings: RouteConfig,
) -> tuple[RouterState, dict[str, Array]]:
    """A step of the router's head down its loss, and of the price up to where the budget is kept."""
    step_key = jax.random.fold_in(key, state.step)

    def loss_of(head: dict) -> tuple[Array, Array]:
        return route_loss(head, batch, step_key, menu, state.price, router=router, settings=settings)

    (loss, cost), grads = jax.value_and_grad(loss_of, has_aux=True)(state.head)
    updates, opt = tx.update(grads, state.head_opt, state.head)
    price = jnp.maximum(state.price + settings.price_rate * (cost - settings.budget), 0.0)
    return RouterState(state.step + 1, optax.apply_updates(state.head, updates), opt, price), {"loss": loss}


def route_loss(
    head: dict, batch: Labelled, key: Array, menu: Menu, price: Array, *, router: Router, settings: RouteConfig
) -> tuple[Array, Array]:
    """(the loss, the mean cost of a user); the key is consumed."""
    log_shares = jax.nn.log_softmax(router.scores(head, jnp.asarray(batch.features)), -1)
    drawn = settings.form == "straight_through"
    chosen = straight_through(log_shares, key) if drawn else jnp.exp(log_shares)
    cost = jnp.mean(chosen @ menu.costs)
    pressure = jax.lax.stop_gradient(jnp.maximum(price + settings.penalty * (cost - settings.budget), 0.0))
    loss = jnp.mean(jnp.sum(chosen * jnp.asarray(batch.losses), -1)) + pressure * (cost - settings.budget)
    loss += settings.guide * jnp.mean(guide_loss(log_shares, jnp.asarray(batch.hits), menu))
    loss += settings.uniform * jnp.mean(-log_shares)
    return loss, cost


def straight_through(log_shares: Float[Array, "users networks"], key: Array) -> Float[Array, "users networks"]:
    """One network drawn for each user, one-hot, with the gradient of the relaxed draw at temperature 1; the key is consumed."""
    noisy = log_shares + jax.random.gumbel(key, log_shares.shape)
    soft = jax.nn.softmax(noisy, -1)
    hard = jax.nn.one_hot(jnp.argmax(noisy, -1), noisy.shape[-1])
    return hard + soft - jax.lax.stop_gradient(soft)


def guide_loss(log_shares: Float[Array, "users networks"], hits: Array, menu: Menu) -> Float[Array, " users"]:
    """Cross entropy of the marginals of width and depth and what a hit or a miss of the cheapest network asks for."""
    total = jnp.zeros(log_shares.shape[0])
    for has, steepness in zip(menu.options, STEEPNESS, strict=True):
        marginal = jax.nn.logsumexp(log_shares[:, None, :] + jnp.log(has)[None], -1)
        large = jax.nn.softmax(steepness * jnp.log(2.0) * jnp.arange(has.shape[0]))
        target = jnp.where(hits[:, None], large[None, ::-1], large[None])
        total -= jnp.sum(target * marginal, -1)
    return total
