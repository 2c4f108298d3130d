"""Figures and tables from what a run wrote."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from easrec_jax.config import Config
from easrec_jax.files import write_bytes
from easrec_jax.space import Space, space_of

COSTS = {"flops": "FLOPs", "flops_all": "FLOPs at all positions", "latency": "latency"}
MFLOPS = ("MFLOPs", "MFLOPs, all positions")


def draw_search(records: list[dict], config: Config, path: Path | BytesIO) -> None:
    """A search as a PNG: what happened to the shares of every choice, expected and picked cost, and validation NDCG.

    `records` are the lines of metrics.jsonl. Where networks were trained alone: their validation NDCG over cost. Needs
    matplotlib (extra `plot`).
    """
    if "expected_cost" not in records[0]:
        _networks_trained_alone(records, config, path)
        return
    space = space_of(config)
    shares = _wide_shares(records, space)
    panels = len(shares) + 2
    rows = -(-panels // 4)
    figure, axes = new_figure(rows, 4, (15.0, 3.1 * rows if rows > 1 else 3.4))
    _trajectories(axes.ravel()[:panels], records, shares, config)
    for axis in axes.ravel()[panels:]:
        axis.set_axis_off()
    _save(figure, path)


Shares = dict[str, dict[str, list[float]]]  # panel: label: a value an epoch


def _wide_shares(records: list[dict], space: Space) -> Shares:
    shares = {
        name.replace("_", " "): {str(o): [r["shares"][name][i] for r in records] for i, o in enumerate(options)}
        for name, options in space.factors.items()
        if len(options) > 1
    }
    for layer in range(space.num_layers if space.inner_of != "width" and len(space.inners) > 1 else 0):
        shares[f"inner size of layer {layer + 1}"] = {
            str(size): [r["shares"]["inner"][layer][i] for r in records] for i, size in enumerate(space.inners)
        }
    return shares


def _trajectories(axes: Any, records: list[dict], shares: Shares, config: Config) -> None:
    """A panel for each of `shares`, then cost and validation NDCG."""
    epochs, budget = [r["epoch"] for r in records], config.search.budget
    style: dict[str, Any] = {"marker": "o", "markersize": 3} if len(records) < 40 else {}
    for axis, lines in zip(axes[:-2], shares.values(), strict=True):
        for label, values in lines.items():
            axis.plot(epochs, values, label=label, **style)
    axes[-2].plot(epochs, [r["expected_cost"] for r in records], label="expected", **style)
    axes[-2].plot(epochs, [r["pick"]["cost"] for r in records], label="the pick", drawstyle="steps-post", **style)
    if budget is not None:
        axes[-2].axhline(budget, color="grey", linestyle="--", label="budget")
    axes[-1].plot(epochs, [r["ndcg@10"] for r in records], color="tab:green", label="the pick, cut out", **style)
    accuracy = f"validation NDCG@10 ({config.evaluate.select_by})"
    titles = (*shares, f"{COSTS[config.search.cost]} / largest network", accuracy)
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    for axis in axes[:-1]:  # the legend's lines in a room of their own above the curves
        axis.set_ylim(0, (1.05 + 0.1 * len(axis.get_lines())) * axis.get_ylim()[1])
        axis.legend(fontsize=8, loc="upper left")
    axes[-1].legend(fontsize=8)


def _networks_trained_alone(records: list[dict], config: Config, path: Path | BytesIO) -> None:
    figure, axis = new_figure(1, 1, (5.0, 3.6))
    for width in sorted({r["architecture"]["width"] for r in records}, reverse=True):
        mine = sorted((r["cost"], r["ndcg@10"]) for r in records if r["architecture"]["width"] == width)
        axis.plot(*zip(*mine, strict=True), marker="o", label=f"width {width}")
    if config.search.budget is not None:
        axis.axvline(config.search.budget, color="grey", linestyle="--", label="budget")
    accuracy = f"validation NDCG@10 ({config.evaluate.select_by})"
    axis.set(xlabel=f"{COSTS[config.search.cost]} / largest network", ylabel=accuracy)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    _save(figure, path)


def training_figure(records: list[dict], path: Path | BytesIO, *, select_by: str) -> None:
    """Training loss and validation NDCG of a retraining over its epochs, as a PNG."""
    figure, axes = new_figure(1, 2, (8.0, 3.4))
    epochs = [r["epoch"] for r in records]
    axes[0].plot(epochs, [r.get("loss", float("nan")) for r in records], marker="o", markersize=3)  # none of epoch 0
    axes[1].plot(epochs, [r["ndcg@10"] for r in records], marker="o", markersize=3, color="tab:green")
    for axis, title in zip(axes, ("training loss", f"validation NDCG@10 ({select_by})"), strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    _save(figure, path)


def comparison_figure(
    points: list[tuple[str, float, float | None, float | None]], path: Path | BytesIO, *, title: str
) -> None:
    """Models as (name, accuracy, FLOPs, milliseconds) over both costs, as a PNG; without a cost, a model is a line across."""
    figure, axes = new_figure(1, 2, (12.0, 4.2))
    names, accuracies, flops, milliseconds = zip(*points, strict=True)
    mega = [None if count is None else count / 1e6 for count in flops]
    for axis, costs, label in ((axes[0], mega, "MFLOPs a request"), (axes[1], milliseconds, "ms a request, median")):
        for number, (name, accuracy, cost) in enumerate(zip(names, accuracies, costs, strict=True)):
            if cost:
                axis.plot(cost, accuracy, "o", color=f"C{number % 10}", label=name)
            elif flops[number] is None:
                axis.axhline(accuracy, color=f"C{number % 10}", linestyle="--", linewidth=1, label=name)
        axis.set(title=title, xlabel=label)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[1]:
            legend = axis.legend(fontsize=8)
            for text in legend.get_texts():
                text.set_parse_math(False)  # a name is no formula
    if any(flops):
        axes[0].set_xscale("log")
    _save(figure, path)


def _save(figure: Any, path: Path | BytesIO) -> None:
    buffer = BytesIO() if isinstance(path, Path) else path
    figure.savefig(buffer, dpi=110)
    if isinstance(path, Path):
        write_bytes(path, buffer.getvalue())


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """(figure, its axes) without a display; `size` in inches. Raises `ImportError` where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "easrec_jax[plot]"') from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns)


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
            network = f"{arch['depth']} x {arch['width']}/{arch['inner']} {arch['attention']}"
            size = [network, *_mflops(arch), f"{arch['parameters']:,}"]
        lines.append([name, *figures, *size, str(row.get("seconds", "")), str(row.get("peak_memory_mb", ""))])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _mflops(architecture: dict) -> list[str]:
    """The two columns `MFLOPS` of what `retrain.describe_architecture` wrote; earlier versions wrote the first one alone."""
    found = [architecture.get(name) for name in ("flops", "flops_all")]
    return ["-" if flops is None else f"{flops / 1e6:.1f}" for flops in found]


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def text(line: list[str]) -> str:
        return "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])

    return "\n".join(text(line) for line in lines)
