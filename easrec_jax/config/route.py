"""Settings of the router, which chooses for each history one of an elastic network's sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from easrec_jax.typed import check, check_least, settle_types


@dataclass(frozen=True)
class RouteConfig:
    """The training of a router over the networks on the front of an elastic search, whose weights stay as they are."""

    budget: float = 0.45
    """Mean FLOPs of a request, the router's own included, over those of the largest network."""
    form: Literal["expected", "straight_through", "ridge"] = "expected"
    """What the router learns from: the exact mean over all networks; or one network drawn for each user, straight-through, as
    CANet does (which has guide and uniform at .01). ridge: neither, nor epochs, but what each network is worth to a user is predicted
    by ridge regression, in closed form."""
    ridge: float = 1.0
    """Of the form ridge: its strength over the variance of a feature: at 1 what a feature says alone counts half."""
    guide: float = 0.0
    """Weight of CANet's guide: small sizes for users whose next item the cheapest network finds, large ones for the others."""
    uniform: float = 0.0
    """Weight of the cross entropy of the uniform distribution over networks and each user's."""
    width: int = 32
    """Channels of the elastic network's first layer that the router reads with."""
    held_out: float = 0.1
    """Share of users whose validation items say what the router is worth; it learns from the others'."""
    epochs: int = 40
    """Epochs over the validation items."""
    batch_size: int = 128
    """Users a batch."""
    learning_rate: float = 0.02
    """Adam's highest rate; it falls to zero as a cosine."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW)."""
    penalty: float = 5.0
    """What mean FLOPs beyond the budget cost at once, and those below it save (method of multipliers)."""
    price_rate: float = 0.01
    """Rate at which a step's mean FLOPs beyond the budget raise their price (dual ascent)."""
    least_share: float = 0.01
    """Networks that fewer of the users get are left out: each is a program to keep."""

    def __post_init__(self) -> None:
        settle_types(self, "route")
        check(0.0 < self.budget <= 1.0, "route.budget", "a fraction in (0, 1]", self.budget)
        check(0.0 < self.held_out < 1.0, "route.held_out", "a share in (0, 1)", self.held_out)
        check(0.0 <= self.least_share < 1.0, "route.least_share", "a share in [0, 1)", self.least_share)
        check_least(self, "route", 1, "width", "epochs", "batch_size")
        check_least(self, "route", 0, "guide", "uniform", "penalty", "weight_decay")
        for name in ("learning_rate", "price_rate", "ridge"):
            check(getattr(self, name) > 0, f"route.{name}", "a number above 0", getattr(self, name))
