"""`easrec fit` without installing the command: see easrec_jax/commands/fit.py."""

from easrec_jax.commands import fit
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(fit.command)
