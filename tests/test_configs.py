"""The recipes of configs/: each can be read, and says what it costs and what to expect, or that it was not measured."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from easrec_jax.config import Config
from easrec_jax.config_files import load_config

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_header_says_command_device_minutes_memory_and_score(path):
    header = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert isinstance(load_config(path), Config)
    assert f"python bin/retrain.py configs/{path.name}" in header
    for word in ("Device: ", "Minutes", "eak memory", "core"):
        assert word in header, word
    assert "not measured" in header or "docs/results/" in header or "README.md" in header
