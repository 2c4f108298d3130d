"""Elements of an HTML page as text: tables, pictures inline, all text escaped."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def drawn(draw: Callable[[Any], None], alternative: str) -> str:
    """A picture, or a line that says why there is none: metrics of another version or by hand must not stop the page."""
    try:
        return picture(draw, alternative)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return tag("p", f"The {alternative} cannot be drawn: {type(error).__name__}: {error}", "note")


def picture(draw: Callable[[Any], None], alternative: str) -> str:
    """What `draw` writes into the file that it is given, a PNG, as an element."""
    file = io.BytesIO()
    draw(file)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<div class="wide"><img alt="{html.escape(alternative)}" src="data:image/png;base64,{data}"></div>'


class Best(str):
    """The text of a cell that is the best of its column, or what was picked."""


def table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself where it is wider than the page; a `Best` cell is bold."""
    lines = "<tr>" + "".join(tag("th", cell) for cell in head) + "</tr>"
    lines += "".join(
        "<tr>" + "".join(tag("td", cell, "best" * isinstance(cell, Best)) for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table>{lines}</table></div>'


def pairs(tree: dict) -> str:
    """A table of two columns without a head."""
    return table([], [[key.replace("_", " "), text(value)] for key, value in tree.items()]).replace("<tr></tr>", "")


def tag(name: str, content: str, kind: str = "") -> str:
    """An element with escaped text; a class if `kind` is given."""
    return f"<{name}{f' class={kind!r}' if kind else ''}>{html.escape(content)}</{name}>"


def text(value: Any) -> str:
    """A value of a JSON file as people write it."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
