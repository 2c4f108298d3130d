"""Settings of the data: what is read, and how it is made into training samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
