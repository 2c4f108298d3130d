"""Settings of learning from a teacher: a larger network that is trained first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from easrec_jax.typed import check, check_least, settle_types

Mapping = Literal["emd", "left", "right", "left_jump", "right_jump", "random"]
Term = Literal["embedding", "hidden", "scores"]


@dataclass(frozen=True)
class DistillConfig:
    """What a network learns from a teacher, in search and retrain; the teacher is in WORKDIR/teacher.

    The networks of a supernet of our own space have no single list of layers, and embeddings of several sizes: such a supernet
    learns from the teacher's scores alone, whatever else is among the terms. Its finalists and its pick learn by all of them.
    """

    share: float = 0.0
    """gamma: the weight of the teacher's terms, 1 - gamma that of the labels. 0: no teacher."""
    terms: tuple[Term, ...] = ("embedding", "hidden", "scores")
    """What is learned from: the embedding of the events, the hidden states after each layer, the scores of all items; scores alone
    is plain distillation. In a search other than adarec the shared weights hear the scores alone, finalists all of them."""
    mapping: Mapping = "emd"
    """Which teacher layer a layer learns from: emd: as many as the earth mover's distance says, by weights that adapt; left: layer
    i from layer i; right: the last ones; left_jump, right_jump: evenly spaced ones; random: fixed ones, drawn once."""
    teacher: Literal["nextitnet", "sasrec"] = "nextitnet"
    """What the teacher is; it is trained once, before anything that needs it."""
    width: int = 256
    """Hidden size of the teacher, channels."""
    layers: int = 8
    """Layers of the teacher: groups of two residual blocks (nextitnet), transformer layers (sasrec)."""
    dropout: float | None = None
    """Dropout rate in the teacher's training (None: model.dropout). A large teacher wants more than a small student."""
    epochs: int = 30
    """Most epochs of its training; batches, schedule and patience are those of retrain.* when it is trained."""
    learning_rate: float = 0.001
    """Adam's highest rate in its training."""

    def __post_init__(self) -> None:
        settle_types(self, "distill")
        check(0.0 <= self.share <= 1.0, "distill.share", "a share in [0, 1]", self.share)
        check(
            bool(self.terms) and len(set(self.terms)) == len(self.terms), "distill.terms", "different terms", self.terms
        )
        check(self.dropout is None or 0.0 <= self.dropout < 1.0, "distill.dropout", "a rate in [0, 1)", self.dropout)
        check_least(self, "distill", 1, "width", "layers", "epochs")
        check(self.learning_rate > 0, "distill.learning_rate", "a number above 0", self.learning_rate)
