"""One self-contained HTML page of one run or several beside each other: pictures inline, nothing loaded, all text escaped."""

from __future__ import annotations

import base64
import html
import io
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from easrec_jax.config import Config
from easrec_jax.config_files import from_json, to_json
from easrec_jax.files import read_json, write_text
from easrec_jax.runs.report import by_data, comparison_figure, draw_search, training_figure
from easrec_jax.runs.workdir import MetricsLog

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid #d6dade; }
h3 { font-size: 1rem; margin-bottom: .3rem; } p { margin: .3rem 0; }
h1, h2, td, pre { overflow-wrap: anywhere; }
.wide { overflow-x: auto; } img { max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e4e7ea; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 8rem; } td.best { font-weight: 600; }
pre { background: #f5f6f8; padding: .8rem; white-space: pre-wrap; } .note { color: #59636e; font-size: .9rem; }
.pair { display: flex; flex-wrap: wrap; gap: 0 3rem; }
"""


@dataclass(frozen=True)
class Run:
    """What a work directory holds; a part that is not there (yet) is empty or None."""

    name: str
    config: Config
    results: dict  # of the model
    searched: dict  # search/architecture.json
    search: list[dict]  # lines of search/metrics.jsonl
    training: list[dict]  # lines of retrain/metrics.jsonl
    latency: dict  # `measure_latency`


def read_runs(folders: Sequence[Path], *, latency: bool) -> list[Run]:
    """Read work directories. `ValueError` names a folder that holds no run, or a file that is not as it should be."""
    short = [folder.resolve().name for folder in folders]
    names = [name if short.count(name) == 1 else folder.as_posix() for name, folder in zip(short, folders, strict=True)]
    return [_read_run(name, folder, latency) for name, folder in zip(names, folders, strict=True)]


def _read_run(name: str, folder: Path, latency: bool) -> Run:
    configs = [folder / part / "config.json" for part in ("model", "retrain", "search")]
    path = next((path for path in configs if path.is_file()), None)
    if path is None:
        raise ValueError(f"{folder}: no run here (expected search/, retrain/ or model/, as the commands write them)")
    config = from_json(path.read_text(), source=str(path))
    results, found = folder / "model" / "results.json", folder / "search" / "architecture.json"
    return Run(
        name, config, read_json(results) if results.is_file() else {}, read_json(found) if found.is_file() else {},
        MetricsLog(folder / "search" / "metrics.jsonl").records(),
        MetricsLog(folder / "retrain" / "metrics.jsonl").records(),
        measure_latency(folder / "model") if latency and results.is_file() else {},
    )  # fmt: skip


def measure_latency(folder: Path, *, calls: int = 300) -> dict:
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


def write_page(runs: list[Run], path: Path, *, part: str = "test") -> None:
    """Write the page; it appears whole. Needs matplotlib (extra `plot`)."""
    body = [_tag("h1", "EASRec: " + ", ".join(run.name for run in runs))]
    groups = by_data({run.name: run.results for run in runs if run.results})
    for data, names in groups.items():
        among = [run for run in runs if run.name in names]
        models = [model for run in among for model in _models(run)]
        of = f" of {data}" if len(groups) > 1 else ""
        body += [_tag("h2", f"Accuracy and cost, {part} items{of}"), _accuracy(models, part)]
        body += [_comparison(among, models, part)]
    for run in runs:
        body += _run(run)
    title = html.escape(", ".join(run.name for run in runs))
    page = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    page += f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    write_text(path, page)


def _models(run: Run) -> list[dict]:
    """The model of a run and its baselines, as rows of the comparison."""
    rows = [(run.name, run.results, run.latency)] if run.results else []
    rows += [(f"{run.name}: {name}", row, {}) for name, row in _dict(run.results, "baselines").items()]
    return [{"name": name, "figures": row, "latency": latency} for name, row, latency in rows]


def _accuracy(models: list[dict], part: str) -> str:
    protocols = list(dict.fromkeys(p for m in models for p in _dict(m["figures"], part)))
    metrics = ("recall@10", "mrr@10", "ndcg@10")
    highest = {
        p: max((x for m in models if (x := _number(m["figures"], part, p, "ndcg@10")) is not None), default=None)
        for p in protocols
    }
    rows = []
    for m in models:
        cells = [" / ".join(_show(m["figures"], part, p, metric, form=".4f") for metric in metrics) for p in protocols]
        first = [_number(m["figures"], part, p, "ndcg@10") == highest[p] is not None for p in protocols]
        rows.append([m["name"], *(Best(cell) if best else cell for cell, best in zip(cells, first, strict=True))])
    head = ["Recall / MRR / NDCG @10", *protocols]
    cost = ["", "network", "MFLOPs a request", "parameters", "ms a request, p50 / p99", "training, s", "peak MB"]
    lines = []
    for m in models:
        arch, late = _dict(m["figures"], "architecture"), m["latency"]
        flops = _number(arch, "flops")
        lines.append([
            m["name"], _network(arch), "-" if flops is None else f"{flops / 1e6:.1f}", _show(arch, "parameters", form=",.0f"),
            f"{late['p50_ms']:.2f} / {late['p99_ms']:.2f}" if late else "-",
            _show(m["figures"], "seconds", form=",.0f"), _show(m["figures"], "peak_memory_mb", form=",.0f"),
        ])  # fmt: skip
    devices = sorted({m["latency"]["device"] for m in models if m["latency"]})
    note = f"Latency: one user with N events, the ten best, measured when this page was made on: {', '.join(devices)}."
    trained = sorted({str(m["figures"]["device"]) for m in models if "device" in m["figures"]})
    note = (note if devices else "Latency was not measured.") + f" Trained on: {', '.join(trained) or 'unknown'}."
    return _table(head, rows) + _table(cost, lines) + _tag("p", note, "note")


def _comparison(runs: list[Run], models: list[dict], part: str) -> str:
    """Accuracy over FLOPs and over latency."""
    wanted = runs[0].config.evaluate.select_by
    known = [p for m in models for p in _dict(m["figures"], part)]
    protocol = wanted if wanted in known else (known[0] if known else "")
    points = [
        (m["name"], ndcg, _number(m["figures"], "architecture", "flops"), m["latency"].get("p50_ms"))
        for m in models
        if (ndcg := _number(m["figures"], part, protocol, "ndcg@10")) is not None
    ]
    if not points:
        return ""
    return _picture(
        lambda file: comparison_figure(points, file, title=f"{part} NDCG@10 ({protocol})"), "NDCG over cost"
    )


def _run(run: Run) -> list[str]:
    body = [_tag("h2", run.name)]
    select_by = run.config.evaluate.select_by
    counts = {k: v for k, v in _dict(run.results, "data").items() if k != "settings"}
    architecture = _dict(run.results, "architecture") or run.searched
    shown = {k: v for k, v in architecture.items() if k != "chosen_by"}
    chosen = {k: v for k, v in _dict(architecture, "chosen_by").items() if k != "finalists"}
    lists = [("Data", counts), ("Architecture", shown), ("How it was chosen", chosen)]
    body.append(
        '<div class="pair">' + "".join(f"<div>{_tag('h3', t)}{_pairs(x)}</div>" for t, x in lists if x) + "</div>"
    )
    finalists = _dict(architecture, "chosen_by").get("finalists")
    if isinstance(finalists, list) and finalists and all(isinstance(f, dict) for f in finalists):
        names = list(dict.fromkeys(key for f in finalists for key in f))
        shown = [f | {"architecture": _network(_dict(f, "architecture"))} for f in finalists]
        rows = [[_text(f.get(name, "-")) for name in names] for f in shown]
        body += [_tag("h3", "Finalists of the search"), _table(names, rows)]
    if run.search:
        body += [_tag("h3", "Search"), _drawn(
            lambda file: draw_search(run.search, run.config, file), "search trajectories"
        )]  # fmt: skip
    if run.training:
        body += [_tag("h3", "Training"), _drawn(
            lambda file: training_figure(run.training, file, select_by=select_by), "training curves"
        )]  # fmt: skip
    body.append(f"<details><summary>Full config</summary><pre>{html.escape(to_json(run.config))}</pre></details>")
    return body


def _drawn(draw: Callable[[Any], None], alternative: str) -> str:
    """A picture, or a line that says why there is none: metrics of another version or by hand must not stop the page."""
    try:
        return _picture(draw, alternative)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return _tag("p", f"The {alternative} cannot be drawn: {type(error).__name__}: {error}", "note")


def _picture(draw: Callable[[Any], None], alternative: str) -> str:
    file = io.BytesIO()
    draw(file)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<div class="wide"><img alt="{html.escape(alternative)}" src="data:image/png;base64,{data}"></div>'


class Best(str):
    """The text of a cell that is the best of its column."""


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    text = "<tr>" + "".join(_tag("th", cell) for cell in head) + "</tr>"
    text += "".join(
        "<tr>" + "".join(_tag("td", cell, "best" * isinstance(cell, Best)) for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table>{text}</table></div>'


def _pairs(tree: dict) -> str:
    return _table([], [[key.replace("_", " "), _text(value)] for key, value in tree.items()]).replace("<tr></tr>", "")


def _tag(name: str, text: str, kind: str = "") -> str:
    """An element with escaped text; a class if `kind` is given."""
    return f"<{name}{f' class={kind!r}' if kind else ''}>{html.escape(text)}</{name}>"


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def _network(arch: dict) -> str:
    return f"{arch.get('depth')} x {arch.get('width')}/{arch.get('inner')} {arch.get('attention')}" if arch else "-"


def _dict(tree: Any, key: str) -> dict:
    value = tree.get(key) if isinstance(tree, dict) else None
    return value if isinstance(value, dict) else {}


def _number(tree: Any, *keys: str) -> float | None:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return float(tree) if isinstance(tree, int | float) and not isinstance(tree, bool) else None


def _show(tree: Any, *keys: str, form: str) -> str:
    value = _number(tree, *keys)
    return "-" if value is None else format(value, form)
