"""`easrec COMMAND ...`: one program for all commands."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

from easrec_jax.commands import __name__ as PACKAGE
from easrec_jax.runs.cli import fail, main

COMMANDS = (
    "demo",
    "fit",
    "prepare",
    "search",
    "retrain",
    "route",
    "add_items",
    "recommend",
    "evaluate",
    "index",
    "serve",
    "report",
    "doctor",
)  # as they are used


def run() -> NoReturn:
    """Run the command that is named first, with what follows it."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "--version"):
        print(version() if name == "--version" else overview())
        raise SystemExit(0)
    if name not in COMMANDS:
        fail(f"expected one of the commands {', '.join(COMMANDS)}, got {name!r}; easrec --help says what they do")
    sys.argv = [f"easrec {name}", *arguments]
    main(importlib.import_module(f"{PACKAGE}.{name}").command)


def version() -> str:
    """`easrec_jax 1.2.3`."""
    from easrec_jax import __version__

    return f"easrec_jax {__version__}"


def overview() -> str:
    """Each command and what it does."""
    lines = []
    for name in COMMANDS:
        text = importlib.import_module(f"{PACKAGE}.{name}").__doc__ or ""
        lines.append(f"  {name:10} {text.splitlines()[0].partition(': ')[0].rstrip('.')}")
    return "\n".join(["usage: easrec COMMAND ..., and easrec COMMAND --help\n", *lines])


if __name__ == "__main__":
    run()
