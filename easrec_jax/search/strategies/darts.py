"""DARTS: softmax relaxation, all paths active all the time, no noise, no constraint.

Source: Liu, Simonyan, Yang, DARTS: Differentiable Architecture Search, ICLR 2019 (first order). Kept: every operation
is the softmax-weighted sum of all candidates; weights on training batches and architecture parameters on validation
batches in turn; at the end the most probable. Changed: the space is this package's (one alpha for all layers, beta over
depths, where DARTS has an alpha an edge of a cell), Adam for both parameter sets, and the final comparison of
`search.finalists` (1: as published). As with every strategy here, an architecture step follows each `search.every`-th
weight step after the warm-up epochs (the source: each one), and the pick goes on from the supernet's weights (the
source: from scratch). It knows no resources: `search.budget` is refused.
"""

from __future__ import annotations

from easrec_jax.search.strategies.strategy import Strategy, softmax_shares

STRATEGY = Strategy(draw=softmax_shares, relax=softmax_shares, keeps_budget=False)
