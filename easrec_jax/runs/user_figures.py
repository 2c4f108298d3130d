"""Figures and lists of every user in a file, for anyone's own statistics. Imports polars: import this where it is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.metrics import gains
from easrec_jax.files import whole_file

WRITERS = {".parquet": pl.DataFrame.write_parquet, ".jsonl": pl.DataFrame.write_ndjson}


def check_out(path: Path) -> None:
    """Raise `ValueError` for a file that `write_users` cannot write."""
    if path.suffix not in WRITERS:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(WRITERS)} (it holds lists)")


def write_users(
    path: Path,
    models: Sequence[Path],
    ranks: Sequence[dict[str, np.ndarray]],
    lists: Sequence[dict[str, np.ndarray]],
    split: Split,
    part: Part,
    ks: tuple[int, ...],
) -> None:
    """Write a row for each model, protocol and evaluated user; the file is whole or not there.

    Columns: model, protocol, user, targets (raw ids), a metric each, and items, the first max(ks) of the user's list (raw ids;
    null for a protocol with sampled negatives). `ranks` and `lists` are by protocol, one dict a model.
    """
    data = split.data
    users = data.user_ids.decode(split.evaluated(part) + 1)
    targets, frames = _raw(split.target_sets(part), split), []
    for model, of_ranks, of_lists in zip(models, ranks, lists, strict=True):
        for protocol, of in of_ranks.items():
            items = _raw(of_lists[protocol], split) if protocol in of_lists else [None] * len(users)
            columns = {"model": str(model), "protocol": protocol, "user": users, "targets": targets, **gains(of, ks)}
            listed = pl.Series("items", items, dtype=pl.List(pl.String))
            frames.append(pl.DataFrame(columns).with_columns(listed))
    with whole_file(path) as aside:
        WRITERS[path.suffix](pl.concat(frames), aside)


def _raw(inner: np.ndarray, split: Split) -> list[list[str]]:
    """Raw ids of inner ids [users any], 0 left out."""
    raw = split.data.item_ids.raw
    return [[raw[item - 1] for item in row if item] for row in inner.tolist()]
