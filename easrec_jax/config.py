"""Every setting of an experiment, each with its one default.

The dataclasses validate themselves: a wrong value raises `ValueError` naming the field, what was expected and what came.
`bin/*.py` turn every field into a flag of the same dotted name; the text under a field is its help.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Literal

from easrec_jax.typed import check, check_least, settle_types

# An attention is a file of nn/mixers/, its folder says what it reads. Their names alone are read here: no JAX.
_MIXERS = Path(__file__).parent / "nn" / "mixers"
CAUSAL_ATTENTIONS = tuple(module.name for module in iter_modules([str(_MIXERS / "causal")]))
ATTENTIONS = CAUSAL_ATTENTIONS + tuple(module.name for module in iter_modules([str(_MIXERS / "bidirectional")]))
if TYPE_CHECKING:
    Attention = str
else:
    Attention = Literal[ATTENTIONS]


@dataclass(frozen=True)
class PlantedConfig:
    """Planted data: a Markov chain over clusters of items."""

    users: int = 3000
    """Planted data: number of users."""
    items: int = 400
    """Planted data: number of items, the markers not counted."""
    clusters: int = 10
    """Planted data: clusters that the items form."""
    tastes: int = 32
    """Planted data: tastes of users, each with a marker item of its own."""
    variants: int = 4
    """Planted data: items of a cluster that some taste favours."""
    lengths: tuple[int, int] = (12, 40)
    """Planted data: shortest and longest history, events, marker included."""

    def __post_init__(self) -> None:
        settle_types(self, "data.planted")
        check_least(self, "data.planted", 10, "users")
        check_least(self, "data.planted", 1, "clusters", "tastes", "variants")
        favoured = 2 * self.variants * self.clusters
        expected = f"at least {favoured}: twice the favourites ({self.variants} in each of {self.clusters} clusters)"
        check(self.items >= favoured, "data.planted.items", expected, self.items)
        expected = "shortest and longest history, the shortest at least 3"
        check(3 <= self.lengths[0] <= self.lengths[1], "data.planted.lengths", expected, self.lengths)


@dataclass(frozen=True)
class DataConfig:
    """What is read, and how it is made into training samples."""

    path: str = ""
    """File of interactions, or folder of such; catalog:NAME: a known data set, downloaded once; empty: planted data made in memory."""
    format: Literal["auto", "atomic", "pairs", "csv", "tsv", "parquet", "jsonl", "movielens", "headerless", "lists"] = (
        "auto"
    )
    """File format; auto: by suffix (that before .gz or .zst) and first lines. lists: one line a user, its id and its items."""
    separator: str = ""
    """What parts the fields of text, such as ";", "|" or "tab"; empty: found by the header or the first line."""
    user_column: str = ""
    """Column of user ids; empty: the usual names are tried."""
    item_column: str = ""
    """Column of item ids; empty: the usual names are tried."""
    time_column: str = ""
    """Column of timestamps; empty: the usual names are tried, and without one the row order is the time order."""
    history_column: str = ""
    """Column of histories, one row a user, a list or text; empty: history, and items where there is no item column."""
    equal_times: Literal["mixed", "file"] = "mixed"
    """Order of a user's events at the same time: mixed: by a fixed hash, whatever the order of the rows; file: by row."""
    missing_ids: Literal["error", "drop"] = "error"
    """Rows without a user or item id: an error that names the first, or left out and counted."""
    min_history: int = 3
    """Users with fewer interactions are dropped (leave-one-out needs 3)."""
    k_core: int = 0
    """Drop users and items with fewer interactions than this, until none is left."""
    duplicates: Literal["keep", "drop"] = "keep"
    """Repeated (user, item) pairs: keep all, or only the first."""
    targets: Literal["all", "last"] = "all"
    """all: a loss at every position (causal attention only); last: one training sample a prefix."""
    windows: Literal["all", "last"] = "all"
    """Users longer than model.max_length: cut into windows, so that every interaction is a target, or the last window alone."""
    titles: str = ""
    """File of items with an id and a title column (.item, .csv, .tsv, .parquet); stored in the model, shown beside the ids."""
    features: str = ""
    """RecBole .item file of item features, read by the baselines SASRecF and FDSA; planted data have their own."""
    feature_columns: tuple[str, ...] = ("class",)
    """Its columns to read, of type token or token_seq (several values, split at blanks); class: RecBole's name of genres."""
    planted: PlantedConfig = field(default_factory=PlantedConfig)

    def __post_init__(self) -> None:
        settle_types(self, "data")
        expected = "at least 3 (train, validation and test item)"
        check(self.min_history >= 3, "data.min_history", expected, self.min_history)
        check_least(self, "data", 0, "k_core")
        check(len(self.feature_columns) >= 1, "data.feature_columns", "at least one column", self.feature_columns)


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
    dropout: float = 0.2
    """Dropout rate, in steps of 1/256."""

    def __post_init__(self) -> None:
        settle_types(self, "model")
        check_least(self, "model", 1, "width", "inner", "layers", "heads", "max_length")
        check(self.width % self.heads == 0, "model.width", f"a multiple of model.heads = {self.heads}", self.width)
        check(0.0 <= self.dropout < 1.0, "model.dropout", "a rate in [0, 1)", self.dropout)
        check(0 <= self.conv_width <= 16, "model.conv_width", "0 to 16", self.conv_width)


