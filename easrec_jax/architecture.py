"""What a network is, as data: one `Architecture`, and the `SearchSpace` of those a supernet holds."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from easrec_jax.config import Attention, Config, ModelConfig, check, pruned_size


@dataclass(frozen=True)
class Architecture:
    """One sequential recommender: `depth` equal transformer layers over an item table.

    `width` is the hidden size d_i, `inner` the feed-forward's D_i, both in channels; `max_length` is N, in events.
    Raises `ValueError` on sizes that do not fit together.
    """

    width: int
    inner: int
    depth: int
    heads: int
    max_length: int
    attention: str
    gate_layers: int
    conv_width: int = 0
    learn_decay: bool = False

    def __post_init__(self) -> None:
        for name in ("width", "inner", "depth", "heads", "max_length"):
            value = getattr(self, name)
            check(isinstance(value, int) and value >= 1, f"architecture.{name}", "an integer of at least 1", value)
        check(self.width % self.heads == 0, "architecture.width", f"a multiple of heads = {self.heads}", self.width)
        known = ("softmax", "linrec", "causal_linrec", "recent_linrec")
        check(self.attention in known, "architecture.attention", f"one of {known}", self.attention)
        check(self.gate_layers in (0, 1, 2), "architecture.gate_layers", "0, 1 or 2", self.gate_layers)
        check(0 <= self.conv_width <= 16, "architecture.conv_width", "0 to 16", self.conv_width)

    @property
    def causal(self) -> bool:
        """Whether position t's output depends on positions up to t alone."""
        return self.attention != "linrec"

    def to_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, tree: dict, *, source: str = "architecture") -> Architecture:
        """The inverse of `to_json`; further keys (FLOPs, how it was chosen) are ignored, missing ones raise."""
        names = [f.name for f in dataclasses.fields(cls)]
        missing = [name for name in names if name not in tree]
        if missing:
            raise ValueError(f"{source}: missing fields {missing}")
        kinds = {"int": int, "str": str, "bool": bool}
        try:
            for field in dataclasses.fields(cls):
                kind, value = kinds[str(field.type)], tree[field.name]
                check(type(value) is kind, f"architecture.{field.name}", f"{kind.__name__}", value)
            return cls(**{name: tree[name] for name in names})
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def describe(self) -> str:
        """One line for people."""
        gates = f", {self.gate_layers}-layer gates" if self.gate_layers else ""
        return f"{self.depth} x (width {self.width}, inner {self.inner}, {self.heads} heads, {self.attention}{gates})"


def full_architecture(model: ModelConfig) -> Architecture:
    """The network of the config's own sizes, nothing pruned."""
    return Architecture(
        width=model.width, inner=model.inner, depth=model.layers, heads=model.heads, max_length=model.max_length,
        attention=model.attention, gate_layers=model.gate_layers,
        conv_width=model.conv_width if model.attention == "recent_linrec" else 0,
        learn_decay=model.learn_decay and model.attention == "recent_linrec",
    )  # fmt: skip


def sasrec_architecture(model: ModelConfig, attention: Attention = "softmax") -> Architecture:
    """SASRec of the config's width: two softmax layers without gates (Kang and McAuley, ICDM 2018), or of another attention."""
    return full_architecture(dataclasses.replace(model, layers=2, attention=attention, gate_layers=0))


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


def search_space(config: Config) -> SearchSpace:
    """The space that a config spans: `search.prune` applied to hidden and inner size alike (SPEC: paired)."""
    model = config.model
    sizes = tuple((pruned_size(model.width, x), pruned_size(model.inner, x)) for x in config.search.prune)
    return SearchSpace(largest=full_architecture(model), sizes=sizes)
