"""`easrec prepare` without installing the command: see easrec_jax/commands/prepare.py."""

from easrec_jax.commands import prepare
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(prepare.command)
