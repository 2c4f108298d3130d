"""What the rest of the house knows of a network, and of a supernet: pure functions of their weights.

Objects of these types are hashable and equal by content, so that they are static arguments of compiled programs, and two of
them that are equal share one program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jax import Array
from jaxtyping import Float, Int

from easrec_jax.architecture import Architecture
from easrec_jax.space import Space

Items = Int[Array, "batch length"]  # inner ids, left-aligned, 0 padding
Weights = Any  # a pytree of float32 arrays
ScoreFunction = Callable[[Any, Array], Array]  # (weights, items [batch length]) -> [batch items + 1]


@runtime_checkable
class Encoder(Protocol):
    """A network: `models.network.Network`, or a rival."""

    @property
    def architecture(self) -> Architecture: ...

    @property
    def num_items(self) -> int: ...

    @property
    def dropout(self) -> float: ...

    def init(self, key: Array) -> Weights:
        """Fresh weights; the key is consumed."""
        ...

    def encode(self, weights: Weights, items: Items, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        ...

    def encode_last(self, weights: Weights, items: Items, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event."""
        ...


@runtime_checkable
class Supernet(Protocol):
    """Shared weights of all networks of a space."""

    @property
    def space(self) -> Space: ...

    @property
    def num_items(self) -> int: ...

    @property
    def mixes(self) -> bool:
        """Whether it computes mixtures: `drawn` is a share for each network, [widths networks-of-a-width], summing to one.

        If not, it computes one network at a time: `drawn` is a row of the space's table.
        """
        ...

    def init(self, key: Array) -> Weights:
        """Fresh weights; the key is consumed."""
        ...

    def encode(
        self, weights: Weights, items: Items, drawn: Array, *, key: Array | None = None
    ) -> Float[Array, "batch length width"]:
        """Hidden state of what is drawn at every position; a key switches dropout on and is consumed."""
        ...

    def encode_last(
        self, weights: Weights, items: Items, drawn: Array, *, key: Array | None = None
    ) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event."""
        ...

    def cut(self, weights: Weights, architecture: Architecture) -> dict:
        """The weights of one network of the space, as `Network` wants them; `ValueError` if it is none of it."""
        ...

    def alone(self, weights: Weights, network: int) -> tuple[ScoreFunction, Any]:
        """(a scoring function, its weights) of one network, by its row in the space's table."""
        ...
