"""Settings of the data: what is read, and how it is made into training samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from easrec_jax.config.splits import FILES, LEAVE_ONE_OUT, parse_split
from easrec_jax.typed import check, check_least, settle_types


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
    timed: bool = False
    """Planted data: events have times, and after a long gap the chain goes on elsewhere than after a short one."""

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
    """File of interactions, folder of such, pattern ("log/*.parquet"), address (s3://...) or folder that bin/prepare.py made;
    catalog:NAME: a known data set, downloaded once; empty: planted data made in memory."""
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
    split: str = "leave-one-out"
    """leave-one-out: each user's last item is the test item, the one before it the validation item; time:0.8/0.1/0.1: by time
    over all users; ratio:0.8/0.1/0.1: the first 80 % of each user's events are for training; files: data.valid and data.test."""
    valid: str = ""
    """File or folder of validation events, read as data.path is, which then holds the training events alone; needs data.test."""
    test: str = ""
    """File or folder of test events; their users are among those of data.path."""
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
    """File of item features (.item, .csv, .tsv, .parquet, .jsonl), read by the baselines SASRecF and FDSA, and by our networks with
    data.item_features; planted data have their own."""
    feature_columns: tuple[str, ...] = ("class",)
    """Its columns to read, NAME or NAME:KIND: token, token_seq (several values, between | or, in .item files, blanks) or float (not
    for baselines); class: RecBole's name of genres."""
    item_vectors: str = ""
    """File (.parquet, .jsonl) of an id and a vector an item, a list of fractions: embeddings of its text or image."""
    item_features: Literal["no", "known", "all"] = "no"
    """Whether our networks read data.features and data.item_vectors. known: of the items with interactions. all: every item of the
    files joins the catalogue; those without interactions are recommended by their features."""
    planted: PlantedConfig = field(default_factory=PlantedConfig)

    def __post_init__(self) -> None:
        settle_types(self, "data")
        self._check_split()
        check_least(self, "data", 0, "k_core")
        check(len(self.feature_columns) >= 1, "data.feature_columns", "at least one column", self.feature_columns)
        expected = "known or all with data.item_vectors, which nothing else reads"
        check(not self.item_vectors or self.item_features != "no", "data.item_features", expected, self.item_features)
        given = bool(self.features or self.item_vectors or not self.path)
        expected = "no without data.features and data.item_vectors, the files that say what the items are"
        check(given or self.item_features == "no", "data.item_features", expected, self.item_features)

    def _check_split(self) -> None:
        for mine, other in (("valid", "test"), ("test", "valid")):
            if getattr(self, mine):
                check(bool(getattr(self, other)), f"data.{other}", f"a file beside data.{mine}", getattr(self, other))
        if self.valid:
            expected = f"{FILES} with data.valid and data.test"
            check(self.split in (FILES, LEAVE_ONE_OUT), "data.split", expected, self.split)
            check(bool(self.path), "data.path", "a file of training events beside data.valid and data.test", self.path)
            object.__setattr__(self, "split", FILES)
        check(bool(self.valid) or self.split != FILES, "data.valid", "a file of validation events", self.valid)
        parse_split(self.split)
        if self.split == LEAVE_ONE_OUT:
            expected = "at least 3 (train, validation and test item)"
            check(self.min_history >= 3, "data.min_history", expected, self.min_history)
        check_least(self, "data", 1, "min_history")
