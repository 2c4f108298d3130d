"""Settings of the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Literal, get_args

from easrec_jax.typed import check, check_least, settle_types

# An attention is a file of nn/mixers/, its folder says what it reads. Their names alone are read here: no JAX.
_MIXERS = Path(__file__).parents[1] / "nn" / "mixers"
CAUSAL_ATTENTIONS = tuple(module.name for module in iter_modules([str(_MIXERS / "causal")]))
ATTENTIONS = CAUSAL_ATTENTIONS + tuple(module.name for module in iter_modules([str(_MIXERS / "bidirectional")]))
Times = Literal["no", "gaps", "calendar"]
TIMES = get_args(Times)
if TYPE_CHECKING:
    Attention = str
else:
    Attention = Literal[ATTENTIONS]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network; of the largest one, where a search chooses."""

    width: int = 128
    """Hidden size d of the largest network, channels."""
    inner: int = 256
    """Inner size D of its feed-forward, channels."""
    layers: int = 4
    """Number of transformer layers L of the supernet; searched depths are 1..L."""
    heads: int = 4
    """Attention heads H; must divide every candidate's width."""
    max_length: int = 200
    """Longest history N the model reads, events."""
    attention: Attention = "recent_linrec"
    """softmax: SASRec; linrec: bidirectional linear; causal_linrec: its causal form; recent_linrec: with a decay a head."""
    conv_width: int = 4
    """Width of the causal depthwise convolution before recent_linrec, events; 0: none. Other attentions have none."""
    learn_decay: bool = False
    """Learn the decays of recent_linrec; otherwise they stay at their start values."""
    gate_layers: Literal[0, 1, 2] = 2
    """Layers of each data-aware gate; 0: no gates."""
    times: Times = "no"
    """What is read of the times of events and of the request. gaps: how long since the event before; calendar: hour and weekday too."""
    dropout: float = 0.2
    """Dropout rate, in steps of 1/256."""
    id_dropout: float = 0.1
    """With data.item_features: share of the items that a training step scores by their features alone, so that these learn to stand
    alone."""

    def __post_init__(self) -> None:
        settle_types(self, "model")
        check_least(self, "model", 1, "width", "inner", "layers", "heads", "max_length")
        check(self.width % self.heads == 0, "model.width", f"a multiple of model.heads = {self.heads}", self.width)
        check(0.0 <= self.dropout < 1.0, "model.dropout", "a rate in [0, 1)", self.dropout)
        check(0.0 <= self.id_dropout < 1.0, "model.id_dropout", "a share in [0, 1)", self.id_dropout)
        check(0 <= self.conv_width <= 16, "model.conv_width", "0 to 16", self.conv_width)
