"""Write docs/settings.md: every setting with its default and its help, out of the dataclasses of easrec_jax/config/.

python docs/generate.py
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Any

from easrec_jax.config import Config

PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings

Every setting is a field of a dataclass in `easrec_jax/config/`, a flag of the same dotted name (`--model.width 64`), and a line of a config
in TOML or YAML. This page is made by `python docs/generate.py`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, *section(Config, "")]
    return "\n".join(parts)


def section(kind: Any, prefix: str) -> list[str]:
    """The table of a dataclass, then those of its parts."""
    helps, rows, inner = described(kind), [], []
    for field in dataclasses.fields(kind):
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(field.default_factory):
            inner += section(field.default_factory, f"{name}.")
            continue
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
        rows.append(f"| `{name}` | `{shown(default)}` | {helps[field.name].replace('|', '&#124;')} |")
    title = f"## {prefix.rstrip('.')}\n\n{inspect.getdoc(kind)}\n" if prefix else "## All parts\n"
    return [title, "| setting | default | |\n|---|---|---|", *rows, "", *inner]


def described(kind: Any) -> dict[str, str]:
    """The text below each field, on one line."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for statement, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            words = text.value.value if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) else ""
            found[statement.target.id] = " ".join(str(words).split())
    return found


def shown(default: Any) -> str:
    """A default as one types it."""
    if isinstance(default, tuple):
        return " ".join(map(str, default)) or "none"
    return str(default) if default != "" else '""'


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written to {PAGE}", file=sys.stderr)
