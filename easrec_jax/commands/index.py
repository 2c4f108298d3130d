"""Build an approximate index over a model's items, and report its recall against exact search: MODEL -> OUT/.

MODEL is a folder that retrain wrote. OUT serves `easrec_jax.serving.index.ItemIndex.load(OUT, Recommender.load(MODEL))`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Model folder, e.g. runs/demo/model."""
    out: Path
    """Folder for the index; an index that is there is replaced."""
    histories: str | None = None
    """Users whose histories are the queries, as recommend reads them; without: made up from popularity."""
    queries: int = 2000
    """How many users of --histories at most, those whose events stand first."""
    k: int = 10
    """Of recall@k, which is measured: the share of the exact k best items that the index finds."""
    recall: float = 0.95
    """Recall@k to reach on half of the queries, by looking into more lists; it is measured on the other half."""
    lists: int | None = None
    """Into how many lists the items are grouped; default: the square root of their number."""


def command() -> None:
    """Build the index, measure it and write it."""
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.serving.index import build_index, known_histories
    from easrec_jax.serving.recommend import Recommender

    recommender = Recommender.load(arguments.model)
    histories = None
    if arguments.histories is not None:
        from easrec_jax.data.histories import first_histories

        histories = known_histories(recommender, first_histories(arguments.histories, arguments.queries))
    index = build_index(recommender, histories, k=arguments.k, recall=arguments.recall, lists=arguments.lists)
    index.save(arguments.out)
    m = index.measured
    print(
        f"recall@{m.k} {m.recall:.4f} against exact search, {m.queries} queries; {m.probes} of {m.lists} lists a query; "
        f"{m.index_ms:.3f} ms a query, exact {m.exact_ms:.3f} ms (CPU, the search alone); written to {arguments.out}"
    )
