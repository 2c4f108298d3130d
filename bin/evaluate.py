"""`easrec evaluate` without installing the command: see easrec_jax/commands/evaluate.py."""

from easrec_jax.commands import evaluate
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(evaluate.command)
