"""The arithmetic of docs/scale.md: its figures follow from the command that stands above them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLAN = runpy.run_path(str(ROOT / "benchmarks/scale_plan.py"))
ARGUMENTS, plan, advice = PLAN["Arguments"], PLAN["plan"], PLAN["advice"]


def test_the_page_says_what_the_command_says():
    found = plan(ARGUMENTS(users=1e9, items=1e8, devices=64))
    text = (ROOT / "docs/scale.md").read_text(encoding="utf-8").split("## How far it goes")[1]
    assert f"{found['table'] / 1e9:.1f} GB; {found['state'] / 1e9:.1f} GB: two devices" in text and found["shards"] == 2
    assert f"{found['log'] / 1e9:.0f} GB; {found['prepare'] / 3600:.0f} hours" in text
    text = text.replace("e16", "e+16").replace("e21", "e+21")
    assert f"{found['flops']:.0e} FLOP, {found['compute'] / 60:.0f} min; memory traffic {found['memory']:.0f} s" in text
    sums, routed = found["rows by sums"] / 60, found["rows by all-to-all"] / 60
    assert f"{sums:.1f} min (by all-to-all {routed:.1f})".replace(" 0.", " .") in text
    assert f"{found['full flops']:.1e} FLOP, {found['full'] / 3600:.0f} h" in text


@pytest.mark.parametrize("items", [1e5, 1e8, 4e9])
def test_the_table_fits_the_devices_that_are_said_and_no_fewer(items):
    asked = ARGUMENTS(items=items)
    found = plan(asked)
    free = asked.memory_gb * 1e9 - 8e9
    assert found["state"] / found["shards"] <= free and (
        found["shards"] == 1 or 2 * found["state"] / found["shards"] > free
    )


def test_advice_names_what_does_not_fit():
    small, large = ARGUMENTS(users=1e6, items=1e4, devices=1), ARGUMENTS(items=1e10, devices=2)
    assert not any("fit" in line for line in advice(small, plan(small)))
    said = "\n".join(advice(large, plan(large)))
    assert "more than the 2 devices" in said and "every training event" in said and "sampled" in said
