"""The router: a small network of its own that reads a history and says which of several networks shall answer it.

Source: CANet (Liu et al., ICDM 2022). Here it is one layer over an item table of its own, read at the last event, and a linear
head that also sees how long the history is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from easrec_jax.architecture import Architecture
from easrec_jax.models.cost import parameter_count, request_flops
from easrec_jax.models.encoder import Items
from easrec_jax.models.network import Network


@dataclass(frozen=True)
class Router:
    """Scores of `choices` networks for each history; the highest one answers.

    Weights are those of its `network`, and a head: `kernel` [width + 1, choices], whose last row reads the length, and `bias`.
    """

    network: Network
    choices: int

    @classmethod
    def beside(cls, largest: Architecture, num_items: int, choices: int, *, width: int, dropout: float = 0.0) -> Router:
        """The router of an elastic network: one layer of its kind, at most as wide as that is."""
        width, inner = min(width, largest.width), min(2 * width, *largest.inner_sizes)
        one = replace(largest, width=width, inner=inner, depth=1)
        return cls(Network(one, num_items, dropout), choices)

    def with_head(self, network: dict) -> dict:
        """Fresh weights around those of its network: all choices score alike."""
        head = {
            "kernel": jnp.zeros((self.network.architecture.width + 1, self.choices)), "bias": jnp.zeros(self.choices)
        }  # fmt: skip
        return {"network": network, "head": head}

    def init(self, key: Array) -> dict:
        """Fresh weights; the key is consumed."""
        return self.with_head(self.network.init(key))

    def logits(self, weights: dict, items: Items, *, key: Array | None = None) -> Float[Array, "batch choices"]:
        """What each network scores for each history; a key switches dropout on and is consumed."""
        hidden = self.network.encode_last(weights["network"], items, key=key)
        count = jnp.sum(items > 0, -1)[:, None]
        length = jnp.log1p(count) / jnp.log1p(float(self.network.architecture.max_length))
        head = weights["head"]
        return jnp.concatenate([hidden, length], -1) @ head["kernel"] + head["bias"][None, :]

    def keep(self, weights: dict, choices: list[int], added: Float[Array, " choices"]) -> tuple[Router, dict]:
        """The router over some of its networks, `added` (of all) being added to their scores."""
        head = weights["head"]
        at = jnp.asarray(choices)
        kept = {"kernel": head["kernel"][:, at], "bias": (head["bias"] + added)[at]}
        return replace(self, choices=len(choices)), weights | {"head": kept}

    @property
    def flops(self) -> int:
        """FLOPs to choose for one user of `max_length` events, the products alone."""
        architecture = self.network.architecture
        return request_flops(architecture, 0) + 2 * (architecture.width + 1) * self.choices

    @property
    def parameters(self) -> int:
        """Trainable numbers, its item table included."""
        architecture = self.network.architecture
        head = (architecture.width + 2) * self.choices
        return parameter_count(architecture, self.network.num_items) + head


def router_template(router: Router) -> dict:
    """The shapes of its weights, nothing computed."""
    return jax.eval_shape(router.init, jax.random.key(0))
