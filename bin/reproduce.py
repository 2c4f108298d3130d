"""Experiments beside the paper's: WORKDIR/DATASET-SCALE/ (finished cells, JSON, CSV, Markdown, PNG).

space: every network of the space trained alone, and what each search strategy picked of it. wide: what a wide space
buys over it, at equal FLOPs and at fewer, and what random search finds there. table3: accuracy of all models; table4:
their inference time and memory; table5: ablations; figure4: the weight lambda of the constraint, and budgets. headline:
EASRec's pick against SASRec of one and of two layers, all from scratch. elastic: the networks of one elastic network as they
stand, against each trained alone. canet: a router over the slices of an elastic network, against other ways to choose at equal
FLOPs. adarec: a student of cells with its teacher, without, and by other ways to learn. field: the recipe for sparse data beside
published figures. new_items: items held out of training, recommended by their features. times: with the times of events and
requests, without, and with times that say nothing. compare: two models by their kept cells, printed.
results: everything finished in WORKDIR as one document.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.runs.cli import fail, main

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # experiments/ lies beside bin/, it is not installed

from experiments.recipes import Dataset, Scale  # noqa: E402


@dataclass(frozen=True)
class Arguments:
    experiment: Annotated[
        Literal[
            "space",
            "wide",
            "table3",
            "table4",
            "table5",
            "figure4",
            "headline",
            "elastic",
            "canet",
            "field",
            "adarec",
            "new_items",
            "times",
            "compare",
            "results",
        ],
        tyro.conf.Positional,
    ]
    """What to run; finished cells are not run again."""
    dataset: Dataset = "planted"
    """Which data."""
    data: str = ""
    """File of interactions (default: the catalogue's, downloaded once)."""
    features: str = ""
    """RecBole .item file of item features, for SASRecF and FDSA, and for new_items."""
    rows: tuple[str, ...] = ()
    """Only the rows of these names (space: strategies; elastic, adarec: see experiments/NAME.py; default: all). Rows whose cells
    are finished are shown beside them.
    compare: the two cells, without their seed."""
    seeds: int = 1
    """How many seeds, from 0."""
    scale: Scale = "cpu"
    """smoke: minutes, meaningless figures; cpu: two cores; paper: Table II, for a GPU."""
    workdir: Path = Path("runs/reproduce")
    """Where experiments live (docs/results: those behind docs/results.md); processes may share it."""
    out: Path | None = None
    """results: the document to write (default: WORKDIR.md)."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from experiments.cells import Interrupted
    from experiments.compare import compare_cells
    from experiments.results import write_document
    from experiments.run import check_flags, open_cells, run_experiment

    name, dataset, seeds = arguments.experiment, arguments.dataset, arguments.seeds
    default = vars(Arguments(name))
    check_flags(name, {flag: value for flag, value in vars(arguments).items() if value != default[flag]})
    folder = arguments.workdir / f"{dataset}-{arguments.scale}"
    if name == "results":
        out = arguments.out or arguments.workdir.with_name(f"{arguments.workdir.name}.md")
        found = write_document(arguments.workdir, out)
        print("".join(f"{entry}\n" for entry in found) + f"written to {out}")
        return
    if name == "compare":
        print(compare_cells(folder, arguments.rows, seeds))
        return
    cells = open_cells(
        name, arguments.workdir, dataset, arguments.scale, path=arguments.data, features=arguments.features,
        command=command_line(arguments),
    )  # fmt: skip
    try:
        text = run_experiment(name, cells, dataset=dataset, seeds=seeds, rows=arguments.rows)
    except (Interrupted, KeyboardInterrupt):
        fail(f"interrupted; the finished cells in {folder / 'cells'} are kept: run the same command to go on")
    print(f"{text}\nwritten to {folder}")


def command_line(arguments: Arguments) -> str:
    """The command, its files by name alone, without `rows`: a table knows which it has."""
    words = ["python", "bin/reproduce.py", arguments.experiment, "--dataset", arguments.dataset]
    for flag in ("data", "features"):
        if value := getattr(arguments, flag):
            words += [f"--{flag}", Path(value).name]
    return shlex.join([*words, "--seeds", str(arguments.seeds), "--scale", arguments.scale])


if __name__ == "__main__":
    main(command)
