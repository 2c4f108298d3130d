"""One self-contained HTML page of one run or several beside each other: pictures inline, nothing loaded, all text escaped."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from easrec_jax.config_files import to_json
from easrec_jax.files import write_text
from easrec_jax.runs.elements import Best, drawn, pairs, picture, table, tag, text
from easrec_jax.runs.figures import comparison_figure, draw_search, training_figure
from easrec_jax.runs.records import RunRecords
from easrec_jax.runs.searched import FIGURES, compared_networks, factors, is_pick, last_shares, network_name
from easrec_jax.runs.slider import sizes_html
from easrec_jax.runs.tables import by_data

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
.sizes input { width: 460px; max-width: 100%; } .sizes svg { max-width: 100%; height: auto; }
.pair { display: flex; flex-wrap: wrap; gap: 0 3rem; }
"""


def write_page(runs: list[RunRecords], path: Path, *, part: str = "test") -> None:
    """Write the page; it appears whole. Needs matplotlib (extra `plot`)."""
    body = [tag("h1", "EASRec: " + ", ".join(run.name for run in runs))]
    groups = by_data({run.name: run.results for run in runs if run.results})
    for data, names in groups.items():
        among = [run for run in runs if run.name in names]
        models = [model for run in among for model in _models(run)]
        of = f" of {data}" if len(groups) > 1 else ""
        body += [tag("h2", f"Accuracy and cost, {part} items{of}"), _accuracy(models, part)]
        body += [_comparison(among, models, part)]
    for number, run in enumerate(runs):
        body += _run(run, f"sizes-{number}")
    title = html.escape(", ".join(run.name for run in runs))
    page = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    page += f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    write_text(path, page)


def _models(run: RunRecords) -> list[dict]:
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
            m["name"], network_name(arch), "-" if flops is None else f"{flops / 1e6:.1f}", _show(arch, "parameters", form=",.0f"),
            f"{late['p50_ms']:.2f} / {late['p99_ms']:.2f}" if late else "-",
            _show(m["figures"], "seconds", form=",.0f"), _show(m["figures"], "peak_memory_mb", form=",.0f"),
        ])  # fmt: skip
    devices = sorted({m["latency"]["device"] for m in models if m["latency"]})
    note = f"Latency: one user with N events, the ten best, measured when this page was made on: {', '.join(devices)}."
    trained = sorted({str(m["figures"]["device"]) for m in models if "device" in m["figures"]})
    note = (note if devices else "Latency was not measured.") + f" Trained on: {', '.join(trained) or 'unknown'}."
    return table(head, rows) + table(cost, lines) + tag("p", note, "note")


def _comparison(runs: list[RunRecords], models: list[dict], part: str) -> str:
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
    return picture(lambda file: comparison_figure(points, file, title=f"{part} NDCG@10 ({protocol})"), "NDCG over cost")


def _run(run: RunRecords, slider: str) -> list[str]:
    body = [tag("h2", run.name)]
    counts = {k: v for k, v in _dict(run.results, "data").items() if k != "settings"}
    architecture = _dict(run.results, "architecture") or run.searched
    shown = {k: v for k, v in architecture.items() if k != "chosen_by"}
    chosen = {k: v for k, v in _dict(architecture, "chosen_by").items() if k not in IN_TABLES}
    lists = [("Data", counts), ("Architecture", shown), ("How it was chosen", chosen)]
    body.append(
        '<div class="pair">' + "".join(f"<div>{tag('h3', t)}{pairs(x)}</div>" for t, x in lists if x) + "</div>"
    )
    if run.sizes:
        body += [tag("h3", "One network, any size"), sizes_html(run.sizes, slider)]
    if run.per_user:
        body += [tag("h3", "A size for each user"), _per_user(run.per_user)]
    body += _search(architecture, run)
    if run.search:
        body += [tag("h3", "Search"), drawn(
            lambda file: draw_search(run.search, run.search_config, file), "search trajectories"
        )]  # fmt: skip
    if run.training:
        select_by = run.config.evaluate.select_by
        body += [tag("h3", "Training"), drawn(
            lambda file: training_figure(run.training, file, select_by=select_by), "training curves"
        )]  # fmt: skip
    body.append(f"<details><summary>Full config</summary><pre>{html.escape(to_json(run.config))}</pre></details>")
    return body


def _per_user(route: dict) -> str:
    """Who is answered by which size: shares of all users, and by how many events count."""
    quarters = route["lengths"]
    head = [
        "network",
        "FLOPs over the largest's",
        "of all users",
        *(f"{q['from']} to {q['to']} events" for q in quarters),
    ]
    rows = [
        [network_name(one), f"{one['cost']:.3f}", f"{one['share']:.0%}", *(f"{q['shares'][n]:.0%}" for q in quarters)]
        for n, one in enumerate(route["networks"])
    ]
    note = (
        f"Mean FLOPs {route['cost']['test']:.3f} of the largest network's, the router included (test items). NDCG@10: "
    )
    largest = _dict(_dict(route, "largest"), "test")
    figures = [
        f"{name} {_show(figures, 'ndcg@10', form='.4f')} (the largest for all: {_show(largest, name, 'ndcg@10', form='.4f')})"
        for name, figures in route["test"].items()
    ]
    return table(head, rows) + tag("p", note + "; ".join(figures) + ". Served with --per_user.", "note")


IN_TABLES = ("finalists", "shares", "p", "q")  # of `chosen_by`: what `_search` shows


def _search(architecture: dict, run: RunRecords) -> list[str]:
    """What the search preferred at its end, and the networks that it compared; the pick is bold."""
    chosen, body = _dict(architecture, "chosen_by"), []
    if shares := last_shares(chosen, factors(run.search_config)):
        rows = []
        for factor, values in shares:
            cells = [f"{label}: {value:.2f}" for label, value in zip(factor.labels, values, strict=True)]
            picked = factor.picked(architecture)
            rows.append([factor.title, *(Best(c) if best else c for c, best in zip(cells, picked, strict=True))])
        longest = max(map(len, rows))
        body += [tag("h3", "Last shares of the search")]
        body += [table(["choice", *["option: share"] * (longest - 1)], [r + [""] * (longest - len(r)) for r in rows])]
    if compared := compared_networks(chosen):
        known = [name for name in FIGURES if any(name in entry for entry in compared)]
        rows = []
        for entry in compared:
            name = network_name(_dict(entry, "architecture"))
            rows.append([Best(name) if is_pick(entry, architecture) else name])
            rows[-1] += [text(entry.get(figure, "-")) for figure in known]
        title = "Finalists of the search" if shares else "Networks that the search trained"
        body += [tag("h3", title), table(["network", *known], rows)]
    return body


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
