"""What the rest of the house knows of a network, and of a supernet: pure functions of their weights.

Objects of these types are hashable and equal by content, so that they are static arguments of compiled programs, and two of
them that are equal share one program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from easrec_jax.architecture import Architecture
from easrec_jax.cells import AnyArchitecture
from easrec_jax.data.clock import Timed
from easrec_jax.precision import in_float32
from easrec_jax.space import Space

Items = Int[Array, "batch length"]  # inner ids, left-aligned, 0 padding
Events = Items | Timed  # the second of networks that read times
Weights = Any  # a pytree of float32 arrays
ScoreFunction = Callable[[Any, Array], Array]  # (weights, items [batch length]) -> [batch items + 1]


@runtime_checkable
class Encoder(Protocol):
    """A network: `models.network.Network`, or a rival."""

    @property
    def name(self) -> str:
        """What kind of network it is, for checkpoints."""
        ...

    @property
    def architecture(self) -> AnyArchitecture:
        """Its sizes."""
        ...

    @property
    def num_items(self) -> int:
        """Size of the catalogue."""
        ...

    @property
    def dropout(self) -> float:
        """Its rate in training."""
        ...

    def clone(self, **fields: Any) -> Encoder:
        """The same network with another `dropout` or `num_items`."""
        ...

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
class Layered(Encoder, Protocol):
    """A network whose layers can be read one by one, so that it can teach and be taught."""

    def exits(self, weights: Weights, items: Items, *, key: Array | None = None) -> list[Array]:
        """Hidden states after each of `architecture.depth` layers, [batch length width] each; the last is `encode`'s."""
        ...


@runtime_checkable
class Supernet(Protocol):
    """Shared weights of all networks of a space."""

    @property
    def space(self) -> Space:
        """Its networks."""
        ...

    @property
    def num_items(self) -> int:
        """Size of the catalogue."""
        ...

    @property
    def dropout(self) -> float:
        """Its rate in training."""
        ...

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

    def exits(
        self, weights: Weights, items: Items, network: Array, *, key: Array | None = None
    ) -> Float[Array, "layers batch length width"]:
        """Hidden states after each layer of one network of most layers, by its row in the space's table."""
        ...

    def cut(self, weights: Weights, architecture: Architecture) -> dict:
        """The weights of one network of the space, as `Network` wants them; `ValueError` if it is none of it."""
        ...

    def alone(self, weights: Weights, network: int) -> tuple[ScoreFunction, Any]:
        """(a scoring function, its weights) of one network, by its row in the space's table."""
        ...


@dataclass(frozen=True)
class ModuleEncoder:
    """An `Encoder` whose layers one linen module declares: it has `architecture`, `num_items`, `dropout`, `encode`, `encode_last`.

    The module may have `exits`, and `start` and `step`.
    """

    module: Any

    @property
    def name(self) -> str:
        """The module's class."""
        return type(self.module).__name__

    @property
    def architecture(self) -> AnyArchitecture:
        """The module's."""
        return self.module.architecture

    @property
    def num_items(self) -> int:
        """The module's."""
        return self.module.num_items

    @property
    def dropout(self) -> float:
        """The module's rate."""
        return self.module.dropout

    def clone(self, **fields: Any) -> ModuleEncoder:
        """The same network with another `dropout` or `num_items`."""
        return ModuleEncoder(self.module.clone(**fields))

    @in_float32
    def init(self, key: Array) -> Weights:
        """Fresh weights; the key is consumed."""
        items = jax.ShapeDtypeStruct((1, min(2, self.architecture.max_length)), jnp.int32)
        # no forward pass: it compiles long
        return self.module.lazy_init(key, items, method=type(self.module).encode)["params"]

    def encode(self, weights: Weights, items: Items, *, key: Array | None = None) -> Float[Array, "batch length width"]:
        """Hidden state at every position; a key switches dropout on and is consumed."""
        return self.module.apply({"params": weights}, items, key=key, method="encode")

    def exits(self, weights: Weights, items: Items, *, key: Array | None = None) -> list[Array]:
        """Hidden states after each layer, [batch length width] each, where the module has `exits`."""
        return self.module.apply({"params": weights}, items, key=key, method="exits")

    def encode_last(self, weights: Weights, items: Items, *, key: Array | None = None) -> Float[Array, "batch width"]:
        """Hidden state at each user's last event."""
        return self.module.apply({"params": weights}, items, key=key, method="encode_last")

    def start(self, weights: Weights, items: Items) -> tuple[Float[Array, "batch width"], Any]:
        """Hidden state at the last event, and the state from which `step` continues, where the module streams."""
        return self.module.apply({"params": weights}, items, method="start")

    def step(
        self, weights: Weights, state: Any, items: Int[Array, " batch"]
    ) -> tuple[Float[Array, "batch width"], Any]:
        """Hidden state after one more event a user, where the module streams."""
        return self.module.apply({"params": weights}, state, items, method="step")
