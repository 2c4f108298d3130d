"""bin/route.py from an elastic search to what answers, and the errors of what is none."""

from __future__ import annotations

CONFIG = """

"""
