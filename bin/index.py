"""Build an approximate index over a model's items, and report its recall against exact search: MODEL -> OUT/.

MODEL is a folder that bin/retrain.py wrote. OUT serves `easrec_jax.index.ItemIndex.load(OUT, Recommender.load(MODEL))`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from easrec_jax.cli import main


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional]
    """Model folder, e.g. runs/demo/model."""
    out: Path
    """Folder for the index."""
    histories: Path | None = None
    """Sample queries: a file of users as bin/recommend.py reads; without it, made up from the items' popularity."""
    queries: int = 2000
    """How many users of it at most."""
    k: int = 10
    """Of recall@k."""
    recall: float = 0.95
    """Look into as many lists as this recall takes on half of the queries; it is measured on the other half."""
    lists: int | None = None
    """Groups of items; default: the square root of their number."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.index import build_index
    from easrec_jax.recommend import Recommender

    recommender = Recommender.load(arguments.model)
    histories = None
    if arguments.histories is not None:
        from easrec_jax.data.histories import first_histories

        known = set(recommender.item_ids.raw)
        found = first_histories(arguments.histories, arguments.queries)
        histories = [items for history in found if (items := [item for item in history if item in known])]
    index = build_index(recommender, histories, k=arguments.k, recall=arguments.recall, lists=arguments.lists)
    index.save(arguments.out)
    m = index.measured
    print(
        f"recall@{m.k} {m.recall:.4f} against exact search, {m.queries} queries; {m.probes} of {m.lists} lists a query; "
        f"{m.index_ms:.3f} ms a query, exact {m.exact_ms:.3f} ms (CPU, the search alone); written to {arguments.out}"
    )


if __name__ == "__main__":
    main(command)
