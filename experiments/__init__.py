"""Experiments that stand beside the paper's tables and figures; `bin/reproduce.py` runs them."""
