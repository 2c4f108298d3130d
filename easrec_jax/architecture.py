"""What a network is, as data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from easrec_jax.config import ATTENTIONS, CAUSAL_ATTENTIONS, TIMES, ModelConfig
from easrec_jax.typed import check

# the mixer with decays, which a config gives its convolution and, if it says so, decays that are learned
RECENT = "recent_linrec"


@dataclass(frozen=True)
class Architecture:
    """One sequential recommender: `depth` transformer layers over an item table, equal but for their inner sizes.

    `width` is the hidden size d_i, `inner` the feed-forward's D_i, both in channels, `inner` one number or one a layer;
    `max_length` is N, in events; `times` is what it reads of them, one of `config.TIMES`. Raises `ValueError` on sizes that do not
    fit together.
    """

    width: int
    inner: int | tuple[int, ...]
    depth: int
    heads: int
    max_length: int
    attention: str
    gate_layers: int
    conv_width: int = 0
    learn_decay: bool = False
    times: str = "no"

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "max_length"):
            value = getattr(self, name)
            check(isinstance(value, int) and value >= 1, f"architecture.{name}", "an integer of at least 1", value)
        sizes = self.inner if isinstance(self.inner, tuple) else (self.inner,)
        sized = all(type(size) is int and size >= 1 for size in sizes) and len(sizes) in (1, self.depth)
        expected = f"an integer of at least 1, or {self.depth} of them, one a layer"
        check(sized, "architecture.inner", expected, self.inner)
        if len(set(sizes)) == 1:  # one form for one network
            object.__setattr__(self, "inner", sizes[0])
        check(self.width % self.heads == 0, "architecture.width", f"a multiple of heads = {self.heads}", self.width)
        check(self.attention in ATTENTIONS, "architecture.attention", f"one of {ATTENTIONS}", self.attention)
        check(self.gate_layers in (0, 1, 2), "architecture.gate_layers", "0, 1 or 2", self.gate_layers)
        check(self.times in TIMES, "architecture.times", f"one of {TIMES}", self.times)
        check(0 <= self.conv_width <= 16, "architecture.conv_width", "0 to 16", self.conv_width)

    @property
    def inner_sizes(self) -> tuple[int, ...]:
        """The inner size of each layer, channels."""
        return self.inner if isinstance(self.inner, tuple) else (self.inner,) * self.depth

    @property
    def causal(self) -> bool:
        """Whether position t's output depends on positions up to t alone."""
        return self.attention in CAUSAL_ATTENTIONS

    @property
    def reads_times(self) -> bool:
        """Whether it reads the times of events and of the request."""
        return self.times != "no"

    def to_json(self) -> dict:
        """Its fields, as architecture.json has them; `times` where it reads any: earlier versions knew none."""
        tree = dataclasses.asdict(self)
        return tree if self.reads_times else {name: value for name, value in tree.items() if name != "times"}

    @classmethod
    def from_json(cls, tree: dict, *, source: str = "architecture") -> Architecture:
        """The inverse of `to_json`; further keys (FLOPs, how it was chosen) are ignored, missing ones raise."""
        tree = {"times": cls.times} | tree
        names = [f.name for f in dataclasses.fields(cls)]
        missing = [name for name in names if name not in tree]
        if missing:
            raise ValueError(f"{source}: missing fields {missing}")
        kinds = {"int": int, "str": str, "bool": bool}
        found: Any = {name: tree[name] for name in names}
        try:
            for field in dataclasses.fields(cls):
                kind, value = kinds.get(str(field.type)), found[field.name]
                check(kind in (None, type(value)), f"architecture.{field.name}", f"{kind and kind.__name__}", value)
            inner = tuple(found["inner"]) if isinstance(found["inner"], list | tuple) else found["inner"]
            sizes = inner if isinstance(inner, tuple) else (inner,)
            check(all(type(size) is int for size in sizes), "architecture.inner", "int, or a list of them", inner)
            return cls(**found | {"inner": inner})
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def describe(self) -> str:
        """One line for people."""
        gates = f", {self.gate_layers}-layer gates" if self.gate_layers else ""
        inner = ", ".join(map(str, self.inner)) if isinstance(self.inner, tuple) else self.inner
        times = f", reads {'gaps and ' * (self.times == 'calendar')}{self.times}" if self.reads_times else ""
        return f"{self.depth} x (width {self.width}, inner {inner}, {self.heads} heads, {self.attention}{gates}{times})"


def full_architecture(model: ModelConfig) -> Architecture:
    """The network of the config's own sizes, nothing pruned."""
    return Architecture(
        width=model.width,
        inner=model.inner,
        depth=model.layers,
        heads=model.heads,
        max_length=model.max_length,
        attention=model.attention,
        gate_layers=model.gate_layers,
        conv_width=model.conv_width if model.attention == RECENT else 0,
        learn_decay=model.learn_decay and model.attention == RECENT,
        times=model.times,
    )


def sasrec_architecture(model: ModelConfig, attention: str = "softmax") -> Architecture:
    """SASRec of the config's width: two softmax layers without gates (Kang and McAuley, ICDM 2018), or of another attention."""
    return full_architecture(dataclasses.replace(model, layers=2, attention=attention, gate_layers=0, times="no"))
