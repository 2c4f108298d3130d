"""Give a trained model new items by their features: MODEL, FILE -> OUT, a model folder that recommends them. Nothing is trained.

MODEL was trained with --data.item_features. Items that it has already stay as they are.
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
    """Folder for the model with the new items; a model that is there is replaced."""
    features: str = ""
    """File with the columns of --data.features that the model was trained with."""
    item_vectors: str = ""
    """File of vectors, where the model was trained with --data.item_vectors."""
    titles: str = ""
    """File of items with an id and a title column, to show the new ones."""


def command() -> None:
    """Read the model and the files, write the larger model."""
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.data.titles import read_titles
    from easrec_jax.serving.new_items import add_items_to

    titles = read_titles(arguments.titles) if arguments.titles else {}
    added = add_items_to(
        arguments.model, arguments.out, features=arguments.features, vectors=arguments.item_vectors, titles=titles
    )
    known = f", {added.there} were there already and stay as they are" if added.there else ""
    print(f"{added.new} new items, {len(added.model.item_ids)} in all{known}; written to {arguments.out}")
    if added.unknown:
        print(f"{added.unknown} of the new items have no feature that the model knows: they score 0 for everyone")
