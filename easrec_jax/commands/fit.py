"""From a file of interactions to a trained model, by settings that suit the data: FILE -> WORKDIR/model/.

    fit clicks.csv
    fit clicks.csv --model.width 64 --retrain.epochs 5

FILE may be left out with --data.path. What users, items and histories there are decides the network's size, the length of
histories, dropout, rate, batch, loss and epochs; the first lines say how. No search is made: one network is trained.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

from easrec_jax.commands.retrain import train
from easrec_jax.config import Config, SearchConfig
from easrec_jax.runs.cli import fail, with_flags


def command() -> None:
    """Read, choose the settings, train."""
    started = time.perf_counter()
    program, arguments = f"{Path(sys.argv[0]).name} FILE", sys.argv[1:]
    default = Config(search=SearchConfig(prune=(0.0,)))  # no search is made: its candidates are no limit of the width
    if arguments and not arguments[0].startswith("-"):
        default = dataclasses.replace(default, data=dataclasses.replace(default.data, path=arguments[0]))
        arguments = arguments[1:]
    asked = with_flags(default, arguments, program, __doc__ or "", meshes=True).config
    if not asked.data.path:
        fail(f"expected a file of interactions first: {program} [--flags], or --data.path")

    from easrec_jax.data.load import load_data
    from easrec_jax.runs.recipe import choose_settings, describe_settings

    data, truth = load_data(asked.data, seed=asked.seed, times=asked.model.times != "no")
    chosen = choose_settings(dataclasses.replace(default, data=asked.data), data.lengths, data.num_items)
    parsed = with_flags(chosen, arguments, program, __doc__ or "", meshes=True)
    print(describe_settings(parsed.config, data.lengths), flush=True)
    train(parsed, parsed.workdir or Path("runs") / name_of(asked.data.path), data, truth, started)


def name_of(path: str) -> str:
    """What a run on that file, folder, pattern, address or catalogued data set is called."""
    parts = [Path(part).stem for part in path.removeprefix("catalog:").split("/")]
    plain = [part for part in parts if part and not set(part) & set("*?[]:")]
    return plain[-1] if plain else "fit"