@dataclass(frozen=True)
class SearchConfig:
    """The search of an architecture."""

    strategy: str = "easrec"
    """easrec, darts, proxyless, recnas, untrained (a control): a supernet; random, exhaustive: networks trained alone; or a file
    NAME.py of your own."""
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
    epochs: int = 20
    """Most epochs over the training interactions; random and exhaustive: for each network."""
    batch_size: int = 32
    """Sequences of model.max_length a batch; shorter sequences share the same number of positions."""
    buckets: int = 2
    """Static lengths of batches up to model.max_length; more waste less padding, each is compiled."""
    learning_rate: float = 0.001
    """Adam's rate for the weights."""
    arch_learning_rate: float = 0.05
    """Adam's rate for the architecture parameters alpha and beta."""
    clip_norm: float = 0.0
    """Highest norm of a weight step's whole gradient; a longer one is scaled down to it. 0: no limit."""
    every: int = 5
    """f: an architecture step follows every f-th weight step."""
    warmup_epochs: int = 1
    """Epochs of weight steps alone before the first architecture step: an untrained supernet cannot tell candidates apart."""
    cost_weight: float = 0.1
    """lambda, the weight of the resource constraint (easrec without a budget, and proxyless)."""
    budget: float | None = None
    """Highest cost of the pick, as a fraction of the largest network's (easrec: no other is drawn; recnas: its target; darts
    and proxyless keep none)."""
    dynamic: bool = True
    """Scale the constraint by L_t / L (Eq. 15)."""
    tau_start: float = 1.0
    """Temperature of the relaxation at step 0 (easrec, recnas; a wide space draws without one)."""
    tau_decay: float = 0.00005
    """Temperature lost a step (easrec)."""
    tau_min: float = 0.01
    """Lowest temperature."""
    finalists: int = 4
    """Most probable networks compared on the validation items at the end, by NDCG@10 (easrec without a budget, and proxyless: by
    cross entropy plus the price); this comparison is no part of the paper. 1: the most probable is picked, as there. random: as
    many networks are drawn."""
    finalist_epochs: int = 1
    """Epochs that each of them is trained alone, from the shared weights, before they are compared."""
    patience: int = 10
    """Stop after this many epochs without a better validation NDCG@10."""

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
        check(not (self.wide and self.sharing == "own"), "search.sharing", "corners in a wide space", self.sharing)
        check_least(
            self, "search", 1, "epochs", "batch_size", "buckets", "every", "finalists", "finalist_epochs", "patience"
        )
        for name in ("learning_rate", "arch_learning_rate", "tau_min", "tau_start"):
            check(getattr(self, name) > 0, f"search.{name}", "a number above 0", getattr(self, name))
        check_least(self, "search", 0, "warmup_epochs", "clip_norm", "cost_weight", "tau_decay")
        check(self.budget is None or 0 < self.budget <= 1, "search.budget", "a fraction in (0, 1]", self.budget)

    @property
    def wide(self) -> bool:
        """Whether more than the paired sizes and the depth is searched."""
        return bool(self.inner_prune or self.heads or self.gate_layers or self.attentions)


