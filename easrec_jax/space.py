"""The networks that a search chooses from."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from easrec_jax.architecture import Architecture, full_architecture
from easrec_jax.config import Config, pruned_size


@dataclass(frozen=True)
class SearchSpace:
    """The m x L networks of a supernet: candidate i's size, shared by all layers, and a depth of 1..L.

    `largest` is the unpruned network; `sizes[i]` is candidate i's (width, inner).
    """

    largest: Architecture
    sizes: tuple[tuple[int, int], ...]

    @property
    def num_candidates(self) -> int:
        return len(self.sizes)

    @property
    def num_layers(self) -> int:
        return self.largest.depth

    def architecture(self, candidate: int, depth: int) -> Architecture:
        """The network of candidate `candidate` (from 0) that exits after layer `depth` (from 1)."""
        width, inner = self.sizes[candidate]
        return dataclasses.replace(self.largest, width=width, inner=inner, depth=depth)

    def locate(self, architecture: Architecture) -> tuple[int, int]:
        """(candidate, depth) of an architecture of this space; `ValueError` if it is none of it."""
        for candidate in range(self.num_candidates):
            if (
                1 <= architecture.depth <= self.num_layers
                and self.architecture(candidate, architecture.depth) == architecture
            ):
                return candidate, architecture.depth
        raise ValueError(f"not in the search space {json.dumps(self.sizes)} x {self.num_layers} layers: {architecture}")


FACTORS = ("width", "depth", "heads", "gate_layers", "attention")  # of a wide space: what is chosen once a network


@dataclass(frozen=True)
class WideSpace:
    """All networks of independent choices: width, depth, heads, gates and attention, and an inner size for each layer.

    `largest` is the network of the config's own sizes, `largest.depth` the most layers. A network is a row of `choices`.
    """

    largest: Architecture
    widths: tuple[int, ...]
    inners: tuple[int, ...]
    heads: tuple[int, ...]
    gate_layers: tuple[int, ...]
    attentions: tuple[str, ...]
    conv_width: int  # of recent_linrec
    per_layer: bool = True  # each layer has an inner size of its own

    @property
    def num_layers(self) -> int:
        return self.largest.depth

    @property
    def factors(self) -> dict[str, tuple]:
        """What is chosen once a network, by name, in the order of the columns of `choices`."""
        depths = tuple(range(1, self.num_layers + 1))
        options = (self.widths, depths, self.heads, self.gate_layers, self.attentions)
        return dict(zip(FACTORS, options, strict=True))

    @cached_property
    def choices(self) -> np.ndarray:
        """int32 [networks, factors + layers]: the option of each factor, then of each layer's inner size, -1 beyond the depth."""
        once = [range(len(options)) for options in self.factors.values()]
        rows = []
        for picked in itertools.product(*once):
            depth = picked[1] + 1
            unused = (-1,) * (self.num_layers - depth)
            sizes = range(len(self.inners))
            inner = itertools.product(sizes, repeat=depth) if self.per_layer else ((size,) * depth for size in sizes)
            rows += [(*picked, *each, *unused) for each in inner]
        return np.array(rows, np.int32)

    def architecture(self, network: int) -> Architecture:
        """The network of that row of `choices`."""
        row = self.choices[network]
        picked = {name: options[at] for (name, options), at in zip(self.factors.items(), row, strict=False)}
        inner = tuple(self.inners[at] for at in row[len(picked) :] if at >= 0)
        conv_width = self.conv_width if picked["attention"] == "recent_linrec" else 0
        return dataclasses.replace(self.largest, inner=inner, conv_width=conv_width, **picked)

    def locate(self, architecture: Architecture) -> int:
        """The row of an architecture of this space; `ValueError` if it is none of it."""
        try:
            row = [options.index(getattr(architecture, name)) for name, options in self.factors.items()]
            row += [self.inners.index(size) for size in architecture.inner_sizes]
        except ValueError:
            row = []
        row += [-1] * (self.choices.shape[1] - len(row))
        found = np.flatnonzero((self.choices == row).all(1))
        if not len(found) or self.architecture(int(found[0])) != architecture:
            raise ValueError(f"not in the search space {self.factors} x inner {self.inners}: {architecture}")
        return int(found[0])


def search_space(config: Config) -> SearchSpace:
    """The paper's space: `search.prune` applied to hidden and inner size alike (in pairs, no free mix), by depth."""
    model = config.model
    sizes = tuple((pruned_size(model.width, x), pruned_size(model.inner, x)) for x in config.search.prune)
    return SearchSpace(largest=full_architecture(model), sizes=sizes)


def wide_space(config: Config) -> WideSpace:
    """The space of independent choices; what a config leaves empty is the model's own."""
    model, search = config.model, config.search
    return WideSpace(
        largest=full_architecture(model),
        widths=tuple(pruned_size(model.width, x) for x in search.prune),
        inners=tuple(pruned_size(model.inner, x) for x in search.inner_prune or (0.0,)),
        heads=search.heads or (model.heads,),
        gate_layers=search.gate_layers or (model.gate_layers,),
        attentions=search.attentions or (model.attention,),
        conv_width=model.conv_width,
        per_layer=search.per_layer,
    )


def space_of(config: Config) -> SearchSpace | WideSpace:
    """The space that a config's search goes through."""
    return wide_space(config) if config.search.wide else search_space(config)
