"""A network as a picture (SVG): its layers to scale, what the search cut away as dashes, and how the search chose it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import NamedTuple

from easrec_jax.cells import EDGES, KIND
from easrec_jax.config_files import from_json
from easrec_jax.files import read_json
from easrec_jax.runs.searched import (
    Factor,
    compared_networks,
    factors,
    is_pick,
    last_shares,
    network_name,
    validation_ndcg,
    was_searched,
)

WIDE, MIDDLE = 460.0, 230.0  # the picture's width and the axis of the stack, in pixels
FULL = 380.0  # the width of the largest network's layers
ROW = 30.0
INK, FAINT, PALE, TEXT = "#1f3a5f", "#8a97a8", "#c5cfdb", "#44546a"
FILLS = {"table": "#dce8f5", "layer": "#eef3f9", "attention": "#f6d9b8", "gate": "#d9ead3", "forward": "#cfd8f0"}
MOST_NETWORKS = 8  # of those that a search compared


class Drawn(NamedTuple):
    """What the picture shows, as read from a model folder."""

    architecture: dict  # architecture.json
    factors: list[Factor]  # what its search chose among; empty where there was none
    num_items: int

    @property
    def searched(self) -> bool:
        """Whether a search chose the architecture."""
        return was_searched(self.architecture.get("chosen_by", {}))

    @property
    def elastic(self) -> bool:
        """Whether it is one size of several."""
        return self.architecture.get("chosen_by", {}).get("method") == "elastic"

    def largest(self, field: str) -> int:
        """The largest width or depth that the search could have chosen."""
        options = [option for factor in self.factors if factor.field == field for option in factor.options]
        return max([self.architecture[field], *options])


def read_drawn(folder: Path, num_items: int, size: dict | None = None) -> Drawn:
    """The architecture and, where a search chose it, what it was chosen from, as far as config.json can be read.

    `size` is one of an elastic model's instead of its largest.
    """
    found = Drawn(size or read_json(folder / "architecture.json"), [], num_items)
    path = folder / "config.json"
    if not (found.searched or found.elastic):
        return found
    try:
        return found._replace(factors=factors(from_json(path.read_text(), source=str(path))))
    except (OSError, ValueError):  # of another version: a picture keeps no service from starting
        return found


class _Canvas:
    """SVG elements from the top down; `y` is where the next one goes."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 16.0

    def box(
        self, width: float, height: float, fill: str, *, x: float | None = None, y: float | None = None, dashed=False
    ):
        left = MIDDLE - width / 2 if x is None else x
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(
            f'<rect x="{left:.1f}" y="{self.y if y is None else y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5" '
            f'fill="{fill}" stroke="{FAINT if dashed else INK}"{dash}/>'
        )

    def text(self, text: str, y: float, *, x: float = MIDDLE, size: int = 12, color: str = INK, anchor: str = "middle"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def arrow(self) -> None:
        y = self.y
        self.parts.append(
            f'<path d="M{MIDDLE:.0f} {y + 16:.1f} V{y + 4:.1f} m-4 4 l4 -4 l4 4" fill="none" stroke="{INK}" stroke-width="1.5"/>'
        )
        self.y += 18

    def bar(self, left: float, y: float, length: float, value: str, *, dark: bool) -> None:
        self.box(1 + length, 12.0, INK if dark else PALE, x=left, y=y + 1)
        self.text(value, y + 11, x=left + 8 + length, size=10, anchor="start")

    def document(self, title: str) -> str:
        font = 'font-family="system-ui, sans-serif"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE:.0f} {self.y:.0f}" width="{WIDE:.0f}" height="{self.y:.0f}" '
            f'{font} role="img"><title>{escape(title)}</title>{"".join(self.parts)}</svg>'
        )


def architecture_svg(drawn: Drawn) -> str:
    """The picture as text."""
    arch, canvas = drawn.architecture, _Canvas()
    largest = drawn.largest("width")
    width = arch["width"] * FULL / largest
    canvas.box(width, ROW, FILLS["table"])
    canvas.text(f"scores of {drawn.num_items:,} items", canvas.y + 19)
    canvas.y += ROW
    canvas.arrow()
    for layer in range(drawn.largest("depth"), 0, -1):
        if layer > arch["depth"]:
            canvas.box(FULL, 16.0, "none", dashed=True)
            canvas.text(
                f"layer {layer}: left out{'' if drawn.elastic else ' by the search'}",
                canvas.y + 12,
                size=10,
                color=FAINT,
            )
            canvas.y += 20
            continue
        _layer(canvas, arch, layer, width, pruned=largest > arch["width"])
        canvas.arrow()
    canvas.box(width, ROW, FILLS["table"])
    canvas.text(f"item + position embedding, width {arch['width']}", canvas.y + 19)
    canvas.y += ROW
    canvas.arrow()
    canvas.text(f"the last {arch['max_length']} events of a history", canvas.y + 12)
    canvas.y += 34
    for line in _captions(drawn):
        canvas.text(line, canvas.y, size=11, color=TEXT)
        canvas.y += 16
    if drawn.searched:
        _search(canvas, drawn)
    return canvas.document(f"{arch['depth']} layers of width {arch['width']}, {arch.get('attention', KIND)}")


