"""`easrec retrain` without installing the command: see easrec_jax/commands/retrain.py."""

from easrec_jax.commands import retrain
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(retrain.command)
