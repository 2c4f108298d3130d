"""Settings of the search, those of one strategy in a part of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from easrec_jax.config.model import Attention
from easrec_jax.typed import check, check_least, settle_types

ADAREC = "adarec"  # the strategy that chooses operations and not sizes


@dataclass(frozen=True)
class EasrecConfig:
    """Settings of easrec, and of its control untrained."""

    cost_weight: float = 0.1
    """lambda, the weight of the resource constraint (without a budget)."""
    dynamic: bool = True
    """Scale the constraint by L_t / L (Eq. 15)."""
    tau_start: float = 1.0
    """Temperature of the relaxation at step 0 (a wide space draws without one)."""
    tau_decay: float = 0.00005
    """Temperature lost a step."""
    tau_min: float = 0.01
    """Lowest temperature."""

    def __post_init__(self) -> None:
        settle_types(self, "search.easrec")
        check_least(self, "search.easrec", 0, "cost_weight", "tau_decay")
        _check_temperatures(self, "search.easrec")


@dataclass(frozen=True)
class ProxylessConfig:
    """Settings of proxyless."""

    cost_weight: float = 0.1
    """lambda, the weight of the expected cost in the loss."""

    def __post_init__(self) -> None:
        settle_types(self, "search.proxyless")
        check_least(self, "search.proxyless", 0, "cost_weight")


@dataclass(frozen=True)
class RecnasConfig:
    """Settings of recnas."""

    tau_start: float = 1.0
    """Temperature of the relaxation at the first architecture step (a wide space draws without one)."""
    tau_min: float = 0.01
    """Temperature at the last one."""

    def __post_init__(self) -> None:
        settle_types(self, "search.recnas")
        _check_temperatures(self, "search.recnas")


@dataclass(frozen=True)
class AdarecConfig:
    """Settings of adarec; its teacher's are distill.*. A student has model.layers cells of model.width channels."""

    cost_weight: float = 0.3
    """beta, the weight of the mean cost of a cell's operations, those of five-event convolutions being 1, in alpha's loss."""
    tau_start: float = 1.0
    """Temperature of the relaxation in the first epochs."""
    tau_decay: float = 0.8
    """What it is multiplied by every tau_epochs."""
    tau_epochs: int = 5
    """Epochs between two temperatures."""
    weight_decay: float = 0.0005
    """Decoupled weight decay (AdamW) of the weights."""
    arch_weight_decay: float = 0.001
    """The same of alpha."""

    def __post_init__(self) -> None:
        settle_types(self, "search.adarec")
        check_least(self, "search.adarec", 0, "cost_weight", "weight_decay", "arch_weight_decay")
        check_least(self, "search.adarec", 1, "tau_epochs")
        for name in ("tau_start", "tau_decay"):
            check(getattr(self, name) > 0, f"search.adarec.{name}", "a number above 0", getattr(self, name))


def _check_temperatures(settings: EasrecConfig | RecnasConfig, part: str) -> None:
    for name in ("tau_start", "tau_min"):
        check(getattr(settings, name) > 0, f"{part}.{name}", "a number above 0", getattr(settings, name))


