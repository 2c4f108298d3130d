"""Text and Markdown tables of what a run wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from easrec_jax.files import read_json
from easrec_jax.runs.searched import network_name

MFLOPS = ("MFLOPs", "MFLOPs, all positions")


def metrics_table(figures: dict[str, dict[str, float]]) -> str:
    """A text table: one line a protocol, one column a metric."""
    names = list(next(iter(figures.values())))
    lines = [["protocol", *names], *([p, *(f"{row[name]:.4f}" for name in names)] for p, row in figures.items())]
    return _aligned(lines)


def comparison_table(compared: dict[str, dict[str, dict[str, float]]]) -> str:
    """A text table of `metrics.compare` by protocol and metric: a line each."""
    lines = [["protocol", "metric", "theirs", "difference", "standard error", "p"]]
    for protocol, of in compared.items():
        for name, c in of.items():
            p = "< 0.001" if c["p"] < 0.001 else f"{c['p']:.3f}"
            lines.append(
                [protocol, name, f"{c['mean']:.4f}", f"{c['difference']:+.4f}", f"{c['standard_error']:.4f}", p]
            )
    return _aligned(lines)


def costs_table(costs: dict[str, tuple[float, float]]) -> str:
    """A text table of `latency.compare_costs`: a line a cost."""
    names = {"mflops": "MFLOPs a request", "ms": "ms a user", "temporary_mb": "MB of temporaries a batch"}
    lines = [["cost", "theirs", "mine", "ratio"]]
    lines += [
        [names[name], f"{theirs:.3g}", f"{mine:.3g}", f"{mine / theirs:.2f}"] for name, (mine, theirs) in costs.items()
    ]
    return _aligned(lines)


def results_table(rows: dict[str, dict], protocols: tuple[str, ...], *, part: str = "test") -> str:
    """A text table: one line a model, NDCG@10 by protocol, FLOPs (of a request, and at all positions) and parameters where known."""
    header = ["model", *(f"{name} NDCG@10" for name in protocols), *MFLOPS, "parameters"]
    lines = [header]
    for name, row in rows.items():
        architecture = row.get("architecture", {})
        size = f"{architecture['parameters']:,}" if architecture else "-"
        lines.append([name, *(f"{row[part][p]['ndcg@10']:.4f}" for p in protocols), *_mflops(architecture), size])
    return _aligned(lines)


def sizes_table(entries: Sequence[dict]) -> str:
    """A text table of an elastic model's front.json: a line a network."""
    lines = [["network", "cost", "MFLOPs", "over SASRec's", "ms a user", "validation NDCG@10", "test NDCG@10"]]
    for entry in entries:
        test = entry["test"][entry["select_by"]]["ndcg@10"]
        cost = [
            f"{entry['cost']:.4f}",
            f"{entry['flops'] / 1e6:.2f}",
            f"{entry['flops_over_sasrec']:.3f}",
            f"{entry['ms']:.3f}",
        ]
        lines.append([network_name(entry), *cost, f"{entry['ndcg@10']:.4f}", f"{test:.4f}"])
    return _aligned(lines)


def by_data(results: dict[str, dict]) -> dict[str, list[str]]:
    """Names of runs by the data that their figures are of, in words; `results` are contents of results.json.

    Figures of different data cannot be compared. Data are the same if their fingerprints are, or, in results without one, the
    source and all counts.
    """
    groups: dict[str, list[str]] = {}
    for name, result in results.items():
        data = result.get("data")
        groups.setdefault(_described(data if isinstance(data, dict) else {}), []).append(name)
    return groups


def _described(data: dict) -> str:
    counts = [f"{data[name]:,} {name}" for name in ("users", "items", "interactions") if type(data.get(name)) is int]
    mark = [f"fingerprint {str(data['fingerprint'])[:8]}"] if "fingerprint" in data else []
    return f"{data.get('source', 'unknown data')}: {', '.join(counts + mark) or 'sizes unknown'}"


def markdown_table(rows: dict[str, dict], *, part: str = "test") -> str:
    """A Markdown table of results.json contents: Recall, MRR and NDCG @10 by protocol, size, time and memory of training."""
    protocols = list(next(iter(rows.values()))[part])
    head = [
        "",
        *(f"{p} R / MRR / NDCG @10" for p in protocols),
        "network",
        *MFLOPS,
        "parameters",
        "seconds",
        "peak MB",
    ]
    lines = [head, ["---"] * len(head)]
    for name, row in rows.items():
        figures = [
            " / ".join(f"{row[part][p][m]:.4f}".lstrip("0") for m in ("recall@10", "mrr@10", "ndcg@10"))
            for p in protocols
        ]
        arch = row.get("architecture")
        size = [""] * 4
        if arch:
            size = [network_name(arch), *_mflops(arch), f"{arch['parameters']:,}"]
        lines.append([name, *figures, *size, str(row.get("seconds", "")), str(row.get("peak_memory_mb", ""))])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown_of_runs(folders: Sequence[Path], *, part: str = "test") -> str:
    """`markdown_table` of the models of work directories and their baselines, one a data set, under its name if there are several.

    Raises `ValueError` for a model without figures of that `part`.
    """
    rows, results = {}, {}
    for folder in folders:
        path = folder / "model" / "results.json"
        name = folder.name if folder.name not in rows else folder.as_posix()
        results[name] = read_json(path)
        baselines = {f"{name}: {baseline}": row for baseline, row in results[name].get("baselines", {}).items()}
        rows[name] = {name: results[name]} | baselines
        if not isinstance(results[name].get(part), dict):
            raise ValueError(f"{path}: no figures of the {part} items")
    groups, parts = by_data(results), []
    for data, names in groups.items():
        parts += [f"\n{data}\n"] if len(groups) > 1 else []
        parts.append(markdown_table({label: row for name in names for label, row in rows[name].items()}, part=part))
    return "\n".join(parts)


def _mflops(architecture: dict) -> list[str]:
    """The two columns `MFLOPS` of what `retrain.describe_architecture` wrote; earlier versions wrote the first one alone."""
    found = [architecture.get(name) for name in ("flops", "flops_all")]
    return ["-" if flops is None else f"{flops / 1e6:.1f}" for flops in found]


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def text(line: list[str]) -> str:
        return "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])

    return "\n".join(text(line) for line in lines)
