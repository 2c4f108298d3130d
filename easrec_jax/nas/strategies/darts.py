"""DARTS: softmax relaxation, all paths active all the time, no noise, no constraint.

Source: Liu, Simonyan, Yang, DARTS: Differentiable Architecture Search, ICLR 2019 (first order). Kept: every operation
is the softmax-weighted sum of all candidates; weights on training batches and architecture parameters on validation
batches in turn; at the end the most probable. Changed: the space is this package's (one alpha for all layers, beta over
depths, where DARTS has an alpha an edge of a cell), Adam for both parameter sets, and the final comparison of
`search.finalists` (1: as published). As with every strategy here, an architecture step follows each `search.every`-th
weight step after the warm-up epochs (the source: each one), and the pick goes on from the supernet's weights (the
source: from scratch). It knows no resources: `search.budget` is refused.
Where no mixture can be computed (`strategy.one_at_a_time`) its softmax is what networks are drawn from.
"""

from __future__ import annotations

from easrec_jax.nas.strategies.strategy import Strategy

STRATEGY = Strategy(keeps_budget=False)
