"""`easrec index` without installing the command: see easrec_jax/commands/index.py."""

from easrec_jax.commands import index
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(index.command)
