"""A network as a picture (SVG): its layers to scale, what the search cut away as dashes, the search's last p and q."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from easrec_jax.config import pruned_size
from easrec_jax.files import read_json

WIDE, MIDDLE = 460.0, 230.0  # the picture's width and the axis of the stack, in pixels
FULL = 380.0  # the width of the largest network's layers
ROW = 30.0
INK, FAINT = "#1f3a5f", "#8a97a8"
FILLS = {"table": "#dce8f5", "layer": "#eef3f9", "attention": "#f6d9b8", "gate": "#d9ead3", "forward": "#cfd8f0"}


class Drawn(NamedTuple):
    """What the picture shows, as read from a model folder."""

    architecture: dict  # architecture.json
    sizes: list[tuple[int, int]]  # the (width, inner) candidates of the search; empty where there was none
    layers: int  # of the largest network
    num_items: int


def read_drawn(folder: Path, num_items: int) -> Drawn:
    """The architecture and, where a search chose it, the space it was chosen from."""
    architecture = read_json(folder / "architecture.json")
    model, search = (read_json(folder / "config.json").get(part, {}) for part in ("model", "search"))
    searched = "p" in architecture.get("chosen_by", {})
    prunes = search.get("prune", []) if searched else []
    sizes = [tuple(pruned_size(model[name], prune) for name in ("width", "inner")) for prune in prunes]
    return Drawn(architecture, sizes, model.get("layers", 1) if searched else architecture["depth"], num_items)  # type: ignore[arg-type]


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

    def document(self, title: str) -> str:
        font = 'font-family="system-ui, sans-serif"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE:.0f} {self.y:.0f}" width="{WIDE:.0f}" height="{self.y:.0f}" '
            f'{font} role="img"><title>{escape(title)}</title>{"".join(self.parts)}</svg>'
        )


def architecture_svg(drawn: Drawn) -> str:
    """The picture as text."""
    arch, canvas = drawn.architecture, _Canvas()
    largest = max([arch["width"], *(width for width, _ in drawn.sizes)])
    scale = FULL / largest
    width = arch["width"] * scale
    canvas.box(width, ROW, FILLS["table"])
    canvas.text(f"scores of {drawn.num_items:,} items", canvas.y + 19)
    canvas.y += ROW
    canvas.arrow()
    for layer in range(drawn.layers, 0, -1):
        if layer > arch["depth"]:
            canvas.box(FULL, 16.0, "none", dashed=True)
            canvas.text(f"layer {layer}: left out by the search", canvas.y + 12, size=10, color=FAINT)
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
    for line in _captions(arch):
        canvas.text(line, canvas.y, size=11, color="#44546a")
        canvas.y += 16
    if drawn.sizes:
        _search_bars(canvas, drawn)
    return canvas.document(f"{arch['depth']} layers of width {arch['width']}, {arch['attention']}")


def _layer(canvas: _Canvas, arch: dict, layer: int, width: float, *, pruned: bool) -> None:
    gates = arch["gate_layers"]
    inner = arch["inner"][layer - 1] if isinstance(arch["inner"], list) else arch["inner"]
    height = 10 + ROW * (3 if gates else 2)
    if pruned:
        canvas.box(FULL, height, "none", dashed=True)
    canvas.box(width, height, FILLS["layer"])
    inside, top = width - 16, canvas.y + 7
    rows = [("forward", f"feed-forward {arch['width']} → {inner} → {arch['width']}")]
    if gates:
        rows.append(("gate", f"gates, {gates} layer{'s' if gates > 1 else ''}"))
    rows.append(("attention", f"{arch['attention']}, {arch['heads']} heads"))  # data flows upwards
    for number, (fill, _) in enumerate(rows):
        canvas.box(inside, ROW - 5, FILLS[fill], y=top + number * ROW)
    bottom = top + (len(rows) - 1) * ROW
    for head in range(1, arch["heads"]):  # a head is a column
        x = MIDDLE - inside / 2 + head * inside / arch["heads"]
        canvas.parts.append(f'<path d="M{x:.1f} {bottom:.1f} v{ROW - 5:.0f}" stroke="#fff" stroke-width="2"/>')
    for number, (_, row) in enumerate(rows):
        canvas.text(row, top + 17 + number * ROW, size=11)
    canvas.text(f"{layer}", canvas.y + height / 2 + 4, x=20.0, color=FAINT)
    canvas.y += height


def _captions(arch: dict) -> list[str]:
    lines = []
    if "flops" in arch:
        lines.append(f"{arch['flops'] / 1e6:.1f} MFLOPs a request, {arch['parameters']:,} parameters")
    if "flops_over_largest" in arch:
        largest, sasrec = arch["flops_over_largest"], arch["flops_over_sasrec"]
        lines.append(f"{largest:.1%} of the largest network's FLOPs, {sasrec:.1%} of SASRec's")
    lines.append("found by the search" if "p" in arch.get("chosen_by", {}) else "sizes as given, not searched")
    return lines


def _search_bars(canvas: _Canvas, drawn: Drawn) -> None:
    """The search's last p (over widths) and q (over depths); what was taken is dark."""
    arch, chosen = drawn.architecture, drawn.architecture["chosen_by"]
    half = WIDE / 2
    names = [f"width {width}" for width, _ in drawn.sizes], [f"depth {n}" for n in range(1, drawn.layers + 1)]
    picks = (
        [arch["width"] == width for width, _ in drawn.sizes],
        [n == arch["depth"] for n in range(1, drawn.layers + 1)],
    )
    top = canvas.y + 8
    for column, (title, values, labels, picked) in enumerate(
        zip(
            ("p: the search's weights of widths", "q: of depths"), (chosen["p"], chosen["q"]), names, picks, strict=True
        )
    ):
        left = 16.0 + column * half
        canvas.text(title, top, x=left, size=11, anchor="start")
        for number, (value, label, pick) in enumerate(zip(values, labels, picked, strict=True)):
            y = top + 8 + number * 18
            _bar(canvas, left, y, label, float(value), pick)
    canvas.y = top + 18 + 18 * max(len(chosen["p"]), len(chosen["q"]))


def _bar(canvas: _Canvas, left: float, y: float, label: str, value: float, pick: Any) -> None:
    canvas.text(label, y + 11, x=left, size=10, anchor="start")
    canvas.box(1 + 80 * value, 12.0, INK if pick else "#c5cfdb", x=left + 62, y=y + 1)
    canvas.text(f"{value:.2f}", y + 11, x=left + 70 + 80 * value, size=10, anchor="start")
