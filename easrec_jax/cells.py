"""What a network of cells is, as data: AdaRec's students (arXiv 2107.07173), with operations that read no later event.

A cell has an input F_0 and three nodes; F_i is the sum over j < i of an operation applied to relu(F_j). So six edges, each with one
of ten operations, the same six in all cells of a network.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from easrec_jax.architecture import Architecture
from easrec_jax.typed import check

NODES = 3
EDGES = tuple((source, node) for node in range(1, NODES + 1) for source in range(node))
KIND = "cells"  # in architecture.json; networks of transformer layers have none


class Operation(NamedTuple):
    """How the events so far are read: `taps` of them, `dilation` apart."""

    kind: str
    taps: int = 1
    dilation: int = 1

    @property
    def lag(self) -> int:
        """How many events it looks back."""
        return (self.taps - 1) * self.dilation


CONVOLUTIONS = {f"conv{taps}_{apart}": Operation("conv", taps, apart) for taps in (3, 5) for apart in (1, 2, 4)}
OPERATIONS = CONVOLUTIONS | {
    "max3": Operation("max", 3), "mean3": Operation("mean", 3), "identity": Operation("identity"), "zero": Operation("zero"),
}  # fmt: skip
NAMES = tuple(OPERATIONS)


def operation_cost(name: str) -> float:
    """FLOPs of an operation over those of the dearest, a convolution of five events."""
    operation = OPERATIONS[name]
    return operation.taps / 5 if operation.kind == "conv" else 0.0


@dataclass(frozen=True)
class CellArchitecture:
    """A network of `depth` cells of `width` channels that reads `max_length` events.

    `operations` are those of the edges, in the order of `EDGES`. Raises `ValueError` on what is no such network.
    """

    width: int
    depth: int
    operations: tuple[str, ...]
    max_length: int

    def __post_init__(self) -> None:
        for name in ("width", "depth", "max_length"):
            value = getattr(self, name)
            check(type(value) is int and value >= 1, f"architecture.{name}", "an integer of at least 1", value)
        known = len(self.operations) == len(EDGES) and set(self.operations) <= set(NAMES)
        check(known, "architecture.operations", f"{len(EDGES)} of {', '.join(NAMES)}", self.operations)

    @property
    def causal(self) -> bool:
        """Position t's output depends on positions up to t alone."""
        return True

    @property
    def times(self) -> str:
        """What it reads of times: nothing."""
        return "no"

    @property
    def reads_times(self) -> bool:
        """False."""
        return False

    @property
    def cost(self) -> float:
        """The mean cost of its operations, in [0, 1]."""
        return sum(map(operation_cost, self.operations)) / len(EDGES)

    def to_json(self) -> dict:
        """Its fields and its kind, as architecture.json has them."""
        return {"kind": KIND} | dataclasses.asdict(self)

    @classmethod
    def from_json(cls, tree: dict, *, source: str = "architecture") -> CellArchitecture:
        """The inverse of `to_json`; further keys are ignored, missing ones raise."""
        names = [f.name for f in dataclasses.fields(cls)]
        if missing := [name for name in names if name not in tree]:
            raise ValueError(f"{source}: missing fields {missing}")
        operations = tree["operations"]
        try:
            listed = isinstance(operations, list | tuple) and all(isinstance(name, str) for name in operations)
            check(listed, "architecture.operations", "a list of names", operations)
            return cls(tree["width"], tree["depth"], tuple(operations), tree["max_length"])
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def describe(self) -> str:
        """One line for people."""
        edges = ", ".join(f"{s}>{n} {name}" for (s, n), name in zip(EDGES, self.operations, strict=True))
        return f"{self.depth} x cell (width {self.width}; {edges})"


AnyArchitecture = Architecture | CellArchitecture


def architecture_from_json(tree: dict, *, source: str) -> AnyArchitecture:
    """The architecture that architecture.json describes, by its kind. Raises `ValueError` naming `source`."""
    kind = tree.get("kind")
    check(kind in (None, KIND), f"{source}: kind", f"{KIND!r}, or none", kind)
    return (CellArchitecture if kind == KIND else Architecture).from_json(tree, source=source)
