"""`easrec route` without installing the command: see easrec_jax/commands/route.py."""

from easrec_jax.commands import route
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(route.command)
