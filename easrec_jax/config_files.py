"""Configs on disk: a Python file that defines one, or its fields as TOML, YAML or JSON, which is what a run keeps of its own."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Any

from easrec_jax.config import Config

# Settings of older versions that belong to strategies now, EASRec's own first.
MOVED = {
    "search.cost_weight": ("search.easrec.cost_weight", "search.proxyless.cost_weight"),
    "search.dynamic": ("search.easrec.dynamic",),
    "search.tau_start": ("search.easrec.tau_start", "search.recnas.tau_start"),
    "search.tau_decay": ("search.easrec.tau_decay",),
    "search.tau_min": ("search.easrec.tau_min", "search.recnas.tau_min"),
}
PLANTED = "data.planted_"  # so began the names of the settings of planted data


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


def find_config(name: str | Path) -> Path:
    """A config file by its path, or by the name of one of the library's own: `ml1m`. Raises `FileNotFoundError` that lists those."""
    path, known = Path(name), own_configs()
    if path.is_file() or path.suffix:
        return path
    if str(name) not in known:
        raise FileNotFoundError(
            f"{name}: no such config (expected a file, .py, .toml, .yaml or .json, or one of {', '.join(known)})"
        )
    return known[str(name)]


def own_configs() -> dict[str, Path]:
    """The library's config files by name: configs/ of the package, or of the checkout it runs from."""
    inside = Path(__file__).parent / "configs"
    folder = inside if inside.is_dir() else inside.parents[1] / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def load_config(path: str | Path) -> Config:
    """The config of a file, or of one of the library's own by its name.

    A Python file defines `config`. TOML, YAML (extra `yaml`) and JSON hold its fields as tables; what is not there has its default.
    Raises what `load_variable` and `find_config` raise, and `ValueError` naming the file and the field that is wrong.
    """
    path = find_config(path)
    if path.suffix not in _TREES:
        return load_variable(path, "config", Config)
    try:
        tree = _TREES[path.suffix](path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid {path.suffix[1:].upper()}: {error}") from None
    return from_tree(tree, source=str(path))


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ImportError('configs in YAML need PyYAML: pip install "easrec_jax[yaml]"; TOML needs nothing') from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


_TREES = {".toml": tomllib.loads, ".json": json.loads, ".yaml": _yaml, ".yml": _yaml}


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
    return from_tree(tree, source=source)


def from_tree(tree: Any, *, source: str) -> Config:
    """`from_json` of what is parsed already."""
    fields = sorted(f.name for f in dataclasses.fields(Config))
    if not isinstance(tree, dict) or not set(tree) <= set(fields):
        got = sorted(tree) if isinstance(tree, dict) else tree
        raise ValueError(f"{source}: expected the fields {fields}, got {got!r}")
    tree = {part: _of_today(part, value) if isinstance(value, dict) else value for part, value in tree.items()}
    return _build(Config, tree, source, "")


def names_of_today(name: str) -> tuple[str, ...]:
    """The dotted names that an older version's setting has now: its own where it has not moved, several where strategies shared it."""
    if name.startswith(PLANTED):
        return (f"data.planted.{name.removeprefix(PLANTED)}",)
    return MOVED.get(name, (name,))


def _of_today(part: str, settings: dict) -> dict:
    """The settings of a part by today's names; where they are there already, an older name stays and is unknown."""
    found, moved = {}, {}
    for field, value in settings.items():
        now = names_of_today(f"{part}.{field}")
        inner = [name.split(".")[1:] for name in now if name != f"{part}.{field}"]
        if not inner or any(where in settings for where, _ in inner):
            found[field] = value
            continue
        for where, name in inner:
            moved.setdefault(where, {})[name] = value
    return found | moved


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
