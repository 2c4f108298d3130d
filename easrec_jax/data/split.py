"""Leave-one-out by time: last item test, the one before it validation, the rest training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from easrec_jax.data.interactions import Interactions

Part = Literal["validation", "test"]


@dataclass(frozen=True)
class Split:
    """Views into one `Interactions`; nothing is copied.

    User u trains on `items[start[u]:train_end[u]]`; its validation target is `items[train_end[u]]`, its test target the
    item after that. Every history has at least three items.
    """

    data: Interactions

    def __post_init__(self) -> None:
        shortest = int(self.data.lengths.min())
        if shortest < 3:
            raise ValueError(
                f"leave-one-out needs histories of at least 3 items, the shortest has {shortest}: use data.min_history"
            )

    @property
    def start(self) -> np.ndarray:
        """int64 [users], where each history begins."""
        return self.data.offsets[:-1]

    @property
    def train_end(self) -> np.ndarray:
        """int64 [users], where the training items end: the position of the validation item."""
        return self.data.offsets[1:] - 2

    def targets(self, part: Part) -> np.ndarray:
        """int32 [users], the held-out item of each user."""
        return self.data.items[self.history_end(part)]

    def history_end(self, part: Part) -> np.ndarray:
        """int64 [users]; at test time the history includes the validation item."""
        return self.train_end + (part == "test")

    def popularity(self) -> np.ndarray:
        """int64 [items + 1], training interactions of each inner id."""
        counts = np.bincount(self.data.items, minlength=self.data.num_items + 1)
        held_out = np.concatenate([self.targets("validation"), self.targets("test")])
        return counts - np.bincount(held_out, minlength=self.data.num_items + 1)
