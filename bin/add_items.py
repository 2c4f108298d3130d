"""Give a trained model new items by their features: see easrec_jax/commands/add_items.py."""

from easrec_jax.commands.add_items import command
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(command)
