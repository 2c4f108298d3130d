"""The networks that a search chooses from, as one table."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from easrec_jax.architecture import RECENT, Architecture, full_architecture
from easrec_jax.config import Config, pruned_size

FACTORS = ("width", "depth", "heads", "gate_layers", "attention")  # what is chosen once a network, in the table's order
FIRST_INNER = len(FACTORS)  # the table's column of the first layer's inner size


@dataclass(frozen=True)
class Space:
    """Networks as rows of a table of choices: width, depth, heads, gates, attention, and an inner size for each layer.

    `largest` is the network of the config's own sizes, `largest.depth` the most layers. `inner_of` says how inner sizes are
    chosen: "width" pairs them with the widths, place by place (the paper's candidates: hidden and inner size pruned alike);
    "layer" gives each layer its own; "network" one to all layers. Widths come first in the table and each has as many
    networks as the next, so that numbers of networks are also read as an array of `shape`, [widths networks-of-a-width].
    """

    largest: Architecture
    widths: tuple[int, ...]
    inners: tuple[int, ...]
    heads: tuple[int, ...]
    gate_layers: tuple[int, ...]
    attentions: tuple[str, ...]
    conv_width: int = 0  # of recent_linrec
    inner_of: Literal["width", "layer", "network"] = "width"

    @property
    def num_layers(self) -> int:
        """The most layers."""
        return self.largest.depth

    @property
    def shape(self) -> tuple[int, int]:
        """(widths, networks of each width)."""
        return len(self.widths), len(self.networks) // len(self.widths)

    @property
    def factors(self) -> dict[str, tuple]:
        """The options of what is chosen once a network, by name, in the order of the table's first columns."""
        depths = tuple(range(1, self.num_layers + 1))
        options = (self.widths, depths, self.heads, self.gate_layers, self.attentions)
        return dict(zip(FACTORS, options, strict=True))

    @cached_property
    def networks(self) -> np.ndarray:
        """int32 [networks, factors + layers]: the option of each factor, then of each layer's inner size, -1 beyond the depth."""
        rows = []
        for picked in itertools.product(*(range(len(options)) for options in self.factors.values())):
            width, depth = picked[0], picked[1] + 1
            beyond = (-1,) * (self.num_layers - depth)
            rows += [(*picked, *inner, *beyond) for inner in self._inner_options(width, depth)]
        return np.array(rows, np.int32)

    @cached_property
    def exits(self) -> dict[int, tuple[int, ...]]:
        """Of each network of most layers, by row: the rows of the networks that end after its first layer, its second, and so on."""
        rows = {tuple(row): number for number, row in enumerate(self.networks.tolist())}
        found = {}
        for number in np.flatnonzero(self.networks[:, 1] == self.num_layers - 1).tolist():
            whole = self.networks[number].tolist()
            ends = []
            for depth in range(self.num_layers):
                inner = [size if layer <= depth else -1 for layer, size in enumerate(whole[FIRST_INNER:])]
                ends.append(rows[(whole[0], depth, *whole[2:FIRST_INNER], *inner)])
            found[number] = tuple(ends)
        return found

    def _inner_options(self, width: int, depth: int) -> list[tuple[int, ...]]:
        if self.inner_of == "width":
            return [(width,) * depth]
        sizes = range(len(self.inners))
        if self.inner_of == "network":
            return [(size,) * depth for size in sizes]
        return list(itertools.product(sizes, repeat=depth))

    def architecture(self, network: int) -> Architecture:
        """The network of that row of the table."""
        row = self.networks[network]
        picked = {name: options[at] for (name, options), at in zip(self.factors.items(), row, strict=False)}
        inner = tuple(self.inners[at] for at in row[FIRST_INNER:] if at >= 0)
        conv_width = self.conv_width if picked["attention"] == RECENT else 0
        return dataclasses.replace(self.largest, inner=inner, conv_width=conv_width, **picked)

    def network(self, architecture: Architecture) -> int:
        """The row of an architecture of this space (of equal networks the first); `ValueError` if it is none of it."""
        if architecture not in self._rows:
            raise ValueError(f"not in the search space {self.factors} x inner {self.inners}: {architecture}")
        return self._rows[architecture]

    @cached_property
    def _rows(self) -> dict[Architecture, int]:
        return {self.architecture(number): number for number in reversed(range(len(self.networks)))}


def space_of(config: Config) -> Space:
    """The space that a config's search goes through; what the config leaves open is the model's own."""
    model, search = config.model, config.search
    largest = full_architecture(model)
    if not search.wide:
        return Space(
            largest=largest,
            widths=tuple(pruned_size(model.width, x) for x in search.prune),
            inners=tuple(pruned_size(model.inner, x) for x in search.prune),
            heads=(model.heads,),
            gate_layers=(model.gate_layers,),
            attentions=(model.attention,),
            conv_width=largest.conv_width,
        )
    return Space(
        largest=largest,
        widths=tuple(pruned_size(model.width, x) for x in search.prune),
        inners=tuple(pruned_size(model.inner, x) for x in search.inner_prune or (0.0,)),
        heads=search.heads or (model.heads,),
        gate_layers=search.gate_layers or (model.gate_layers,),
        attentions=search.attentions or (model.attention,),
        conv_width=model.conv_width,
        inner_of="layer" if search.per_layer else "network",
    )
