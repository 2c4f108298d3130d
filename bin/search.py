"""`easrec search` without installing the command: see easrec_jax/commands/search.py."""

from easrec_jax.commands import search
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(search.command)
