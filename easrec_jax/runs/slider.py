"""The sizes of an elastic model to slide over: a picture of accuracy over cost (SVG), and the lines of script that move in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from easrec_jax.runs.elements import tag
from easrec_jax.serving.sizes import short_cost

WIDE, HIGH = 460.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 404.0, 28.0, 186.0  # where the points may lie
INK, FAINT, MARK = "#1f3a5f", "#66758a", "#b3261e"

# the range input `input` chooses one of the picture's points, and `output` says what it is
SCRIPT = """
function slide(input, output, picture) {
  const points = [...picture.querySelectorAll("circle")];
  const show = () => points.forEach((point, place) => {
    const chosen = place === Number(input.value);
    point.setAttribute("r", chosen ? 8 : 4);
    if (!chosen) return;
    output.textContent = point.dataset.label;
    input.setAttribute("aria-valuetext", point.dataset.label);
  });
  input.addEventListener("input", show);
  show();
}
"""


def size_label(entry: dict) -> str:
    """One size in words, of its entry in front.json."""
    test = entry["test"][entry["select_by"]]["ndcg@10"]
    depth, of_sasrec = entry["depth"], f"{entry['flops_over_sasrec']:.1%} of SASRec's"
    return (
        f"{depth} layer{'s' * (depth > 1)} x width {entry['width']}; {entry['flops'] / 1e6:.2f} MFLOPs, {of_sasrec}; "
        f"{entry['ms']:.3f} ms a user, measured; NDCG@10 {entry['ndcg@10']:.4f} on validation items, {test:.4f} on "
        f"test items; --budget {short_cost(entry['cost'])}"
    )


def sizes_svg(entries: Sequence[dict]) -> str:
    """Validation NDCG@10 over MFLOPs, a point a size, the cheapest first; a dashed line stands where SASRec's cost is."""
    sasrec = entries[0]["flops"] / entries[0]["flops_over_sasrec"]
    costs, ndcgs = [float(entry["flops"]) for entry in entries], [float(entry["ndcg@10"]) for entry in entries]
    along, up = _axis([math.log(cost) for cost in (*costs, sasrec)], LEFT, RIGHT), _axis(ndcgs, BOTTOM, TOP)
    points = [(along(math.log(cost)), up(ndcg)) for cost, ndcg in zip(costs, ndcgs, strict=True)]
    mark = along(math.log(sasrec))
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top in points)
    parts = [
        f'<path d="M{LEFT - 14} {TOP - 10} V{BOTTOM + 12} H{RIGHT + 12}" fill="none" stroke="{FAINT}"/>',
        f'<path d="M{mark:.1f} {TOP - 8} V{BOTTOM + 12}" stroke="{MARK}" stroke-dasharray="4 3"/>',
        _text(mark, TOP - 12, f"SASRec, {sasrec / 1e6:.2f}", MARK),
        f'<polyline points="{path}" fill="none" stroke="{FAINT}"/>',
        _text(LEFT, HIGH - 4, "MFLOPs a request (log scale)", FAINT, "start"),
        _text(2.0, TOP - 12, "NDCG@10, validation", FAINT, "start"),
    ]
    ends = sorted({0, len(points) - 1})
    parts += [_text(points[n][0], BOTTOM + 26, f"{costs[n] / 1e6:.2f}", INK) for n in ends]
    parts += [_text(LEFT - 16, points[n][1] + 4, f"{ndcgs[n]:.3f}", INK, "end") for n in ends]
    for entry, (left, top) in zip(entries, points, strict=True):
        label = escape(size_label(entry))
        circle = f'<circle cx="{left:.1f}" cy="{top:.1f}" r="4" fill="{INK}" data-label="{label}">'
        parts.append(f"{circle}<title>{label}</title></circle>")
    about = f'viewBox="0 0 {WIDE:.0f} {HIGH:.0f}" width="{WIDE:.0f}" height="{HIGH:.0f}" font-family="system-ui, sans-serif" role="img"'
    title = f"<title>Accuracy over cost of {len(entries)} sizes of one network</title>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {about}>{title}{"".join(parts)}</svg>'


def sizes_html(entries: Sequence[dict], name: str) -> str:
    """The picture, a slider over its points and what it is at, for a page of its own; `name` is an HTML id of the page's."""
    last = len(entries) - 1
    slider = f'<input type="range" id="{name}" min="0" max="{last}" step="1" value="{last}">'
    script = f"{{{SCRIPT}const at = document.getElementById('{name}');\n"
    script += "slide(at, at.parentElement.querySelector('output'), at.parentElement.querySelector('svg')); }"
    label = f'<label for="{name}">size, from the cheapest to the most accurate</label>'
    shown = f'<output for="{name}">{escape(size_label(entries[-1]))}</output>'
    note = tag("p", "One model holds all of them; --budget chooses when it is loaded or served.", "note")
    return f'<div class="sizes">{sizes_svg(entries)}<br>{label}<br>{slider}<br>{shown}{note}</div><script>{script}</script>'


def _axis(values: list[float], low: float, high: float) -> Callable[[float], float]:
    """From a value to its place; the lowest of the values lies at `low`, the highest at `high`."""
    least, span = min(values), max(values) - min(values) or 1.0
    return lambda value: low + (high - low) * (value - least) / span


def _text(x: float, y: float, text: str, color: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" fill="{color}" text-anchor="{anchor}">{escape(text)}</text>'
