"""Experiments beside the paper's: WORKDIR/DATASET-SCALE/ (finished cells, JSON, CSV, Markdown, PNG).

space: every network of the space trained alone, and what each search strategy picked of it. wide: what a wide space
buys over it, at equal FLOPs and at fewer, and what random search finds there. table3: accuracy of all models; table4:
their inference time and memory; table5: ablations; figure4: the weight lambda of the constraint, and budgets. headline:
EASRec's pick against SASRec of one and of two layers, all from scratch. compare: two models by their kept cells, printed.
results: everything finished in WORKDIR as one document.
"""

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.runs.cli import fail, main

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # experiments/ lies beside bin/, it is not installed

from experiments.recipes import FEATURELESS, Dataset, Scale  # noqa: E402


@dataclass(frozen=True)
class Arguments:
    experiment: Annotated[
        Literal["space", "wide", "table3", "table4", "table5", "figure4", "headline", "compare", "results"],
        tyro.conf.Positional,
    ]
    """What to run; finished cells are not run again."""
    dataset: Dataset = "planted"
    """Which data."""
    data: str = ""
    """File of interactions (default: the catalogue's, downloaded once)."""
    features: str = ""
    """RecBole .item file of item features, for SASRecF and FDSA."""
    rows: tuple[str, ...] = ()
    """Only the rows of these names (space: strategies; default: all). Rows whose cells are finished are shown beside them.
    compare: the two cells, without their seed."""
    seeds: int = 1
    """How many seeds, from 0."""
    scale: Scale = "cpu"
    """smoke: minutes, meaningless figures; cpu: two cores; paper: Table II, for a GPU."""
    workdir: Path = Path("runs/reproduce")
    """Where experiments live (docs/results: those behind docs/results.md); processes may share it."""
    out: Path | None = None
    """results: the document to write (default: WORKDIR.md)."""


TRAINED = ("space", "wide", "table3", "table4", "table5", "figure4", "headline")
TAKERS = {  # which experiments a flag means something to
    "dataset": (*TRAINED, "compare"), "data": TRAINED, "seeds": (*TRAINED, "compare"), "scale": (*TRAINED, "compare"),
    "features": ("table3", "table4"), "rows": (*TRAINED, "compare"), "out": ("results",),
}  # fmt: skip


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.data.load import load_data, load_features
    from easrec_jax.data.split import Split
    from experiments.ablations import run_table5
    from experiments.cells import Cells, Interrupted
    from experiments.compare import compare_cells
    from experiments.headline import run_headline
    from experiments.recipes import DATA_SEEDS, recipe
    from experiments.results import write_document
    from experiments.space import run_space
    from experiments.tables import run_table3, run_table4
    from experiments.tradeoff import run_figure4
    from experiments.wide import run_wide

    name, seeds, dataset = arguments.experiment, arguments.seeds, arguments.dataset
    for flag, takers in TAKERS.items():
        value = getattr(arguments, flag)
        if value != getattr(Arguments(name), flag) and name not in takers:
            raise ValueError(f"{flag}: {name} takes none ({', '.join(takers)} would), got {value}")
    if name == "results":
        out = arguments.out or arguments.workdir.with_name(f"{arguments.workdir.name}.md")
        found = write_document(arguments.workdir, out)
        print("".join(f"{entry}\n" for entry in found) + f"written to {out}")
        return
    if seeds < 1:
        raise ValueError(f"seeds: expected at least 1, got {seeds}")
    folder = arguments.workdir / f"{dataset}-{arguments.scale}"
    if name == "compare":
        print(compare_cells(folder, arguments.rows, seeds))
        return
    wanted, planted = name in TAKERS["features"] and dataset not in FEATURELESS, dataset.startswith("planted")
    if wanted and not planted and not arguments.features:
        raise ValueError(f"features: expected a RecBole .item file, which SASRecF and FDSA of {name} on {dataset} read")
    config = recipe(dataset, arguments.scale, path=arguments.data)
    data, truth = load_data(config.data, seed=DATA_SEEDS.get(dataset, 0))
    features = None
    if arguments.features or wanted and planted:
        features = load_features(replace(config.data, features=arguments.features), data, truth)
    cells = Cells(folder, config, Split(data), features, command=command_line(arguments))
    try:
        if name == "space":
            text = run_space(cells, seeds=seeds, rows=arguments.rows)
        elif name == "wide":
            text = run_wide(cells, seeds=seeds, rows=arguments.rows)
        else:
            run = {
                "table3": run_table3, "table4": run_table4, "table5": run_table5, "figure4": run_figure4,
                "headline": run_headline,
            }[name]  # fmt: skip
            text = run(cells, seeds=seeds, dataset=dataset, rows=arguments.rows)
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
