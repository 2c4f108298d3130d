"""What a teacher says of the targets of a batch, for the losses."""

from __future__ import annotations

from typing import Any, NamedTuple

from jax import Array
from jaxtyping import Float


class Teacher(NamedTuple):
    """What a teacher thinks of each target's place: its scores are `hidden . table^T`. Constants: nothing learns through them."""

    hidden: Float[Array, "targets teacher_width"]
    table: Any  # [rows teacher_width], whole or a `RowTable`, as the table that learns
    share: Float[Array, ""] | float
    """Of the teacher's probabilities in what is learned; the rest is the target."""
