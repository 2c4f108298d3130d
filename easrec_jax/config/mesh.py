"""Settings of the devices of a run."""

from __future__ import annotations

from dataclasses import dataclass

from easrec_jax.typed import check, check_least, settle_types


@dataclass(frozen=True)
class MeshConfig:
    """On how many devices a run computes, and by which processes. Nothing of it changes what is computed but for rounding."""

    data: int = 1
    """Devices along the batch, each with a copy of the part of the item table that it has. 1 and 1: one device, as if there were
    no others."""
    items: int = 1
    """Devices along the item table: each has 1 / items of its rows, and of the optimiser's moments of them."""
    coordinator: str = ""
    """HOST:PORT of process 0, where nothing else tells (srun does): for runs of several processes, the same in all of them."""
    processes: int = 1
    """With coordinator: how many processes there are."""
    process: int = 0
    """With coordinator: which of them this one is, from 0."""

    def __post_init__(self) -> None:
        settle_types(self, "mesh")
        check_least(self, "mesh", 1, "data", "items", "processes")
        check(0 <= self.process < self.processes, "mesh.process", f"0 to {self.processes - 1}", self.process)
        check(self.devices >= self.processes, "mesh.data", "a device a process at least", f"{self.data} x {self.items}")
        alone = self.processes == 1 or bool(self.coordinator)
        check(alone, "mesh.coordinator", "HOST:PORT of process 0 with --mesh.processes above 1", self.coordinator)

    @property
    def devices(self) -> int:
        """How many devices the mesh has."""
        return self.data * self.items