@dataclass(frozen=True)
class SearchConfig:
    """The search of an architecture."""

    strategy: str = "easrec"
    """easrec, darts, proxyless, recnas, untrained (a control): a supernet; random, exhaustive: networks trained alone; adarec: a
    cell of convolutions and pools, with a teacher (distill.share); or a file NAME.py of your own."""
    cost: Literal["flops", "flops_all", "latency"] = "flops"
    """What the constraint and the budget count: FLOPs of a request, whose last layer runs at the last position alone; with all
    layers at all positions (flops_all); or seconds, measured here before the search."""
    prune: tuple[float, ...] = (0.0, 0.25, 0.5)
    """Candidates: the fraction of hidden and inner size each one drops; in a wide space, of the hidden size alone."""
    inner_prune: tuple[float, ...] = ()
    """Wide space: fractions of the inner size that a layer may drop; empty: none."""
    per_layer: bool = True
    """Wide space: each layer has an inner size of its own; otherwise one for all."""
    heads: tuple[int, ...] = ()
    """Wide space: numbers of heads to choose from; empty: model.heads."""
    gate_layers: tuple[int, ...] = ()
    """Wide space: layers of the gates to choose from; empty: model.gate_layers."""
    attentions: tuple[Attention, ...] = ()
    """Wide space: attentions to choose from; empty: model.attention. A space is wide if any of these four is given."""
    sharing: Literal["", "own", "corners"] = ""
    """Weights of the networks in a supernet: own: each candidate has layers of its own, as published; corners: every matrix is a
    corner of the largest network's. Empty: own; in a wide space, which has no other, corners."""
    training: Literal["single", "sandwich"] = "single"
    """What a weight step trains: single: what the strategy draws; sandwich: the largest network and, after warmup_epochs, beside
    it a smaller one that learns from it, so that every network is good as it stands."""
    teacher: float = 0.5
    """Share of the largest network's probabilities in what a smaller one learns (sandwich); the rest are the labels."""
    ranking: Literal["probability", "measured"] = "probability"
    """Which networks become finalists: the most probable ones; or those with the highest validation NDCG@10 as they stand in
    the shared weights (measured), of which front.json then holds all that were measured."""
    measured: int = 200
    """Most networks that are measured: all within the budget, or as many as an evolution over them asks for."""
    epochs: int = 20
    """Most epochs over the training interactions; random and exhaustive: for each network."""
    batch_size: int = 32
    """Sequences of model.max_length a batch; shorter sequences share the same number of positions."""
    buckets: int = 2
    """Static lengths of batches up to model.max_length; more waste less padding, each is compiled."""
    learning_rate: float = 0.001
    """Adam's rate for the weights, the highest one of a schedule."""
    schedule: Literal["constant", "cosine"] = "constant"
    """The rate over the epochs: constant; or, after a warm-up of 100 steps, falling to zero as a cosine."""
    arch_learning_rate: float = 0.05
    """Adam's rate for the architecture parameters alpha and beta."""
    clip_norm: float = 0.0
    """Highest norm of a weight step's whole gradient; a longer one is scaled down to it. 0: no limit."""
    every: int = 5
    """f: an architecture step follows every f-th weight step."""
    warmup_epochs: int = 1
    """Epochs of weight steps alone before the first architecture step: an untrained supernet cannot tell candidates apart."""
    budget: float | None = None
    """Highest cost of the pick, as a fraction of the largest network's (easrec: no other is drawn; recnas: its target; darts
    and proxyless keep none); adarec: highest mean cost of a cell's operations, those of five-event convolutions being 1."""
    finalists: int = 4
    """Most probable networks compared on the validation items at the end, by NDCG@10 (easrec without a budget, and proxyless: by
    cross entropy plus the price); this comparison is no part of the paper. 1: the most probable is picked, as there. random: as
    many networks are drawn."""
    finalist_epochs: int = 1
    """Epochs that each of them is trained alone, from the shared weights, before they are compared."""
    patience: int = 10
    """Stop after this many epochs without a better validation NDCG@10."""
    adarec: AdarecConfig = field(default_factory=AdarecConfig)
    easrec: EasrecConfig = field(default_factory=EasrecConfig)
    proxyless: ProxylessConfig = field(default_factory=ProxylessConfig)
    recnas: RecnasConfig = field(default_factory=RecnasConfig)

    def __post_init__(self) -> None:
        settle_types(self, "search")
        check(len(self.prune) >= 1, "search.prune", "at least one candidate", self.prune)
        for name in ("prune", "inner_prune"):
            expected, values = "fractions in [0, 1): 1 prunes everything", getattr(self, name)
            check(all(0.0 <= x < 1.0 for x in values), f"search.{name}", expected, values)
        for name in ("prune", "inner_prune", "heads", "gate_layers", "attentions"):
            values = getattr(self, name)
            check(len(set(values)) == len(values), f"search.{name}", "different candidates", values)
        check(all(x >= 1 for x in self.heads), "search.heads", "numbers of at least 1", self.heads)
        check(set(self.gate_layers) <= {0, 1, 2}, "search.gate_layers", "0, 1 or 2 each", self.gate_layers)
        expected = "'flops' or 'flops_all' in a wide space: each of its networks would be measured"
        check(not self.wide or self.cost != "latency", "search.cost", expected, self.cost)
        if self.strategy == ADAREC:
            self._check_adarec()
        check(not (self.wide and self.sharing == "own"), "search.sharing", "corners in a wide space", self.sharing)
        expected = (
            f"fewer than search.epochs = {self.epochs} with search.training = 'sandwich': only the largest would learn"
        )
        late = self.training == "sandwich" and self.warmup_epochs >= self.epochs
        check(not late, "search.warmup_epochs", expected, self.warmup_epochs)
        check(0.0 <= self.teacher <= 1.0, "search.teacher", "a share in [0, 1]", self.teacher)
        check_least(
            self, "search", 1, "epochs", "batch_size", "buckets", "every", "measured", "finalists", "finalist_epochs",
            "patience",
        )  # fmt: skip
        for name in ("learning_rate", "arch_learning_rate"):
            check(getattr(self, name) > 0, f"search.{name}", "a number above 0", getattr(self, name))
        check_least(self, "search", 0, "warmup_epochs", "clip_norm")
        check(self.budget is None or 0 < self.budget <= 1, "search.budget", "a fraction in (0, 1]", self.budget)

    def _check_adarec(self) -> None:
        """What means nothing to a search of cells is refused."""
        check(not self.wide, "search.strategy", "no wide space with search.strategy = 'adarec'", self.strategy)
        for name in ("cost", "sharing", "training", "ranking", "schedule"):
            plain, value = getattr(SearchConfig, name), getattr(self, name)
            check(
                value == plain,
                f"search.{name}",
                f"{plain!r} with search.strategy = 'adarec', which knows no other",
                value,
            )

    @property
    def wide(self) -> bool:
        """Whether more than the paired sizes and the depth is searched."""
        return bool(self.inner_prune or self.heads or self.gate_layers or self.attentions)
