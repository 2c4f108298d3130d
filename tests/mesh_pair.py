"""Two processes of two virtual devices each train one network: `python mesh_pair.py PORT PROCESS FOLDER`, started by `test_mesh.py`.

The second is told to stop; both save one checkpoint, go on from it to the end, and are compared with one device.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import MeshConfig, RetrainConfig
from easrec_jax.data.batches import training_samples
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.network import Network
from easrec_jax.parallel import processes
from easrec_jax.parallel.layout import Layout, make_mesh
from easrec_jax.train import loop
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.fit import Fitted, fit
from easrec_jax.train.loop import QUIET, Run
from easrec_jax.train.objective import FULL, Objective
from easrec_jax.train.task import Task

LENGTH, STOP = 12, 3
SIZES = {"width": 8, "inner": 12, "depth": 1, "heads": 2, "attention": "causal_linrec", "gate_layers": 0}


def main(port: str, process: int, folder: Path) -> dict:
    """What this process has seen."""
    processes.start(MeshConfig(data=2, items=2, coordinator=f"127.0.0.1:{port}", processes=2, process=process))
    loop.AGREE = 2
    split = Split(planted(users=60, items=100, seed=0).data)
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="last")
    network = Network(Architecture(max_length=LENGTH, **SIZES), split.data.num_items, 0.2)
    weights = network.init(jax.random.key(0))
    settings = RetrainConfig(epochs=1, batch_size=8, buckets=1, learning_rate=0.001)
    stopped = []

    def step(state, batch, key, data, **options):
        if process == 1 and len(stopped) < STOP:
            stopped.append(1)
            if len(stopped) == STOP:
                os.kill(os.getpid(), signal.SIGTERM)
        return FULL.step(state, batch, key, data, **options)

    def train(layout: Layout | None, run: Run = QUIET) -> Fitted:
        task = Task(samples, Evaluator(split, "validation", LENGTH, buckets=1, layout=layout), 0.2, 0)
        return fit(network, weights, task, settings=settings, objective=Objective(step), run=run)

    layout, told = Layout(make_mesh(2, 2), split.data.num_items), []
    checkpoints = Checkpoints(folder)
    first = train(layout, Run(checkpoints))
    after = checkpoints.steps()
    rest = train(layout, Run(checkpoints, resume=True, on_epoch=told.append))
    one = train(None)
    apart = [
        np.abs(np.asarray(a) - b).max() for a, b in zip(*map(jax.tree.leaves, (one.weights, rest.weights)), strict=True)
    ]
    error = ""
    try:
        processes.first_does(lambda: (folder / "nowhere" / "file").write_text("") if processes.is_writer() else None)
    except Exception as raised:
        error = str(raised)
    return {
        "finished": [first.finished, rest.finished], "steps": after, "losses": [record["loss"] for record in told],
        "ndcg": [rest.ndcg, one.ndcg], "apart": float(max(apart)), "error": error,
        "whole": list(np.shape(rest.weights["tables"]["items"])),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))), flush=True)
