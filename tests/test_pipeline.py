"""The whole way in memory: interactions to a recommender, without the folders of the commands."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
from chain import chain, setting

from easrec_jax import search_and_fit
from easrec_jax.config import RetrainConfig
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.loop import Run


def test_a_resumed_way_is_the_way_and_its_two_halves_share_no_checkpoint(tmp_path):
    config = replace(setting(epochs=1, warmup_epochs=0), retrain=RetrainConfig(epochs=1, batch_size=16, buckets=1))
    checkpoints = Checkpoints(tmp_path)
    whole = search_and_fit(config, chain().data, run=Run(checkpoints))
    assert {path.name for path in tmp_path.iterdir()} == {"search", "retrain"}
    again = search_and_fit(config, chain().data, run=Run(checkpoints, resume=True))
    assert jax.tree.all(jax.tree.map(np.array_equal, whole.weights, again.weights))
    assert whole.results["test"] == again.results["test"]
