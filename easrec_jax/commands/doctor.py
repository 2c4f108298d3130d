"""Look at this installation: versions, extras, devices, memory, and a short training, saved, loaded and asked.

Ends with status 1 and a line that says why if the training or what was saved of it is not as it should be.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "polars", "tyro")


@dataclass(frozen=True)
class Arguments:
    test: bool = True
    """Train a small network on planted data, save it, load it and compare its answers: half a minute the first time."""


def command() -> int:
    """Print what is found; the exit status."""
    arguments = tyro.cli(Arguments, description=__doc__, use_underscores=True)
    for title, text in {**software(), **hardware()}.items():
        print(f"{title:9} {text}", flush=True)
    if not arguments.test:
        return 0
    started = time.perf_counter()
    wrong = self_test()
    print(f"{'test':9} {wrong or 'trained, saved, loaded, answered alike'}; {time.perf_counter() - started:.0f} s")
    return 1 if wrong else 0


def software() -> dict[str, str]:
    """What is installed, and what is not."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    package = importlib.metadata.distribution("easrec_jax")
    there = {name: installed(package, name) for name in package.metadata.get_all("Provides-Extra") or []}
    have, lack = (", ".join(name for name in there if there[name] is answer) for answer in (True, False))
    return {
        "package": f"easrec_jax {package.version} in {Path(__file__).parents[1]}",
        "python": f"{platform.python_version()}, {platform.platform()}",
        "versions": versions,
        "extras": (have or "none") + (f'; not there: {lack}, by pip install "easrec_jax[NAME]"' if lack else ""),
    }


def installed(package: importlib.metadata.Distribution, extra: str) -> bool:
    """Whether all that an extra asks for is there, in any version."""
    for line in package.requires or ():
        requirement, _, marker = line.partition(";")
        if f'extra == "{extra}"' in marker.replace("'", '"') and "sys_platform" not in marker:
            name, _, inner = re.split(r"[<>=!~ ]", requirement.strip(), maxsplit=1)[0].partition("[")
            if inner:  # of other extras of this package
                if not all(installed(package, other) for other in inner.rstrip("]").split(",")):
                    return False
                continue
            try:
                importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                return False
    return True


def hardware() -> dict[str, str]:
    """Devices as JAX sees them, memory, the folder of compiled programs."""
    import jax

    devices = ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {"devices": f"{devices}; {cores} cores"}
    if sys.platform == "linux":
        sizes = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free, total = (int(sizes[name].split()[0]) / 2**20 for name in ("MemAvailable", "MemTotal"))
        found["memory"] = f"{free:.1f} GiB free of {total:.1f}"
    folder = jax.config.values["jax_compilation_cache_dir"]
    usable = folder and os.access(folder, os.W_OK)
    found["cache"] = f"{folder}{'' if usable else ': cannot be written, every program is compiled again'}"
    return found


def self_test() -> str:
    """Train, save, load, ask; what is wrong, or ""."""
    from easrec_jax.config import Config, DataConfig, ModelConfig, PlantedConfig, RetrainConfig, SearchConfig
    from easrec_jax.config_files import to_json
    from easrec_jax.data.load import load_data
    from easrec_jax.runs.pipeline import fit
    from easrec_jax.serving.artifact import save_model
    from easrec_jax.serving.recommend import Recommender

    config = Config(
        data=DataConfig(planted=PlantedConfig(users=600, items=100, tastes=4)),
        model=ModelConfig(width=32, inner=32, layers=1, heads=2, max_length=40, dropout=0.0),
        search=SearchConfig(prune=(0.0,)),
        retrain=RetrainConfig(architecture="full", epochs=4, batch_size=16, buckets=1, learning_rate=0.01),
    )
    data, _ = load_data(config.data, seed=0)
    model = fit(config, data)
    chance, found = 10 / data.num_items, model.results["test"]["full"]["recall@10"]
    if not found > 1.5 * chance:
        return f"the training learned nothing: recall@10 {found:.4f}, by chance {chance:.4f}"
    history = [list(data.item_ids.raw[:3])]
    with tempfile.TemporaryDirectory() as folder:
        save_model(
            Path(folder) / "model", model, architecture=model.architecture.to_json(), config=to_json(config), metrics=""
        )
        saved = Recommender.load(Path(folder) / "model").recommend(history, 5)
    made = Recommender(model).recommend(history, 5)
    return "" if saved == made else f"the saved model answers {saved}, the one in memory {made}"
