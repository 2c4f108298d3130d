"""Experiments beside the paper's: WORKDIR/DATASET-SCALE/ (finished cells, JSON, CSV, Markdown, PNG).

space: every network of the space trained alone, and what each search strategy picked of it. wide: what a wide space buys
over it, at equal FLOPs and at fewer. table3: accuracy of all
models; table4: their inference time and memory; table5: gates; figure4: the weight lambda of the constraint.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.cli import fail, main
from easrec_jax.reproduce.recipes import Dataset, Scale


@dataclass(frozen=True)
class Arguments:
    experiment: Annotated[Literal["space", "wide", "table3", "table4", "table5", "figure4"], tyro.conf.Positional]
    """What to run; finished cells are not run again."""
    dataset: Dataset = "planted"
    """Which data."""
    data: str = ""
    """File of interactions (default: the catalogue's, downloaded once)."""
    features: str = ""
    """RecBole .item file of item features, for SASRecF and FDSA (table3, table4)."""
    seeds: int = 1
    """How many seeds, from 0."""
    scale: Scale = "cpu"
    """smoke: minutes, meaningless figures; cpu: two cores; paper: Table II, for a GPU."""
    workdir: Path = Path("runs/reproduce")
    """Where experiments live."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.data.load import load_data, load_features
    from easrec_jax.data.split import Split
    from easrec_jax.reproduce import tables
    from easrec_jax.reproduce.cells import Interrupted
    from easrec_jax.reproduce.recipes import recipe
    from easrec_jax.reproduce.space import run_space
    from easrec_jax.reproduce.wide import run_wide

    if arguments.seeds < 1:
        raise ValueError(f"seeds: expected at least 1, got {arguments.seeds}")
    config = recipe(arguments.dataset, arguments.scale, path=arguments.data)
    folder = arguments.workdir / f"{arguments.dataset}-{arguments.scale}"
    data, truth = load_data(config.data, seed=0)
    common = {"seeds": arguments.seeds, "dataset": arguments.dataset}
    try:
        if arguments.experiment in ("space", "wide"):
            experiment = run_space if arguments.experiment == "space" else run_wide
            text = experiment(config, Split(data), folder, seeds=arguments.seeds)
        elif arguments.experiment in ("table3", "table4"):
            run = tables.run_table3 if arguments.experiment == "table3" else tables.run_table4
            features = load_features(replace(config.data, features=arguments.features), data, truth)
            text = run(config, Split(data), folder, features=features, **common)
        else:
            run = tables.run_table5 if arguments.experiment == "table5" else tables.run_figure4
            text = run(config, Split(data), folder, **common)
    except Interrupted:
        fail(f"interrupted; the finished cells in {folder / 'cells'} are kept: run the same command to go on")
    print(f"{text}\nwritten to {folder}")


if __name__ == "__main__":
    main(command)
