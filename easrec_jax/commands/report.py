"""One self-contained HTML page of finished runs: RUN is a work directory; several are shown beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


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
    """Write the page, or print the table."""
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    if not arguments.runs:
        raise ValueError("expected at least one work directory")

    from easrec_jax.runs.page import write_page
    from easrec_jax.runs.records import read_runs
    from easrec_jax.runs.tables import markdown_of_runs

    if arguments.markdown:
        print(markdown_of_runs(arguments.runs, part=arguments.part))
        return
    write_page(read_runs(arguments.runs, latency=arguments.latency), arguments.out, part=arguments.part)
    print(f"written to {arguments.out}")
