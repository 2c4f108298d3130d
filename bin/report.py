"""`easrec report` without installing the command: see easrec_jax/commands/report.py."""

from easrec_jax.commands import report
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(report.command)
