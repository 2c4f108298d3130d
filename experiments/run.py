"""Every experiment by its name, and which flags of `bin/reproduce.py` each reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from easrec_jax.data.load import load_data, load_features
from easrec_jax.data.split import Split
from experiments.adarec import run_adarec
from experiments.canet import run_canet
from experiments.cells import Cells
from experiments.elastic import run_elastic
from experiments.field import run_field
from experiments.figure4 import run_figure4
from experiments.headline import run_headline
from experiments.new_items import run_new_items
from experiments.recipes import DATA_SEEDS, FEATURELESS, Dataset, Scale, recipe
from experiments.table3 import run_table3
from experiments.table4 import run_table4
from experiments.table5 import run_table5
from experiments.times import run_times
from experiments.whole_space import run_space
from experiments.wide_space import run_wide

TABLES: dict[str, Callable[..., str]] = {  # that know their data set by name
    "table3": run_table3, "table4": run_table4, "table5": run_table5, "figure4": run_figure4, "headline": run_headline,
    "elastic": run_elastic, "canet": run_canet, "field": run_field, "adarec": run_adarec,
    "new_items": run_new_items, "times": run_times,
}  # fmt: skip
SPACES: dict[str, Callable[..., str]] = {"space": run_space, "wide": run_wide}
TRAINED = (*SPACES, *TABLES)
TAKERS = {  # which experiments a flag means something to
    "dataset": (*TRAINED, "compare"), "data": TRAINED, "seeds": (*TRAINED, "compare"), "scale": (*TRAINED, "compare"),
    "features": ("table3", "table4", "new_items"), "rows": (*TRAINED, "compare"), "out": ("results",),
}  # fmt: skip


def check_flags(name: str, given: dict) -> None:
    """`ValueError` for a flag that was given but means nothing to the experiment, or makes no sense."""
    for flag, takers in TAKERS.items():
        if flag in given and name not in takers:
            raise ValueError(f"{flag}: {name} takes none ({', '.join(takers)} would), got {given[flag]}")
    if given.get("seeds", 1) < 1:
        raise ValueError(f"seeds: expected at least 1, got {given['seeds']}")


def open_cells(
    name: str, workdir: Path, dataset: Dataset, scale: Scale, *, path: str = "", features: str = "", command: str
) -> Cells:
    """The cells of a data set and scale, its data loaded; `features` is the file of item features, for those who read them.

    Raises `ValueError` where an experiment needs features and there is no file of them.
    """
    wanted, planted = name in TAKERS["features"] and dataset not in FEATURELESS, dataset.startswith("planted")
    if wanted and not planted and not features:
        raise ValueError(f"features: expected a RecBole .item file, which {name} on {dataset} needs")
    config = recipe(dataset, scale, path=path)
    data, truth = load_data(config.data, seed=DATA_SEEDS.get(dataset, 0), times=name == "times")
    table = None
    if features or wanted and planted:
        table = load_features(dataclasses.replace(config.data, features=features), data, truth)
    return Cells(workdir / f"{dataset}-{scale}", config, Split(data), table, command=command)


def run_experiment(name: str, cells: Cells, *, dataset: str, seeds: int, rows: tuple[str, ...]) -> str:
    """Run what is not finished of it; its tables, which are written too."""
    if name in SPACES:
        return SPACES[name](cells, seeds=seeds, rows=rows)
    return TABLES[name](cells, seeds=seeds, dataset=dataset, rows=rows)
