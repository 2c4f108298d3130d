"""A hook of MkDocs: files that stand outside of docs/ become pages of the site, and links to them follow.

So README is written once, and its links work in the repository and on the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
OUTSIDE = {  # a file of the repository: its page
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def on_files(files: Any, config: Any) -> None:
    """The pages of the files outside, beside those of docs/."""
    from mkdocs.structure.files import File  # here, so that tests need no MkDocs

    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=linked(text, source)))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page of docs/, whose links to files outside lead to their pages."""
    if page.file.src_uri in OUTSIDE.values():
        return markdown
    return linked(markdown, f"docs/{page.file.src_uri}")


def linked(text: str, source: str) -> str:
    """The text of a file of the repository with links as the site has them."""
    folder = posixpath.dirname(OUTSIDE.get(source, source.removeprefix("docs/")))

    def target(found: re.Match[str]) -> str:
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        page = OUTSIDE.get(wanted, wanted.removeprefix("docs/"))
        return posixpath.relpath(page, folder or ".")

    return LINK.sub(target, text)
