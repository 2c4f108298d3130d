"""What a network that reads times makes of a time that is not known: the mean over the training events.

Scores are linear in what is read of a request, so an answer to an unknown one is the expected score over the requests of training.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.data.clock import GAP_ROWS, HOURS, WEEKDAYS
from easrec_jax.data.split import Split


def with_unknown_times(weights: dict, split: Split) -> dict:
    """A trained network's weights with the rows of unknown times; as they are where it reads none."""
    tables = weights["tables"]
    if "gaps" not in tables:
        return weights
    gaps, requests = split.time_counts()
    found = {"gaps": _with_mean(tables["gaps"], gaps, 0)}
    for name in ("scale", "shift"):
        table, ends = tables[name], (0, GAP_ROWS, *((WEEKDAYS, len(requests)) if len(tables[name]) > GAP_ROWS else ()))
        assert ends[1] == HOURS
        for first, last in zip(ends[:-1], ends[1:], strict=True):
            table = _with_mean(table, requests[:last], first)
        found[name] = table
    return weights | {"tables": tables | found}


def _with_mean(table: Array, counts: np.ndarray, row: int) -> Array:
    """The table with the mean of the rows after `row`, as far as `counts` goes, by these counts, in that row."""
    share = counts[row + 1 :] / max(counts[row + 1 :].sum(), 1)
    mean = jnp.asarray(share, jnp.float32) @ table[row + 1 : len(counts)]
    return jnp.asarray(table).at[row].set(mean)
