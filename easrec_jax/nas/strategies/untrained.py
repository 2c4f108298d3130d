"""A control: EASRec whose architecture parameters stay as they begin. What it finds is not learned.

The supernet trains as EASRec's does, and its finalists are compared alike; but they are those that come first while every
width, and every depth that the budget admits with it, is as probable as the next (of equals the wider one first, then the
shallower). What EASRec is better by is what alpha and beta have learned.
"""

from __future__ import annotations

from easrec_jax.nas.strategies import easrec

STRATEGY = easrec.STRATEGY._replace(learn=None)
