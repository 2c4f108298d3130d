"""`easrec add_items` without installing the command: see easrec_jax/commands/add_items.py."""

from easrec_jax.commands import add_items
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(add_items.command)
