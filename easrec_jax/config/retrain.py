"""Settings of the training of one network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from easrec_jax.typed import check, check_least, settle_types


@dataclass(frozen=True)
class RetrainConfig:
    """The training of one network, and the rivals beside it."""

    architecture: str = "searched"
    """searched: what the search picked; full: the network of the model.* sizes itself (a plain baseline); elastic: all of the
    search's front in one model, as it stands in the shared weights, nothing is trained; front:X: of the networks that the search
    measured, the most accurate that costs at most X times SASRec's FLOPs."""
    weights: Literal["copied", "fresh"] = "copied"
    """Start from the supernet's weights, if the strategy trains one, or from scratch; which is better depends on the data."""
    from_model: str = ""
    """--retrain.from MODEL for short: go on from a trained model, a folder that retrain wrote, and not from a search: its
    architecture, its weights (unless they shall be fresh), item rows by item id; the data may have new users and items. Its own
    figures on them count as epoch 0."""
    epochs: int = 30
    """Most epochs over the training interactions."""
    batch_size: int = 32
    """Sequences of model.max_length a batch; shorter sequences share the same number of positions."""
    buckets: int = 4
    """Static lengths of batches up to model.max_length; more waste less padding, each is compiled."""
    learning_rate: float = 0.001
    """Adam's highest rate."""
    baseline_learning_rate: float | None = None
    """The same of the baselines, and of what rival searches pick (None: learning_rate). Softmax layers want less."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over the epochs: constant, or falling to zero as a cosine; both after a warm-up."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from zero."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW)."""
    clip_norm: float = 0.0
    """Highest norm of a step's whole gradient; a longer one is scaled down to it. 0: no limit."""
    loss: Literal["full", "sampled"] = "full"
    """Softmax over all items; or over each target and sampled negatives, for catalogues beyond some 10^5 items."""
    negatives: int = 1024
    """Negatives of loss=sampled, shared by a batch: half by popularity, half uniform, corrected for their frequency (logQ)."""
    patience: int = 10
    """Stop after this many epochs without a better validation NDCG@10."""
    baselines: tuple[str, ...] = ()
    """Also evaluated with the same data, protocol and effort: popularity, markov, nextitnet, sasrec, sasrecf, fdsa
    (what is in easrec_jax/models/rivals/); the last three with softmax, or another attention as in sasrec+causal_linrec."""

    def __post_init__(self) -> None:
        settle_types(self, "retrain")
        check_least(self, "retrain", 1, "epochs", "batch_size", "buckets", "negatives", "patience")
        for name in ("learning_rate", "baseline_learning_rate"):
            rate = getattr(self, name)
            check(rate is None or rate > 0, f"retrain.{name}", "a number above 0", rate)
        known = self.architecture in ("searched", "full", "elastic") or (self.front_cost or 0) > 0
        expected = "searched, full, elastic, or front:X with a number X above 0, as front:0.1"
        check(known, "retrain.architecture", expected, self.architecture)
        expected, fits = f"none with retrain.architecture = {self.architecture!r}", self.architecture == "searched"
        check(not self.from_model or fits, "retrain.from", expected, self.from_model)
        expected = "copied with retrain.architecture = 'elastic', which trains nothing"
        check(self.architecture != "elastic" or self.weights == "copied", "retrain.weights", expected, self.weights)
        check_least(self, "retrain", 0, "warmup_steps", "weight_decay", "clip_norm")

    @property
    def front_cost(self) -> float | None:
        """X of front:X, over SASRec's FLOPs; None of anything else."""
        kind, _, number = self.architecture.partition(":")
        try:
            cost = float(number) if kind == "front" else math.nan
        except ValueError:
            return None
        return cost if math.isfinite(cost) else None

    def of_baselines(self) -> RetrainConfig:
        """The same at the baselines' rate."""
        return replace(self, learning_rate=self.baseline_learning_rate or self.learning_rate)