def _layer(canvas: _Canvas, arch: dict, layer: int, width: float, *, pruned: bool) -> None:
    rows = _cell_rows(arch) if arch.get("kind") == KIND else _block_rows(arch, layer)
    height = 10 + ROW * len(rows)
    if pruned:
        canvas.box(FULL, height, "none", dashed=True)
    canvas.box(width, height, FILLS["layer"])
    inside, top = width - 16, canvas.y + 7
    for number, (fill, _) in enumerate(rows):
        canvas.box(inside, ROW - 5, FILLS[fill], y=top + number * ROW)
    bottom = top + (len(rows) - 1) * ROW
    heads = arch.get("heads", 1)
    for head in range(1, heads):  # a head is a column
        x = MIDDLE - inside / 2 + head * inside / heads
        canvas.parts.append(f'<path d="M{x:.1f} {bottom:.1f} v{ROW - 5:.0f}" stroke="#fff" stroke-width="2"/>')
    for number, (_, row) in enumerate(rows):
        canvas.text(row, top + 17 + number * ROW, size=11)
    canvas.text(f"{layer}", canvas.y + height / 2 + 4, x=20.0, color=FAINT)
    canvas.y += height


def _block_rows(arch: dict, layer: int) -> list[tuple[str, str]]:
    """(fill, text) of what a transformer layer is made of, the last first: data flows upwards."""
    gates, heads = arch["gate_layers"], arch["heads"]
    inner = arch["inner"][layer - 1] if isinstance(arch["inner"], list) else arch["inner"]
    rows = [("forward", f"feed-forward {arch['width']} → {inner} → {arch['width']}")]
    if gates:
        rows.append(("gate", f"gates, {gates} layer{'s' if gates > 1 else ''}"))
    return [*rows, ("attention", f"{arch['attention']}, {heads} head{'s' * (heads > 1)}")]


def _cell_rows(arch: dict) -> list[tuple[str, str]]:
    """The same of a cell: an operation an edge."""
    edges = list(zip(EDGES, arch["operations"], strict=True))
    return [("forward", f"{source} → {node}: {operation}") for (source, node), operation in reversed(edges)]


def _captions(drawn: Drawn) -> list[str]:
    arch, lines = drawn.architecture, []
    if "flops" in arch:
        lines.append(f"{arch['flops'] / 1e6:.1f} MFLOPs a request, {arch['parameters']:,} parameters")
    if "flops_over_largest" in arch:
        largest, sasrec = arch["flops_over_largest"], arch["flops_over_sasrec"]
        lines.append(f"{largest:.1%} of the largest network's FLOPs, {sasrec:.1%} of SASRec's")
    origin = "one size of an elastic network" if drawn.elastic else "sizes as given, not searched"
    lines.append("found by the search" if drawn.searched else origin)
    return lines


def _search(canvas: _Canvas, drawn: Drawn) -> None:
    """The search's last shares of every choice, or without a supernet the networks that it trained; what was taken is dark."""
    chosen = drawn.architecture["chosen_by"]
    if shares := last_shares(chosen, drawn.factors):
        canvas.y += 8
        canvas.text("the search's last shares of each choice", canvas.y, x=16.0, size=11, color=TEXT, anchor="start")
        canvas.y += 12
        for number in range(0, len(shares), 2):
            _shares(canvas, drawn.architecture, shares[number : number + 2])
        canvas.y += 8
    elif networks := [entry for entry in compared_networks(chosen) if validation_ndcg(entry)]:
        _networks(canvas, drawn.architecture, networks)


def _shares(canvas: _Canvas, arch: dict, pair: list[tuple[Factor, list[float]]]) -> None:
    """Two factors side by side, a bar an option."""
    top = canvas.y + 8
    for column, (factor, values) in enumerate(pair):
        left = 16.0 + column * WIDE / 2
        canvas.text(factor.title, top, x=left, size=11, anchor="start")
        for number, (label, value, pick) in enumerate(zip(factor.labels, values, factor.picked(arch), strict=True)):
            y = top + 8 + number * 18
            canvas.text(label, y + 11, x=left, size=10, anchor="start")
            canvas.bar(left + 78, y, 70 * value, f"{value:.2f}", dark=pick)
    canvas.y = top + 18 + 18 * max(len(factor.options) for factor, _ in pair)


def _networks(canvas: _Canvas, arch: dict, networks: list[dict]) -> None:
    """The best of these networks, a bar each."""
    shown, best = networks[:MOST_NETWORKS], validation_ndcg(networks[0]) or 1.0
    of = f"the best {len(shown)} of {len(networks)}" if len(shown) < len(networks) else f"all {len(networks)}"
    canvas.y += 8
    canvas.text(
        f"networks that the search trained, {of}: validation NDCG@10", canvas.y, x=16.0, size=11, anchor="start"
    )
    canvas.y += 8
    for entry in shown:
        value, of_network = validation_ndcg(entry) or 0.0, entry.get("architecture")
        name = network_name(of_network if isinstance(of_network, dict) else {})
        canvas.text(name, canvas.y + 11, x=16.0, size=10, anchor="start")
        canvas.bar(290.0, canvas.y, 110 * value / best, f"{value:.4f}", dark=is_pick(entry, arch))
        canvas.y += 18
    canvas.y += 18
