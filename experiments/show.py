"""How figures stand in the tables of every experiment."""

from __future__ import annotations

from typing import Any

import numpy as np

FLOPS_HEAD = ("MFLOPs", "MFLOPs, all positions")
FLOPS_NOTE = "MFLOPs are those of a request, whose last layer runs at the last position alone; all positions: every layer at each (Eq. 15)."
NAMES = {"recall@10": "Recall@10", "mrr@10": "MRR@10", "ndcg@10": "NDCG@10"}


def plus_minus(values: Any, digits: int = 4) -> str:
    """Mean ± standard deviation over seeds, the mean alone for one."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def show_p(p: float) -> str:
    """For a table; "-" where there is none."""
    return "-" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def show_mflops(flops: float | None) -> str:
    """For a table."""
    return "-" if flops is None else f"{flops / 1e6:.2f}"


def beside(value: Any, paper: float | None, digits: int = 4) -> str:
    """The paper's figure and how far ours is from it; "-" where it has none."""
    return "-" if paper is None else f"{paper:.{digits}f} ({value / paper - 1:+.1%})"
