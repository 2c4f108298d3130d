"""Evaluate a saved model on a data set by any protocols: MODEL is a folder that bin/retrain.py wrote."""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.cli import machine, main
from easrec_jax.config import DataConfig, EvaluateConfig


@dataclass(frozen=True)
class Arguments:
    model: Annotated[Path, tyro.conf.Positional]
    """Model folder, e.g. runs/demo/model."""
    part: Literal["validation", "test"] = "test"
    """Which held-out items are the targets."""
    data: DataConfig = field(default_factory=DataConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    seed: int = 0
    """Seed of planted data."""
    json: bool = False
    """Print JSON instead of a table."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.data.load import load_data
    from easrec_jax.data.split import Split
    from easrec_jax.evaluate import Evaluator
    from easrec_jax.recommend import Recommender
    from easrec_jax.report import metrics_table
    from easrec_jax.train import network_scores

    recommender = Recommender.load(arguments.model)
    started = time.perf_counter()
    data, _ = load_data(arguments.data, seed=arguments.seed)
    data = data.with_ids(recommender.item_ids)
    settings = arguments.evaluate
    evaluator = Evaluator(
        Split(data), arguments.part, recommender.architecture.max_length, settings.protocols, settings.ks, settings.ties,
        settings.batch_size, settings.negatives_seed,
    )  # fmt: skip
    prepared = time.perf_counter()
    figures = evaluator(network_scores(recommender.network), recommender.weights)
    seconds = time.perf_counter() - prepared
    if arguments.json:
        timing = {"prepare_s": prepared - started, "evaluate_s": seconds}
        print(
            json.dumps(
                {
                    "part": arguments.part,
                    "figures": figures,
                    "settings": dataclasses.asdict(settings),
                    **timing,
                    **machine(),
                }
            )
        )
        return
    print(metrics_table(figures))
    print(
        f"{arguments.part} items of {data.num_users} users; read and prepared in {prepared - started:.2f} s, "
        f"evaluated in {seconds:.2f} s (compilation included), {machine()['peak_memory_mb']} MB at most"
    )


if __name__ == "__main__":
    main(command)
