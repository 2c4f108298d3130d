"""`easrec serve` without installing the command: see easrec_jax/commands/serve.py."""

from easrec_jax.commands import serve
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(serve.command)
