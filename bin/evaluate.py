"""Evaluate saved models on a data set by any protocols, alone or against others: MODEL is a folder of bin/retrain.py.

Several models are the seeds of one: each user's gain is averaged over them. With --against, the other models' are
compared user by user: the difference, its standard error by users and, of several seeds, by them too, and the p of a
t-test; and their costs are measured beside each other, in turn. Events of items that the models do not know are left out, and counted.
"""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from easrec_jax.config import DataConfig, EvaluateConfig
from easrec_jax.runs.cli import machine, main


@dataclass(frozen=True)
class Arguments:
    models: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL...")]
    """Model folders, e.g. runs/demo/model."""
    against: tuple[Path, ...] = ()
    """Model folders to compare with, which know the same items."""
    part: Literal["validation", "test"] = "test"
    """Which held-out items are the targets."""
    data: DataConfig = field(default_factory=DataConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    seed: int = 0
    """Seed of planted data: that of the training."""
    json: bool = False
    """Print figures, comparisons, counts and settings as one line of JSON instead of tables."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)

    from easrec_jax.data.load import load_data
    from easrec_jax.data.split import Split
    from easrec_jax.evaluate.evaluator import Evaluator
    from easrec_jax.evaluate.latency import BULK_USERS, compare_costs
    from easrec_jax.evaluate.metrics import compare_seeds, gains_of_seeds
    from easrec_jax.models.network import network_scores
    from easrec_jax.runs.tables import comparison_table, costs_table, metrics_table
    from easrec_jax.serving.recommend import Recommender

    if not arguments.models:
        raise ValueError("models: expected at least one model folder")
    loaded = {path: Recommender.load(path) for path in (*arguments.models, *arguments.against)}
    ids = loaded[arguments.models[0]].item_ids
    for path, other in loaded.items():
        if other.item_ids != ids:
            raise ValueError(
                f"{path}: knows other items than {arguments.models[0]} ({len(other.item_ids)} and {len(ids)}), their ranks "
                "cannot be compared; expected models trained on the same data"
            )
    started = time.perf_counter()
    data, _ = load_data(arguments.data, seed=arguments.seed)
    notes, short = data.notes, data.dropped_users
    data, left_out = data.restricted_to(ids)
    split, settings = Split(data), arguments.evaluate
    evaluators = {}
    for length in {r.architecture.max_length for r in loaded.values()}:
        evaluators[length] = Evaluator(
            split, arguments.part, length, settings.protocols, settings.ks, settings.ties,
            settings.batch_size, settings.negatives_seed,
        )  # fmt: skip
    prepared = time.perf_counter()
    ranks = {
        path: evaluators[r.architecture.max_length].ranks(network_scores(r.network), r.weights)
        for path, r in loaded.items()
    }
    seconds = time.perf_counter() - prepared
    gained, others = (
        gains_of_seeds([ranks[path] for path in paths], settings.ks) for paths in (arguments.models, arguments.against)
    )
    figures = {p: {name: float(values.mean()) for name, values in of.items()} for p, of in gained.items()}
    compared = {p: {name: compare_seeds(gained[p][name], of[name]) for name in of} for p, of in others.items()}
    sides = [[loaded[path].network for path in paths] for paths in (arguments.models, arguments.against)]
    costs = compare_costs(*sides) if compared else {}
    if arguments.json:
        result = {
            "part": arguments.part,
            "users": data.num_users,
            "left_out": left_out,
            "dropped_users": short,
            "figures": figures,
            "against": compared,
            "costs": {name: dict(zip(("mine", "theirs"), pair, strict=True)) for name, pair in costs.items()},
            "settings": dataclasses.asdict(settings),
        }
        timing = {"prepare_s": prepared - started, "evaluate_s": seconds}
        print(json.dumps(result | timing | machine()))
        return
    print(metrics_table(figures))
    if compared:
        print(f"\nagainst {', '.join(map(str, arguments.against))}, user by user\n{comparison_table(compared)}")
        print(f"\nin batches of {BULK_USERS} users of N events\n{costs_table(costs)}\n")
    for note in notes:
        print(note)
    if any(left_out.values()):
        print(
            f"left out: {left_out['items']} items unknown to the model, their {left_out['events']} events, and "
            f"{left_out['users']} users of whom fewer than 3 events are known"
        )
    print(
        f"{arguments.part} items of {data.num_users} users; read and prepared in {prepared - started:.2f} s, "
        f"evaluated in {seconds:.2f} s (compilation included), {machine()['peak_memory_mb']} MB at most"
    )


if __name__ == "__main__":
    main(command)
