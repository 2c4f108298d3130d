"""Configs on disk: a Python file that defines one, and the JSON that a run keeps of its own."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig, SearchConfig


def load_variable(path: str | Path, name: str, *kinds: type) -> Any:
    """Run the Python file at `path` and return its variable `name`, of one of these kinds; such a file is code and is trusted as such.

    Raises `FileNotFoundError` for a missing file, `ValueError` for one that is no Python file or does not define it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such {name.lower()} file (expected a Python file that defines `{name}`)")
    spec = importlib.util.spec_from_file_location(f"{name.lower()}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: expected a Python file (.py) that defines `{name}`")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not isinstance(found, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{path}: expected a variable `{name}` of type {expected}, got {type(found).__name__}")
    return found


def load_config(path: str | Path) -> Config:
    """The `config` of a config file; raises what `load_variable` raises."""
    return load_variable(path, "config", Config)


def to_json(config: Config) -> str:
    """The resolved config as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, *, source: str = "config.json") -> Config:
    """The config that `to_json` wrote; unknown fields raise `ValueError` naming `source` and the field.

    Fields that are not there have their defaults: an older version wrote it, which did not know them.
    """
    parts = {f.name: f for f in dataclasses.fields(Config)}
    classes = {
        "data": DataConfig, "model": ModelConfig, "search": SearchConfig,
        "retrain": RetrainConfig, "evaluate": EvaluateConfig,
    }  # fmt: skip
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: not valid JSON: {error}") from None
    if not isinstance(tree, dict) or not set(tree) <= set(parts):
        raise ValueError(
            f"{source}: expected the fields {sorted(parts)}, got {sorted(tree) if isinstance(tree, dict) else tree!r}"
        )
    built = {}
    for name, value in tree.items():
        if name not in classes:
            built[name] = value
            continue
        known = {f.name for f in dataclasses.fields(classes[name])}
        if not isinstance(value, dict) or not set(value) <= known:
            odd = sorted(set(value) - known) if isinstance(value, dict) else value
            raise ValueError(f"{source}: {name}: unknown fields {odd}")
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        built[name] = _checked(source, classes[name], fields)
    return _checked(source, Config, built)


def _checked(source: str, kind: Any, fields: dict) -> Any:
    try:
        return kind(**fields)
    except (ValueError, TypeError) as error:  # TypeError: text where a number is expected
        raise ValueError(f"{source}: {error}") from None
