"""Print the results of finished runs as one Markdown table: RUN is a work directory that holds model/results.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.cli import main


@dataclass(frozen=True)
class Arguments:
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Work directories, e.g. runs/ml1m runs/ml1m_sasrec."""
    part: Literal["validation", "test"] = "test"
    """Which held-out items."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.files import read_json
    from easrec_jax.report import markdown_table

    if not arguments.runs:
        raise ValueError("expected at least one work directory")
    rows = {}
    for run in arguments.runs:
        results = read_json(run / "model" / "results.json")
        rows[run.name] = results
        rows |= {f"{run.name}: {name}": row for name, row in results.get("baselines", {}).items()}
    print(markdown_table(rows, part=arguments.part))


if __name__ == "__main__":
    main(command)
