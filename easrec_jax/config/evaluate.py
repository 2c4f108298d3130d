"""Settings of validation and test figures."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

from easrec_jax.typed import check, check_least, settle_types


@dataclass(frozen=True)
class EvaluateConfig:
    """How validation and test figures are measured."""

    protocols: tuple[str, ...] = ("pop100", "pop100_unseen", "full", "full_unseen")
    """Protocols of the final figures: full, uniN or popN, each also with _unseen; full_unseen_window, full_seen_zero."""
    select_by: str = "full"
    """Protocol whose validation NDCG@10 chooses the epoch."""
    ks: tuple[int, ...] = (10,)
    """Cut-offs K of the metrics; 10 is added where it is missing (the choice of epochs uses NDCG@10)."""
    ties: Literal["expected", "pessimistic", "half"] = "expected"
    """Items that score as the target does: the average over their orders, or all above it ("half": an older name of "expected")."""
    batch_size: int = 32
    """Users of model.max_length events a batch."""
    buckets: int = 4
    """Static lengths of batches up to model.max_length; more waste less padding, each is compiled."""
    negatives_seed: int = 2000
    """Seed of the sampled negatives, and of the users of evaluate.users."""
    users: int = 0
    """Users whose validation items choose epochs and networks, a fixed sample (faster); 0: all. Final figures are of all users."""

    def __post_init__(self) -> None:
        settle_types(self, "evaluate")
        if self.ties == "half":
            object.__setattr__(self, "ties", "expected")
        check(all(k >= 1 for k in self.ks), "evaluate.ks", "cut-offs of at least 1", self.ks)
        if 10 not in self.ks:
            warnings.warn("evaluate.ks: 10 added: the choice of epochs uses NDCG@10", stacklevel=2)
            object.__setattr__(self, "ks", tuple(sorted({*self.ks, 10})))
        check_least(self, "evaluate", 1, "batch_size", "buckets")
        check_least(self, "evaluate", 0, "users")
