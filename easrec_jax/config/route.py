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
    form: Literal["expected", "straight_through"] = "expected"
    """What the router learns from: the exact mean over all networks; or one network drawn for each user, straight-through, as
    CANet does (which has guide and uniform at .01)."""
    guide: float = 0.0
    """Weight of CANet's guide: small sizes for users whose next item the cheapest network finds, large ones for the others."""
    uniform: float = 0.0
    """Weight of the cross entropy of the uniform distribution over networks and each user's."""
    width: int = 32
    """Hidden size of the router's one layer, channels."""
    dropout: float = 0.2
    """Dropout rate of the router."""
    held_out: float = 0.2
    """Share of users whose validation items choose the epoch and set the budget; the router learns from the others'."""
    epochs: int = 30
    """Most epochs over the validation items."""
    batch_size: int = 128
    """Users of model.max_length events a batch."""
    learning_rate: float = 0.003
    """Adam's highest rate; it falls to zero as a cosine."""
    price_rate: float = 0.01
    """Rate at which a step's mean FLOPs beyond the budget raise their price (dual ascent)."""
    penalty: float = 5.0
    """What FLOPs beyond the budget cost at once, and those below it save, in nats (method of multipliers)."""
    least_share: float = 0.01
    """Networks that fewer of the held-out users get are left out: each is a program to keep."""
    patience: int = 30
    """Stop after this many epochs without a better NDCG@10 of the held-out users."""

    def __post_init__(self) -> None:
        settle_types(self, "route")
        check(0.0 < self.budget <= 1.0, "route.budget", "a fraction in (0, 1]", self.budget)
        check(0.0 < self.held_out < 1.0, "route.held_out", "a share in (0, 1)", self.held_out)
        check(0.0 <= self.dropout < 1.0, "route.dropout", "a rate in [0, 1)", self.dropout)
        check(0.0 <= self.least_share < 1.0, "route.least_share", "a share in [0, 1)", self.least_share)
        check_least(self, "route", 1, "width", "epochs", "batch_size", "patience")
        check_least(self, "route", 0, "guide", "uniform", "penalty")
        for name in ("learning_rate", "price_rate"):
            check(getattr(self, name) > 0, f"route.{name}", "a number above 0", getattr(self, name))
