"""Configs on disk: a Python file that defines one, and the JSON that a run keeps of its own."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

from easrec_jax.config import Config


def load_variable(path: str | Path, name: str, kind: type) -> Any:
    """Run the Python file at `path` and return its variable `name`, of that kind; such a file is code and is trusted as such.

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
    if not isinstance(found, kind):
        raise ValueError(f"{path}: expected a variable `{name}` of type {kind.__name__}, got {type(found).__name__}")
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
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: not valid JSON: {error}") from None
    fields = sorted(f.name for f in dataclasses.fields(Config))
    if not isinstance(tree, dict) or not set(tree) <= set(fields):
        got = sorted(tree) if isinstance(tree, dict) else tree
        raise ValueError(f"{source}: expected the fields {fields}, got {got!r}")
    if isinstance(tree.get("data"), dict):
        tree["data"] = _of_today(tree["data"])
    return _build(Config, tree, source, "")


def _of_today(data: dict) -> dict:
    """Data settings by today's names: planted data had no part of their own once, but fields like `planted_users`."""
    older = {name: value for name, value in data.items() if name.startswith("planted_")}
    if not older:
        return data
    rest = {name: value for name, value in data.items() if name not in older}
    return rest | {"planted": {name.removeprefix("planted_"): value for name, value in older.items()}}


def _build(kind: Any, tree: Any, source: str, name: str) -> Any:
    """The settings of that kind from JSON; a field that is a dataclass is built alike."""
    parts = {f.name: f.default_factory for f in dataclasses.fields(kind)}
    if not isinstance(tree, dict) or not set(tree) <= set(parts):
        odd = sorted(set(tree) - set(parts)) if isinstance(tree, dict) else tree
        raise ValueError(f"{source}: {name}: unknown fields {odd}")
    fields = {}
    for field, value in tree.items():
        part = parts[field]
        if dataclasses.is_dataclass(part):
            value = _build(part, value, source, f"{name}.{field}" if name else field)
        fields[field] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**fields)
    # TypeError: text where a number is expected
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source}: {error}") from None
