"""`easrec COMMAND`: all commands under one name, configs by name, and mistakes in the words of who typed them."""

from __future__ import annotations

import importlib.metadata
import runpy
import sys
from pathlib import Path

import pytest

import easrec_jax
from easrec_jax.commands import easrec
from easrec_jax.config_files import find_config, load_config, own_configs

ROOT = Path(__file__).parents[1]


@pytest.fixture
def typed(monkeypatch, capsys, tmp_path):
    """`typed("search", ...)`: exit status, stdout and stderr of `easrec search ...` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("easrec_jax.runs.cli.use_huge_pages", lambda: None)
    monkeypatch.setattr("easrec_jax.runs.cli.setup_jax", lambda: None)
    monkeypatch.setattr("warnings.showwarning", None)

    def run(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["easrec", *words])
        with pytest.raises(SystemExit) as ended:
            easrec.run()
        return ended.value.code, *capsys.readouterr()

    return run


def test_every_command_is_one_of_easrec_and_a_file_of_bin():
    files = {path.stem for path in (ROOT / "easrec_jax/commands").glob("*.py")} - {"__init__", "easrec"}
    assert files == set(easrec.COMMANDS)
    assert files == {path.stem for path in (ROOT / "bin").glob("*.py")} - {"reproduce"}  # experiments/ is not installed


@pytest.mark.parametrize("name", easrec.COMMANDS)
def test_a_file_of_bin_runs_the_command_of_its_name(name, monkeypatch):
    ran = []
    monkeypatch.setattr("easrec_jax.runs.cli.main", lambda command: ran.append(command.__module__))
    runpy.run_path(str(ROOT / "bin" / f"{name}.py"), run_name="__main__")
    assert ran == [f"easrec_jax.commands.{name}"]


def test_help_and_version(typed):
    for words in ((), ("--help",)):
        code, out, _ = typed(*words)
        assert code == 0 and all(f"\n  {name} " in out for name in easrec.COMMANDS)
    assert typed("--version")[:2] == (0, f"easrec_jax {easrec_jax.__version__}\n")
    assert "easrec search CONFIG" in typed("search", "--help")[1]


def test_mistakes_say_what_was_expected(typed):
    code, _, err = typed("serch", "demo")
    assert code == 2 and "'serch'" in err and "retrain" in err
    code, _, err = typed("search")
    assert code == 2 and "easrec search CONFIG" in err and "demo" in err
    code, _, err = typed("search", "dmo")
    assert (
        code == 2
        and err
        == f"error: dmo: no such config (expected a file, .py, .toml, .yaml or .json, or one of {', '.join(own_configs())})\n"
    )
    code, _, err = typed("demo", "now")
    assert code == 2 and "no arguments, got 'now'" in err


def test_a_config_by_its_name_is_its_file(tmp_path, monkeypatch):
    assert set(own_configs()) == {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert load_config("demo") == load_config(ROOT / "configs" / "demo.py")
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text("config = None")  # a file that is there goes before a name
    assert find_config("demo") == Path("demo")


def test_the_demo_is_typed_as_its_caller_types(typed, monkeypatch):
    assert "\n  easrec search demo " in typed("demo", "--help")[1]
    monkeypatch.setattr(sys, "argv", ["bin/demo.py", "--help"])
    from easrec_jax.commands import demo

    assert demo.typed("search", ["demo"]) == "python bin/search.py configs/demo.py"


def test_without_matplotlib_a_run_goes_on(monkeypatch, capsys):
    """Pictures are an extra: their want is no reason to lose what was computed."""
    from easrec_jax.runs.cli import pictures
    from easrec_jax.runs.figures import new_figure

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pictures():
        new_figure(1, 1, (1.0, 1.0))
    assert capsys.readouterr().err == 'no picture: pictures need matplotlib: pip install "easrec_jax[plot]"\n'


def test_the_doctor_knows_which_extras_are_there(monkeypatch):
    from easrec_jax.commands.doctor import installed, software

    package = importlib.metadata.distribution("easrec_jax")
    for extra in ("plot", "reproduce", "faiss"):
        assert installed(package, extra)
    there = importlib.metadata.distribution

    def without(name: str):
        if name == "matplotlib":
            raise importlib.metadata.PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr(importlib.metadata, "distribution", without)
    assert [installed(package, extra) for extra in ("plot", "reproduce", "faiss")] == [False, False, True]
    lacking = software()["extras"].partition("not there: ")[2].partition(", by pip")[0].split(", ")
    assert {"plot", "reproduce"} <= set(lacking) and "faiss" not in lacking


def test_the_doctor_sees_a_model_that_answers_otherwise_once_saved(monkeypatch):
    from easrec_jax.commands.doctor import self_test
    from easrec_jax.runs import pipeline
    from easrec_jax.serving.recommend import Recommender

    made = []

    def once(config, data):
        made.append(made[0] if made else pipeline_fit(config, data))
        return made[-1]

    pipeline_fit = pipeline.fit
    monkeypatch.setattr(pipeline, "fit", once)
    assert self_test() == ""
    popular = made[0]._replace(
        weights={
            **made[0].weights,
            "tables": made[0].weights["tables"] | {"items": made[0].weights["tables"]["items"][::-1]},
        }
    )
    monkeypatch.setattr(Recommender, "load", lambda folder: Recommender(popular))
    assert "the saved model answers" in self_test()
    made[0].results["test"]["full"]["recall@10"] = 0.05
    assert "learned nothing" in self_test()
