"""Every setting of an experiment, each with its one default, a file a part.

The dataclasses validate themselves: a wrong value raises `ValueError` naming the field, what was expected and what came.
The commands turn every field into a flag of the same dotted name; the text under a field is its help.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from easrec_jax.config.data import DataConfig, PlantedConfig
from easrec_jax.config.distill import DistillConfig
from easrec_jax.config.evaluate import EvaluateConfig
from easrec_jax.config.mesh import MeshConfig
from easrec_jax.config.model import ATTENTIONS, CAUSAL_ATTENTIONS, TIMES, Attention, ModelConfig
from easrec_jax.config.retrain import RetrainConfig
from easrec_jax.config.route import RouteConfig
from easrec_jax.config.search import ADAREC, AdarecConfig, EasrecConfig, ProxylessConfig, RecnasConfig, SearchConfig
from easrec_jax.typed import check, settle_types

__all__ = [
    "ADAREC",
    "ATTENTIONS",
    "CAUSAL_ATTENTIONS",
    "TIMES",
    "AdarecConfig",
    "Attention",
    "Config",
    "DataConfig",
    "DistillConfig",
    "EasrecConfig",
    "EvaluateConfig",
    "MeshConfig",
    "ModelConfig",
    "PlantedConfig",
    "ProxylessConfig",
    "RecnasConfig",
    "RetrainConfig",
    "RouteConfig",
    "SearchConfig",
    "pruned_size",
]


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    route: RouteConfig = field(default_factory=RouteConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    seed: int = 0
    """Seed of weights, data order, dropout, Gumbel noise and planted data."""

    def __post_init__(self) -> None:
        settle_types(self, "")
        if self.data.targets == "all":
            self._check_causal()
        expected = "false in a wide space, whose numbers of heads have decays of their own"
        check(not (self.search.wide and self.model.learn_decay), "model.learn_decay", expected, self.model.learn_decay)
        for prune in self.search.prune if self.search.strategy != ADAREC else ():
            self._check_candidate(prune)
        fits = self.search.strategy != ADAREC or self.retrain.architecture in ("searched", "full")
        expected = "searched or full with search.strategy = 'adarec', whose networks have one size"
        check(fits, "retrain.architecture", expected, self.retrain.architecture)
        expected = "0 with retrain.loss = 'sampled': a teacher's scores are of all items"
        check(not self.distill.share or self.retrain.loss == "full", "distill.share", expected, self.distill.share)
        expected = f"0 with --mesh.data {self.mesh.data} --mesh.items {self.mesh.items}: a teacher stands on one device"
        check(not self.distill.share or self.mesh.devices == 1, "distill.share", expected, self.distill.share)
        if self.data.item_features != "no":
            self._check_features()
        if self.model.times != "no":
            self._check_times()

    def _check_times(self) -> None:
        mine = f"with model.times = {self.model.times!r}"
        check(self.search.strategy != ADAREC, "search.strategy", f"none of cells {mine}", self.search.strategy)
        check(not self.distill.share, "distill.share", f"0 {mine}: a teacher reads no times", self.distill.share)
        check(self.mesh.devices == 1, "--mesh.data, --mesh.items", f"1 and 1 {mine}", (self.mesh.data, self.mesh.items))

    def _check_features(self) -> None:
        mine = f"with data.item_features = {self.data.item_features!r}"
        check(self.search.strategy != ADAREC, "search.strategy", f"none of cells {mine}", self.search.strategy)
        expected = f"0 {mine}: a teacher knows no features"
        check(not self.distill.share, "distill.share", expected, self.distill.share)
        expected = (
            f"none {mine}: a model keeps the sum of ids and features, which cannot be taken apart for other items"
        )
        check(not self.retrain.from_model, "retrain.from", expected, self.retrain.from_model)
        check(self.mesh.devices == 1, "--mesh.data, --mesh.items", f"1 and 1 {mine}", (self.mesh.data, self.mesh.items))

    def _check_causal(self) -> None:
        causal, mine = f"of {', '.join(CAUSAL_ATTENTIONS)} with data.targets = 'all'", self.model.attention
        leak = f"({mine} sees later items: a loss at every position would leak the target; use data.targets = 'last')"
        check(mine in CAUSAL_ATTENTIONS, "model.attention", f"one {causal} {leak}", mine)
        for other in self.search.attentions:
            check(other in CAUSAL_ATTENTIONS, "search.attentions", f"some {causal} (see model.attention)", other)

    def _check_candidate(self, prune: float) -> None:
        width, inner = pruned_size(self.model.width, prune), pruned_size(self.model.inner, prune)
        for heads in self.search.heads:
            expected = f"numbers that divide every candidate's width, {width} among them"
            check(width % heads == 0 and self.model.width % heads == 0, "search.heads", expected, heads)
        check(width >= 1 and inner >= 1, "search.prune", "candidates that leave at least one channel", prune)
        expected = f"candidates whose width is a multiple of model.heads = {self.model.heads}"
        check(width % self.model.heads == 0, "search.prune", expected, f"{prune} (width {width})")


def pruned_size(size: int, prune: float) -> int:
    """Channels left of `size` when the fraction `prune` is dropped."""
    return round(size * (1.0 - prune))
