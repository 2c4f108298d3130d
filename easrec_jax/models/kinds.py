"""The networks that a model folder may hold: of transformer layers, or of cells."""

from __future__ import annotations

from easrec_jax.cells import AnyArchitecture, CellArchitecture
from easrec_jax.models.cells import Cells
from easrec_jax.models.encoder import ModuleEncoder
from easrec_jax.models.network import Network

Served = Network | ModuleEncoder


def network_of(architecture: AnyArchitecture, num_items: int, dropout: float = 0.0) -> Served:
    """The network of an architecture; each has `encode`, `exits`, `encode_last`, `start` and `step`."""
    if isinstance(architecture, CellArchitecture):
        return ModuleEncoder(Cells(architecture, num_items, dropout))
    return Network(architecture, num_items, dropout)
