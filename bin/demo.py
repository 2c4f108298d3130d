"""`easrec demo` without installing the command: see easrec_jax/commands/demo.py."""

from easrec_jax.commands import demo
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(demo.command)
