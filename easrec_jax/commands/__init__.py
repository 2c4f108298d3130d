"""What a user types: `easrec NAME`, or `python bin/NAME.py` in a checkout. A file is a command, its `command()` runs it."""
