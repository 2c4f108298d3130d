"""benchmarks/gpu.sh: every check of it runs, here at a small size, and what cannot run is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def scripts():
    """(gpu.py, device.py), which lie beside each other and outside of any package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import device
        import gpu

        yield gpu, device
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_each_check_gives_its_figures_at_a_small_size(scripts, monkeypatch):
    gpu, device = scripts
    ran = []
    for name in ("search", "retrain"):
        monkeypatch.setattr(f"easrec_jax.commands.{name}.command", lambda: ran.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["measure.py"])
    figures: dict = {}
    for request in gpu.checks(gpu.Arguments(size="small")):
        figures |= device.CHECKS[request["name"]](request | {"limits": figures})
    assert {check["name"] for check in gpu.SMALL} | {"smoke"} == {check["name"] for check in gpu.FULL}
    assert figures["export.same_of_ten"] == 10 and figures["best.recall"] == 1.0
    assert figures["full_loss.difference"] < 1e-4
    assert [arguments[0] for arguments in ran] == [str(ROOT / "configs" / "demo.py")] * 2
    assert "| inference.16.searched.bfloat16.users_per_s |" in gpu.table(figures)


def test_what_does_not_run_is_named_with_its_reason_and_the_others_go_on(scripts, monkeypatch, tmp_path):
    gpu, _ = scripts
    plan = [{"name": "no such check"}, {"name": "about", "product": 8}]
    monkeypatch.setattr(gpu, "SMALL", plan)
    found = gpu.measure(gpu.Arguments(size="small", json=tmp_path / "gpu.json"))
    assert found["platform"] == "cpu" and set(found["not run"]) == {"no such check"}
    assert "not run" in (tmp_path / "gpu.json").read_text()
    assert gpu.measure(gpu.Arguments(size="small", minutes=0.0))["not run"] == dict.fromkeys(
        ("no such check", "about"), "no time left"
    )
    with pytest.raises(ValueError, match="--only: expected some of about"):
        gpu.checks(gpu.Arguments(only=("fast",)))
