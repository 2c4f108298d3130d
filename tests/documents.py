"""The documents and their code blocks, fenced or indented, for the tests that run them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("docs/api/*.md"),
        *ROOT.glob("docs/results/*.md"),
    )
)
BLOCK = re.compile(r"^```(\w*)\n((?:(?!```).*\n)*)```|(?<=\n\n)((?:    .*\n(?:\n+(?=    ))?)+)", re.MULTILINE)


def blocks(page: str) -> list[str]:
    """The code blocks of a page, in order; what is fenced as `text` is no code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = BLOCK.findall(text)
    return [textwrap.dedent(fenced or indented).strip("\n") for kind, fenced, indented in found if kind != "text"]


def block(first: str, page: str = "README.md") -> str:
    """The block of a page that holds a line starting with `first`."""
    (found,) = [code for code in blocks(page) if any(line.startswith(first) for line in code.splitlines())]
    return found
