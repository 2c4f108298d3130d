"""`easrec recommend` without installing the command: see easrec_jax/commands/recommend.py."""

from easrec_jax.commands import recommend
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(recommend.command)
