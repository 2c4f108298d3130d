"""The spaces that experiments look at: the paper's as a table of networks, and the extent of a wide one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.space import space_of


class Grid(NamedTuple):
    """Every network of the paper's space, a row a candidate's sizes and a column a depth, and the unpruned one."""

    networks: list[list[Architecture]]
    largest: Architecture

    def place(self, architecture: Architecture) -> tuple[int, int]:
        """(candidate, from 0; depth, from 1). `ValueError` where it is none of these networks."""
        for candidate, row in enumerate(self.networks):
            if architecture in row:
                return candidate, row.index(architecture) + 1
        raise ValueError(f"expected a network of the space, got {architecture.describe()}")

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Width and inner size of each candidate, channels."""
        return [(row[0].width, row[0].inner_sizes[0]) for row in self.networks]


def paper_grid(config: Config) -> Grid:
    """The networks that `search.prune` and the depth span."""
    space = space_of(config)
    rows = np.arange(len(space.networks)).reshape(space.shape)
    return Grid([[space.architecture(int(number)) for number in row] for row in rows], space.largest)


def wide_extent(config: Config) -> tuple[Architecture, int]:
    """The largest network of the config's wide space, and how many there are."""
    space = space_of(config)
    return space.largest, len(space.networks)
