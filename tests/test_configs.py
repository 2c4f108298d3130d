"""The recipes of configs/: each can be read, and says what it costs and what to expect, or that it was not measured."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from easrec_jax.config import Config, DataConfig, EasrecConfig, ModelConfig, PlantedConfig, SearchConfig
from easrec_jax.config_files import load_config, to_json

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_header_says_command_device_minutes_memory_and_score(path):
    header = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert isinstance(load_config(path), Config)
    assert f"python bin/retrain.py configs/{path.name}" in header
    for word in ("Device: ", "Minutes", "eak memory", "core"):
        assert word in header, word
    assert "not measured" in header or "docs/results/" in header or "README.md" in header


TOML = """seed = 3
[data]
path = "clicks.csv"
feature_columns = ["class", "year"]
[data.planted]
lengths = [5, 9]
[model]
width = 64
heads = 2
dropout = 0.0
[search.easrec]
tau_start = 0.5
"""
YAML = """seed: 3
data: {path: clicks.csv, feature_columns: [class, year], planted: {lengths: [5, 9]}}
model:
  width: 64
  heads: 2
  dropout: 0.0
search: {easrec: {tau_start: 0.5}}
"""
SAME = Config(
    data=DataConfig(path="clicks.csv", feature_columns=("class", "year"), planted=PlantedConfig(lengths=(5, 9))),
    model=ModelConfig(width=64, heads=2, dropout=0.0),
    search=SearchConfig(easrec=EasrecConfig(tau_start=0.5)),
    seed=3,
)


@pytest.mark.parametrize(
    "name, text", [("my.toml", TOML), ("my.yaml", YAML), ("my.yml", YAML), ("my.json", to_json(SAME))]
)
def test_a_config_in_other_words_is_the_same_config(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert load_config(tmp_path / name) == SAME


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("my.toml", "[model]\nwidht = 3", ["my.toml", "model", "widht"]),
        ("my.toml", "[model]\nwidth = 'wide'", ["my.toml", "model.width", "wide"]),
        ("my.toml", "[modle]\nwidth = 3", ["my.toml", "modle", "model"]),
        ("my.toml", "[model\n", ["my.toml", "not valid TOML"]),
        ("my.yaml", "model: {width: [", ["my.yaml", "not valid YAML"]),
        ("my.yaml", "- model", ["my.yaml", "model"]),
        ("my.yaml", "!!python/object/apply:os.system ['true']", ["my.yaml", "not valid YAML"]),
        ("my.json", "{", ["my.json", "not valid JSON"]),
        ("my.toml", "[model]\nwidth = 2026-01-01", ["my.toml", "model.width"]),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError) as raised:
        load_config(tmp_path / name)
    assert all(word in str(raised.value) for word in words), raised.value


def test_yaml_without_its_package_says_what_helps(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "my.yaml").write_text(YAML)
    with pytest.raises(ImportError, match=r"easrec_jax\[yaml\]"):
        load_config(tmp_path / "my.yaml")
