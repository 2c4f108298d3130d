"""The router: reads a history with the first layer of an elastic network and says which of its networks shall answer.

CANet (Liu et al., ICDM 2022) gives the router an item table and a layer of its own. Here it has a linear head alone, over what
a one-layer corner of the elastic network makes of the history: its hidden state, how sure it is of the next item, and how long
the history is. Who needs a large network is told best by where a small one is unsure, and one label a user does not train a table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from easrec_jax.architecture import Architecture
from easrec_jax.models.corner import corner
from easrec_jax.models.cost import request_flops
from easrec_jax.models.encoder import Items
from easrec_jax.models.network import Network, item_table

SIGNS = 3  # features beside the hidden state: the highest log-probability, the entropy, the length


@dataclass(frozen=True)
class Router:
    """Scores of `choices` networks for each history; the highest one answers.

    It reads with `network`, whose weights are the elastic network's, and learns its head: `kernel` [width + SIGNS, choices] and
    `bias`.
    """

    network: Network
    choices: int

    @classmethod
    def beside(cls, largest: Architecture, num_items: int, choices: int, *, width: int) -> Router:
        """The router of an elastic network, which reads with its first layer, at most `width` channels of it."""
        width = min(width, largest.width)
        # as the space's own candidates: the inner size in proportion
        inner = max(1, round(width / largest.width * largest.inner_sizes[0]))
        return cls(Network(replace(largest, width=width, inner=inner, depth=1), num_items), choices)

    def reader(self, weights: dict) -> dict:
        """The weights that it reads with, out of the elastic network's."""
        return corner(weights, self.network.architecture)

    def init_head(self) -> dict:
        """A head to which all choices are alike."""
        rows = self.network.architecture.width + SIGNS
        return {"kernel": jnp.zeros((rows, self.choices)), "bias": jnp.zeros(self.choices)}

    def features(self, reader: dict, items: Items) -> Float[Array, "batch features"]:
        """What the head sees of each history; the events that count are N at most."""
        hidden = self.network.encode_last(reader, items)
        log_shares = jax.nn.log_softmax(hidden @ item_table(reader)[1:].T, -1)
        entropy = -jnp.sum(jnp.exp(log_shares) * log_shares, -1)
        count = jnp.sum(items > 0, -1)
        length = jnp.log1p(count) / jnp.log1p(float(self.network.architecture.max_length))
        signs = [jnp.max(log_shares, -1), entropy, length]
        return jnp.concatenate([hidden, jnp.stack(signs, -1)], -1)

    def scores(self, head: dict, features: Float[Array, "batch features"]) -> Float[Array, "batch choices"]:
        """What each network scores."""
        return features @ head["kernel"] + head["bias"][None, :]

    def keep(self, head: dict, choices: list[int], added: Float[Array, " choices"]) -> tuple[Router, dict]:
        """The router over some of its networks, `added` (of all) being added to their scores."""
        at = jnp.asarray(choices)
        kept = {"kernel": head["kernel"][:, at], "bias": (head["bias"] + added)[at]}
        return replace(self, choices=len(choices)), kept

    @property
    def flops(self) -> int:
        """FLOPs to choose for one user of `max_length` events: those of its network's answer, and the head."""
        architecture = self.network.architecture
        reading = request_flops(architecture, self.network.num_items)
        return reading + 2 * (architecture.width + SIGNS) * self.choices

    @property
    def parameters(self) -> int:
        """Trainable numbers of the head; all others are the elastic network's."""
        return (self.network.architecture.width + SIGNS + 1) * self.choices
