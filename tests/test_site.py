"""The documentation site, as far as it can be held without building it; .github/workflows builds it with --strict."""

from __future__ import annotations

import posixpath
import re
import runpy

import pytest
from documents import PAGES, ROOT

import easrec_jax

HOOK = runpy.run_path(str(ROOT / "docs" / "pages.py"))
OUTSIDE: dict[str, str] = HOOK["OUTSIDE"]


def nav(entries: list) -> list[str]:
    """The pages of a navigation, sections in it included."""
    found = [next(iter(entry.values())) if isinstance(entry, dict) else entry for entry in entries]
    return [page for entry in found for page in (nav(entry) if isinstance(entry, list) else [entry])]


def test_the_navigation_has_every_page_once():
    yaml = pytest.importorskip("yaml")
    pages = nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    written = [page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")]
    assert sorted(pages) == sorted([*written, *OUTSIDE.values()])


def test_links_of_the_site_lead_to_its_files():
    assert HOOK["linked"]("[a](docs/results/speed.md#b) ![c](docs/x.png) [d](#e) [f](https://g)", "README.md") == (
        "[a](results/speed.md#b) ![c](x.png) [d](#e) [f](https://g)"
    )
    assert (
        HOOK["linked"]("[a](../../README.md) [b](../guide.md)", "docs/results/x.md")
        == "[a](../index.md) [b](../guide.md)"
    )
    for page in [*PAGES, "CHANGELOG.md"]:
        here = OUTSIDE.get(page, page.removeprefix("docs/"))
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", HOOK["linked"]((ROOT / page).read_text(), page)):
            there = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
            assert there in OUTSIDE.values() or (ROOT / "docs" / there).is_file(), f"{target} in {page}"


def test_the_reference_has_every_public_name_and_what_it_has_is_described():
    text = "".join(path.read_text() for path in sorted((ROOT / "docs" / "api").glob("*.md")))
    named = re.findall(r"^::: easrec_jax\.(.+)$", text, re.MULTILINE)
    assert set(easrec_jax.__all__) <= set(named) and len(named) == len(set(named))
    for name in named:
        module, _, last = f"easrec_jax.{name}".rpartition(".")
        assert getattr(__import__(module, fromlist=[last]), last).__doc__, name
