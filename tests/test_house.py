"""The house: folders are layers, a file imports from its own layer or one below it, and no two files need each other.

Imports inside functions count as any other: where they stand changes when they are paid for, not who depends on whom.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import easrec_jax

FOLDER = Path(easrec_jax.__file__).parent
ROOT = FOLDER.parent
# from the ground up; "" are the files beside the folders, and those of them that are folders of files themselves
GROUND_PACKAGES = ("config",)
LAYERS = ("", "data", "parallel", "nn", "models", "evaluate", "train", "nas", "serving", "runs", "http", "commands")
MODULES = {
    ".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(FOLDER.rglob("*.py"))
    if path != FOLDER / "__init__.py"
}
OUTSIDE = {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("bin", "configs", "benchmarks", "experiments")
    for path in sorted((ROOT / folder).glob("*.py"))
}


def imports(path: Path, *, inside_functions: bool = True) -> set[str]:
    """Full names of the modules that a file imports; `from package import module` counts as the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: list[ast.AST] = list(ast.walk(tree))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    lazy = {id(n) for f in nodes if isinstance(f, functions) for n in ast.walk(f)}
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
            modules = {n for n in names if n.removeprefix("easrec_jax.") in MODULES}
            found |= modules or {source}
    return found


def own(names: set[str]) -> set[str]:
    """The package's own modules among them, without its name."""
    return {name.removeprefix("easrec_jax.") for name in names if name.startswith("easrec_jax.")} & set(MODULES)


def layer(module: str) -> int:
    first, dot, _ = module.partition(".")
    in_folder = (dot or (FOLDER / first).is_dir()) and first not in GROUND_PACKAGES
    return LAYERS.index(first if in_folder else "")


def packages(module: str) -> set[str]:
    """Those that the module is in; importing it imports them."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def reachable(module: str) -> set[str]:
    """The module and all that importing it imports."""
    seen, queue = set(), [module]
    while queue:
        if (name := queue.pop()) not in seen:
            seen.add(name)
            queue += own(imports(MODULES[name], inside_functions=False)) | packages(name)
    return seen


def outside(module: str, *, inside_functions: bool = False) -> set[str]:
    """Top-level names of the other packages that importing the module imports."""
    return {n.split(".")[0] for m in reachable(module) for n in imports(MODULES[m], inside_functions=inside_functions)}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_layer_or_one_below(module):
    above = {name for name in own(imports(MODULES[module])) if layer(name) > layer(module)}
    assert not above, f"{module} ({LAYERS[layer(module)]}) imports {above}"


def test_no_two_modules_need_each_other():
    uses = {module: own(imports(path)) - {module} for module, path in MODULES.items()}
    while free := {module for module, used in uses.items() if not used & set(uses)}:
        uses = {module: used for module, used in uses.items() if module not in free}
    assert not uses, f"each of these imports another of them: {sorted(uses)}"


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_is_not_installed_stays_outside(path):
    """Commands, configs, benchmarks and experiments import the library, never the other way round, nor each other's rooms."""
    folder = path.split("/")[0]
    found = {name.split(".")[0] for name in imports(OUTSIDE[path])}
    others = {"bin", "configs", "benchmarks", "experiments"} - {folder}
    allowed = {"experiments"} if path == "bin/reproduce.py" else set()
    assert not found & (others - allowed)
    if folder == "configs":
        assert own(imports(OUTSIDE[path])) <= {"config"}


@pytest.mark.parametrize("module", MODULES)
def test_the_library_does_not_know_what_is_not_installed(module):
    assert not {n.split(".")[0] for n in imports(MODULES[module])} & {"bin", "configs", "benchmarks", "experiments"}


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) <= 1 and m not in ("data.synthetic", "precision")])
def test_plain_data_does_not_import_jax(module):
    assert not outside(module) & {"jax", "flax", "optax", "orbax"}


def test_public_names_are_where_the_package_says():
    for name, home in easrec_jax._HOMES.items():
        tree = ast.parse(MODULES[home].read_text(encoding="utf-8"))
        defined = {getattr(node, "name", "") for node in tree.body}
        assert name in defined, f"{name} is not defined in {home}"


def test_serving_imports_no_training():
    for module in MODULES:
        if module.startswith("serving."):
            assert not {m.split(".")[0] for m in reachable(module)} & {"train", "nas"}, module
            assert not outside(module, inside_functions=True) & {"optax", "orbax"}, module


def test_only_checkpoint_knows_orbax():
    knowing = {module for module, path in MODULES.items() if any(n.startswith("orbax") for n in imports(path))}
    assert knowing == {"train.checkpoint"}


# -------------------------------------------------------------------------------------------------------- sizes


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_files_are_short():
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    lines = {module: count for module, count in lines.items() if count > 1}
    assert sorted(lines.values())[len(lines) // 2] <= 130
    assert not {module: count for module, count in lines.items() if count > 350}


@pytest.mark.parametrize("module", MODULES)
def test_functions_fit_a_screen_and_take_few_arguments(module):
    for function in functions(parsed(module)):
        assert (function.end_lineno or 0) - function.lineno < 60, f"{module}.{function.name} is long"
        given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        names = [argument.arg for argument in given if argument.arg not in ("self", "cls")]
        assert len(names) <= 8, f"{module}.{function.name} takes {len(names)} arguments"


def public(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions of a module and methods of its classes that are called from elsewhere; `setup` is Flax's."""
    found = []
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += public(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            found += [node] if node.name != "setup" else []
    return found


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_say_what_they_do(module):
    assert not [function.name for function in public(parsed(module).body) if not ast.get_docstring(function)]
