"""The documents: every code block runs in some test or stands here with the reason why not; every command has flags that exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
import types
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import tyro
from documents import PAGES, ROOT, blocks

from easrec_jax import read_interactions

HERE = "here"
HOURS = "trains for hours"
KEPT = "makes the kept tables, for hours"
MEASURES = "measures the machine it runs on, for minutes or hours"
SHOWN = "is shown, not run"
CLUSTER = "needs a cluster"
# The blocks of each page in their order: where they run, as test_FILE.FUNCTION, or why they do not. All commands are parsed.
ACCOUNT = {
    "CONTRIBUTING.md": ["is what .ci/run does"],
    "README.md": [
        "is what .ci/run does, with the demo in test_readme.test_the_demo_is_three_commands_of_the_tutorial",
        "test_readme.test_all_of_it_in_python",
        "test_recipe.test_fit_is_one_command_and_flags_go_before_the_choice",
        "test_readme.test_own_data_and_the_next_night",
    ],
    "benchmarks/README.md": [MEASURES],
    "docs/coming_from.md": [HERE, HOURS],
    "docs/design.md": [SHOWN],
    "docs/evaluate.md": [HOURS, "test_beyond.test_the_file_of_all_users_holds_the_figures"],
    "docs/experiments.md": [KEPT],
    "docs/extend.md": [
        "test_extend.test_a_new_strategy",
        "test_extend.test_a_new_reader",
        "test_extend.test_a_new_mixer",
        "test_extend.test_a_new_rival",
    ],
    "docs/guide.md": [
        "test_readme.test_reading_in_python",
        "test_readme.test_own_data_and_the_next_night",
        HOURS,
        "test_item_features.test_new_items_get_the_rows_that_training_would_have_given_them",
        KEPT,
        HOURS,
        "test_timed_serving.test_the_guides_lines",
        KEPT,
        "test_elastic_model.test_the_guides_other_lines",
        "test_elastic_model.test_the_guides_other_lines",
        "test_elastic_model.test_one_of_the_front_is_trained_alone",
        "test_elastic_model.test_the_guides_lines_of_a_size_for_each_user",
        f"{SHOWN}; what it does is in tests/http/test_swap.py",
        "test_readme.test_one_file",
        "test_adarec_commands.test_a_student_is_found_taught_and_served",
    ],
    "docs/results/adarec.md": [KEPT, KEPT],
    "docs/results/elastic.md": [
        KEPT,
        KEPT,
        KEPT,
        "test_elastic_model.test_the_guides_lines_of_a_size_for_each_user",
        KEPT,
    ],
    "docs/results/field.md": [KEPT],
    "docs/results/movielens-1m.md": [KEPT, "draws from kept files", HOURS, HOURS, KEPT, HOURS, HOURS, HOURS],
    "docs/results/speed.md": [MEASURES, MEASURES, HOURS, HOURS, HOURS],
    "docs/scale.md": [
        HERE,
        MEASURES,
        "test_readme.test_blocks_of_users_on_an_engine",
        "test_readme.test_blocks_of_users_on_an_engine",
        HOURS,
        "test_mesh.test_twenty_steps_on_any_mesh_are_those_of_one_device",
        "test_mesh.test_two_processes_train_as_one_device_and_stop_together_with_one_checkpoint",
        f"{CLUSTER}: read by test_mesh.test_the_manifests_are_whole_and_name_flags_that_there_are",
        f"{CLUSTER}: read by test_mesh.test_the_manifests_are_whole_and_name_flags_that_there_are",
        f"{CLUSTER}: read by test_mesh.test_the_manifests_are_whole_and_name_flags_that_there_are",
        "test_scale_plan.test_the_page_says_what_the_command_says",
    ],
    "docs/troubleshooting.md": [
        "test_readme.test_workers_that_are_spawned",
        "test_readme.test_compiled_programs_are_kept",
    ],
    "docs/tutorial.md": [
        "test_commands.test_search_and_retrain_write_what_they_found",
        SHOWN,
        "test_readme.test_own_data_and_the_next_night",
        "test_readme.test_own_data_and_the_next_night",
        "test_readme.test_recommending_in_python",
        "test_readme.test_recommending_in_python",
        "test_readme.test_everyone_an_index_a_report",
    ],
}
ACCOUNT["docs/results.md"] = [KEPT] * len(blocks("docs/results.md"))


FLAGLESS = ("bin/demo.py", "benchmarks/front.py")
COMMAND = re.compile(r"python ((?:bin|benchmarks)/\w+\.py)([^&|\n]*)")


def test_every_block_runs_somewhere_or_says_why_not():
    assert {page: len(blocks(page)) for page in PAGES if blocks(page)} == {p: len(of) for p, of in ACCOUNT.items()}
    for name, function in re.findall(r"(test_\w+)\.(test_\w+)", str(ACCOUNT)):
        assert f"def {function}(" in (ROOT / "tests" / f"{name}.py").read_text(), f"{name}.{function}"


class Understood(BaseException):
    """The command line is read, and what it says fits."""


def command_lines() -> list[tuple[str, ...]]:
    """Program and arguments of each command of the documents, once."""
    code = "\n".join(block for page in PAGES for block in blocks(page)).replace("\\\n", " ")
    code = code.replace("$s", "0").replace("CONFIG", "configs/demo.py").replace(" ...", "")
    found = ((program, *shlex.split(words, comments=True)) for program, words in COMMAND.findall(code))
    return list(dict.fromkeys(found))


@pytest.fixture
def read(monkeypatch):
    """`read(program, *arguments)`: the command up to where its flags are read, in the repository."""
    real = tyro.cli

    def understood(*args, **options):
        real(*args, **options)
        raise Understood

    monkeypatch.setattr(tyro, "cli", understood)
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    scripts = [path.stem for path in (ROOT / "benchmarks").glob("*.py")]
    for name in scripts:  # tests have a module of one of these names too
        monkeypatch.delitem(sys.modules, name, raising=False)

    def module_of(program: str) -> types.ModuleType:
        spec = importlib.util.spec_from_file_location(f"documented_{Path(program).stem}", program)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    def run(program: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        if program.startswith("bin/") and program != "bin/reproduce.py":
            command = importlib.import_module(f"easrec_jax.commands.{Path(program).stem}").command
        else:
            module = module_of(program)
            flags = getattr(module, "Arguments", None)
            command = partial(tyro.cli, flags, use_underscores=True) if flags else module.command
        with pytest.raises(Understood):
            command()

    yield run
    for name in scripts:
        sys.modules.pop(name, None)


def test_every_command_has_flags_that_exist(read):
    lines = command_lines()
    assert len(lines) > 80
    for program, *arguments in lines:
        if program in FLAGLESS:
            assert (ROOT / program).is_file() and not arguments
        else:
            read(program, *arguments)


def test_files_of_other_libraries(tmp_path, monkeypatch):
    """Each line reads, and what it reads are the three events of both users in their order."""
    monkeypatch.chdir(tmp_path)
    events = [(user, item, time) for user in "12" for time, item in enumerate("567")]
    table = pl.DataFrame(events[::-1], schema=["user_id", "item_id", "timestamp"], orient="row")
    tabs = {"separator": "\t"}
    named = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
    table.rename(named).write_csv("ml-100k.inter", **tabs)
    split = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    Path("Beauty.test.inter").write_text(split + "".join(f"{user}\t5 6\t7\n" for user in "12"))
    times = pl.from_epoch("timestamp", time_unit="d").alias("datetime")
    table.select("user_id", "item_id", times, weight=1.0).write_csv("interactions.csv")
    table.rename({"user_id": "query_id"}).write_parquet("interactions.parquet")
    Path("ml-1m.txt").write_text("".join(f"{user} {item}\n" for user, item, _ in events))
    Path("Beauty.txt").write_text("1 5 6 7\n2 5 6 7\n")
    first, *lines = blocks("docs/coming_from.md")[0].splitlines()
    names: dict = {}
    exec(first, names)
    assert len(lines) == 6
    for line in lines:
        assert eval(line, names).histories_of(["1", "2"]) == [["5", "6", "7"]] * 2, line


def test_a_log_is_prepared_once(tmp_path, monkeypatch, call_here):
    monkeypatch.chdir(tmp_path)
    Path("clicks").mkdir()
    for part in (1, 2):
        rows = "".join(f"u{part}{user},i{user + item},{item}\n" for user in range(5) for item in range(4))
        Path(f"clicks/part-{part}.csv").write_text("user,item,time\n" + rows)
    program, *arguments = shlex.split(blocks("docs/scale.md")[0].splitlines()[0])[1:]
    call_here(Path(program).stem, *arguments)
    assert read_interactions("prepared").fingerprint() == read_interactions("clicks/").fingerprint()