@dataclass(frozen=True)
class RetrainConfig:
    """The training of one network, and the rivals beside it."""

    architecture: Literal["searched", "full"] = "searched"
    """searched: what the search picked; full: the network of the model.* sizes itself (a plain baseline)."""
    weights: Literal["copied", "fresh"] = "copied"
    """Start from the supernet's weights, if the strategy trains one, or from scratch; which is better depends on the data."""
    from_model: str = ""
    """--retrain.from MODEL for short: go on from a trained model, a folder of bin/retrain.py, and not from a search: its
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
    """Also evaluated with the same data, protocol and effort: popularity, markov, sasrec, sasrecf, fdsa (what is in
    easrec_jax/models/rivals/); the last three with softmax, or another attention as in sasrec+causal_linrec."""

    def __post_init__(self) -> None:
        settle_types(self, "retrain")
        check_least(self, "retrain", 1, "epochs", "batch_size", "buckets", "negatives", "patience")
        for name in ("learning_rate", "baseline_learning_rate"):
            rate = getattr(self, name)
            check(rate is None or rate > 0, f"retrain.{name}", "a number above 0", rate)
        expected, fits = "none with retrain.architecture = 'full'", self.architecture == "searched"
        check(not self.from_model or fits, "retrain.from", expected, self.from_model)
        check_least(self, "retrain", 0, "warmup_steps", "weight_decay", "clip_norm")

    def of_baselines(self) -> RetrainConfig:
        """The same at the baselines' rate."""
        return replace(self, learning_rate=self.baseline_learning_rate or self.learning_rate)


@dataclass(frozen=True)
class EvaluateConfig:
    """How validation and test figures are measured."""

    protocols: tuple[str, ...] = ("pop100", "pop100_unseen", "full", "full_unseen")
    """Protocols of the final figures: full, uniN or popN, each also with _unseen."""
    select_by: str = "full"
    """Protocol whose validation NDCG@10 chooses the epoch."""
    ks: tuple[int, ...] = (10,)
    """Cut-offs K of Recall, MRR and NDCG; 10 is added where it is missing (the choice of epochs uses NDCG@10)."""
    ties: Literal["expected", "pessimistic", "half"] = "expected"
    """Items that score as the target does: the average over their orders, or all above it ("half": an older name of "expected")."""
    batch_size: int = 32
    """Users of model.max_length events a batch."""
    buckets: int = 4
    """Static lengths of batches up to model.max_length; more waste less padding, each is compiled."""
    negatives_seed: int = 2000
    """Seed of the sampled negatives."""

    def __post_init__(self) -> None:
        settle_types(self, "evaluate")
        if self.ties == "half":
            object.__setattr__(self, "ties", "expected")
        check(all(k >= 1 for k in self.ks), "evaluate.ks", "cut-offs of at least 1", self.ks)
        if 10 not in self.ks:
            warnings.warn("evaluate.ks: 10 added: the choice of epochs uses NDCG@10", stacklevel=2)
            object.__setattr__(self, "ks", tuple(sorted({*self.ks, 10})))
        check_least(self, "evaluate", 1, "batch_size", "buckets")


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    seed: int = 0
    """Seed of weights, data order, dropout, Gumbel noise and planted data."""

    def __post_init__(self) -> None:
        settle_types(self, "")
        if self.data.targets == "all":
            self._check_causal()
        expected = "false in a wide space, whose numbers of heads have decays of their own"
        check(not (self.search.wide and self.model.learn_decay), "model.learn_decay", expected, self.model.learn_decay)
        for prune in self.search.prune:
            self._check_candidate(prune)

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
