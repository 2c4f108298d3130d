"""All that a finished or unfinished run wrote, read back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.config_files import from_json
from easrec_jax.files import read_json
from easrec_jax.runs.workdir import MetricsLog
from easrec_jax.serving.artifact import FRONT
from easrec_jax.serving.route import ROUTE, read_described
from easrec_jax.serving.sizes import read_sizes


@dataclass(frozen=True)
class RunRecords:
    """What a work directory holds; a part that is not there (yet) is empty or None."""

    name: str
    config: Config
    results: dict  # of the model
    searched: dict  # search/architecture.json
    search_config: Config  # of the search; `config` where there was none
    search: list[dict]  # lines of search/metrics.jsonl
    training: list[dict]  # lines of retrain/metrics.jsonl
    latency: dict  # `request_latency`
    sizes: list[dict]  # networks of model/front.json, of an elastic model
    per_user: dict  # model/route.json, of one with a router


def read_runs(folders: Sequence[Path], *, latency: bool) -> list[RunRecords]:
    """Read work directories. `ValueError` names a folder that holds no run, or a file that is not as it should be."""
    short = [folder.resolve().name for folder in folders]
    names = [name if short.count(name) == 1 else folder.as_posix() for name, folder in zip(short, folders, strict=True)]
    return [_read_run(name, folder, latency) for name, folder in zip(names, folders, strict=True)]


def _read_run(name: str, folder: Path, latency: bool) -> RunRecords:
    paths = [folder / part / "config.json" for part in ("model", "retrain", "search")]
    configs = {path: from_json(path.read_text(), source=str(path)) for path in paths if path.is_file()}
    if not configs:
        raise ValueError(f"{folder}: no run here (expected search/, retrain/ or model/, as the commands write them)")
    config = next(iter(configs.values()))
    results, found = folder / "model" / "results.json", folder / "search" / "architecture.json"
    return RunRecords(
        name, config, read_json(results) if results.is_file() else {}, read_json(found) if found.is_file() else {},
        configs.get(paths[-1], config),
        MetricsLog(folder / "search" / "metrics.jsonl").records(),
        MetricsLog(folder / "retrain" / "metrics.jsonl").records(),
        request_latency(folder / "model") if latency and results.is_file() else {},
        _sizes(folder / "model"), _per_user(folder / "model"),
    )  # fmt: skip


def _sizes(folder: Path) -> list[dict]:
    """The entries of an elastic model's front.json; none of any other."""
    path = folder / FRONT
    if not path.is_file():
        return []
    return [size.entry for size in read_sizes(path, _largest(folder))]


def _per_user(folder: Path) -> dict:
    """The route.json of an elastic model with a router; nothing of any other."""
    path = folder / ROUTE
    return read_described(path, _largest(folder))[0] if path.is_file() else {}


def _largest(folder: Path) -> Architecture:
    source = folder / "architecture.json"
    return Architecture.from_json(read_json(source), source=str(source))


def request_latency(folder: Path, *, calls: int = 300) -> dict:
    """Milliseconds of a request for one user with N events, raw ids to the ten best raw ids: median and 99th percentile."""
    from easrec_jax.runs.cli import machine
    from easrec_jax.serving.recommend import Recommender

    recommender = Recommender.load(folder)
    raw, length = recommender.item_ids.raw, recommender.architecture.max_length
    history = [raw[position % len(raw)] for position in range(length)]
    k = min(10, len(raw))
    spent = []
    for _ in range(calls + 20):
        begun = time.perf_counter()
        recommender.recommend([history], k, exclude_seen=False)
        spent.append(time.perf_counter() - begun)
    p50, p99 = np.percentile(np.array(spent[20:]) * 1e3, [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99), "device": machine()["device"]}
