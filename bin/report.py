"""One self-contained HTML page of finished runs: RUN is a work directory; several are shown beside each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.runs.cli import main


@dataclass(frozen=True)
class Arguments:
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Work directories, e.g. runs/ml1m runs/ml1m_sasrec."""
    out: Path = Path("report.html")
    """The page."""
    part: Literal["validation", "test"] = "test"
    """Which held-out items."""
    latency: bool = True
    """Measure the latency of each saved model, on this machine."""
    markdown: bool = False
    """Print the results as one Markdown table instead."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    if not arguments.runs:
        raise ValueError("expected at least one work directory")
    if arguments.markdown:
        print_markdown(arguments)
        return

    from easrec_jax.runs.page import read_runs, write_page

    write_page(read_runs(arguments.runs, latency=arguments.latency), arguments.out, part=arguments.part)
    print(f"written to {arguments.out}")


def print_markdown(arguments: Arguments) -> None:
    from easrec_jax.files import read_json
    from easrec_jax.runs.report import by_data, markdown_table

    rows, results = {}, {}
    for run in arguments.runs:
        path = run / "model" / "results.json"
        name = run.name if run.name not in rows else run.as_posix()
        results[name] = read_json(path)
        baselines = {f"{name}: {baseline}": row for baseline, row in results[name].get("baselines", {}).items()}
        rows[name] = {name: results[name]} | baselines
        if not isinstance(results[name].get(arguments.part), dict):
            raise ValueError(f"{path}: no figures of the {arguments.part} items")
    groups = by_data(results)
    for data, names in groups.items():
        if len(groups) > 1:
            print(f"\n{data}\n")
        table = {name: row for run in names for name, row in rows[run].items()}
        print(markdown_table(table, part=arguments.part))


if __name__ == "__main__":
    main(command)
