"""A module imports only from its own layer or a lower one; plain data needs no JAX; serving needs no optimiser."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import easrec_jax

FOLDER = Path(easrec_jax.__file__).parent
LAYERS = [
    {"config", "config_files", "typed", "architecture", "metrics", "files"},  # and data.*
    {"attention", "layers", "controllers", "cost", "losses", "precision"},
    {"network", "supernet", "elastic", "baselines"},
]  # everything else is layer 3
MODULES = {
    ".".join(path.relative_to(FOLDER).with_suffix("").parts): path
    for path in sorted(FOLDER.rglob("*.py"))
    if path.name != "__init__.py"
}


def imports(path: Path, *, inside_functions: bool = True) -> set[str]:
    """Full names of the modules that a file imports; `from package import module` counts as the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: list[ast.AST] = list(ast.walk(tree))
    lazy = {id(n) for f in nodes if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    lazy |= {id(n) for f in nodes if isinstance(f, ast.If) and "TYPE_CHECKING" in ast.dump(f.test) for n in ast.walk(f)}
    found = set()
    for node in nodes:
        if id(node) in lazy and not inside_functions:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            source = node.module or ""
            names = {f"{source}.{alias.name}" for alias in node.names}
            found |= {n for n in names if n.removeprefix("easrec_jax.") in MODULES} or {source}
    return found


def own(names: set[str]) -> set[str]:
    """The package's own modules among them, without its name."""
    return {name.removeprefix("easrec_jax.") for name in names if name.startswith("easrec_jax.")} & set(MODULES)


def layer(module: str) -> int:
    if module.startswith("data."):
        return 0
    if module.startswith("strategies."):
        return 2
    return next((number for number, names in enumerate(LAYERS) if module in names), len(LAYERS))


def reachable(module: str) -> set[str]:
    """The module and all that importing it imports."""
    seen, queue = set(), [module]
    while queue:
        if (name := queue.pop()) not in seen:
            seen.add(name)
            queue += own(imports(MODULES[name], inside_functions=False))
    return seen


def outside(module: str, *, inside_functions: bool = False) -> set[str]:
    """Top-level names of the other packages that importing the module imports."""
    return {n.split(".")[0] for m in reachable(module) for n in imports(MODULES[m], inside_functions=inside_functions)}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_layer_or_a_lower_one(module):
    above = {name for name in own(imports(MODULES[module])) if layer(name) > layer(module)}
    assert not above, f"{module} (layer {layer(module)}) imports {above}"


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) == 0 and m != "data.synthetic"])
def test_plain_data_does_not_import_jax(module):
    assert not outside(module) & {"jax", "flax", "optax", "orbax"}


def test_serving_imports_no_optimiser():
    assert not outside("recommend", inside_functions=True) & {"optax", "orbax"}
    assert not reachable("recommend") & {"train", "search", "retrain", "loop", "checkpoint"}


def test_only_checkpoint_knows_orbax():
    knowing = {module for module, path in MODULES.items() if any(n.startswith("orbax") for n in imports(path))}
    assert knowing == {"checkpoint"}
