"""Cells of experiments: made once, kept, refused where they are another's, shared by processes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny import SPLIT, TINY

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, ProxylessConfig, RecnasConfig
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Split
from easrec_jax.space import space_of
from experiments.cells import Cells, Interrupted, Job, commit
from experiments.recipes import recipe
from experiments.table5 import without_budget

ROOT = Path(__file__).parents[1]


def giving(cell: dict | None, config: Config = TINY, architecture: Architecture | None = None) -> Job:
    return Job(lambda *_: cell and dict(cell), config, architecture)


def test_a_kept_cell_of_another_config_or_network_is_refused(tmp_path):
    cells = Cells(tmp_path, TINY, SPLIT)
    small, large = (space_of(TINY).architecture(number) for number in (3, 1))
    priced = without_budget(TINY, 0.3)
    cells.run("a", giving({"architecture": small.to_json()}, priced, small))
    changes = {"search.easrec.cost_weight": 0.3, "search.budget": None}
    assert cells.run("a", giving(None, priced, small))["changes"] == changes
    with pytest.raises(
        ValueError, match=r"a.json was made with {'search.*, expected {}; remove it to have it made again"
    ):
        cells.run("a", giving(None, TINY, small))
    with pytest.raises(ValueError, match=r"a.json is of 2 x \(width 4, .*, expected 2 x \(width 8, "):
        cells.run("a", giving(None, priced, large))


def test_a_table_of_some_rows_has_these_and_those_that_are_finished(tmp_path):
    def of(row: str) -> list[str]:
        return [f"{row}-seed{seed}" for seed in range(2)]

    cells = Cells(tmp_path, TINY, SPLIT, command="make")
    for name in ("a-seed0", "a-seed1", "b-seed0"):
        cells.run(name, giving({}))
    assert cells.shown_rows("abc", ("c",), of) == ["a", "c"] and cells.about(2)["command"] == "make --rows a c"
    assert cells.shown_rows("abc", (), of) == ["a", "b", "c"] and cells.about(2)["command"] == "make"
    with pytest.raises(ValueError, match="rows: expected some of 'a', 'b', 'c', got 'd'"):
        cells.shown_rows("abc", ("d",), of)


def test_seconds_that_a_cell_measured_itself_are_its_own(tmp_path):
    own = Cells(tmp_path, TINY, SPLIT).run("a", giving({"seconds": 1234.567, "cpu_seconds": 2.0}))
    assert (own["seconds"], own["cpu_seconds"]) == (1234.57, 2.0)


def test_an_interrupted_cell_is_not_kept(tmp_path):
    cells = Cells(tmp_path, TINY, SPLIT)
    with pytest.raises(Interrupted):
        cells.run("a", giving(None))
    assert cells.run("a", giving({"value": 1}))["value"] == 1
    assert cells.run("a", giving({"value": 2}))["value"] == 1


def test_a_field_with_a_comma_is_quoted(tmp_path):
    rows = [{"a": "1 x 8, 2 x 8", "b": 1, "c": None}, {"a": 'the "pick"', "c": 2}]
    Cells(tmp_path, TINY, SPLIT).write("x", {}, rows, "text", seeds=1)
    assert (tmp_path / "x.csv").read_text() == 'a,b,c\n"1 x 8, 2 x 8",1,\n"the ""pick""",,2\n'


def test_cells_of_a_version_that_knew_fewer_settings_stay_valid(tmp_path):
    """A field that was not there yet had its default's meaning; any other value of it is another config."""
    cells = Cells(tmp_path, TINY, SPLIT)
    cells.run("a", giving({}))
    path = tmp_path / "config.json"
    tree = json.loads(path.read_text())
    del tree["search"]["easrec"]["dynamic"], tree["data"]["planted"]["lengths"]
    path.write_text(json.dumps(tree))
    Cells(tmp_path, TINY, SPLIT)
    static = dataclasses.replace(TINY.search.easrec, dynamic=False)
    other = dataclasses.replace(TINY, search=dataclasses.replace(TINY.search, easrec=static))
    with pytest.raises(ValueError, match="search.easrec.dynamic: True there, False here"):
        Cells(tmp_path, other, SPLIT)


def test_cells_of_a_version_in_which_strategies_shared_settings_stay_valid(tmp_path):
    """Kept files have names like search.cost_weight; they count as today's, whoever reads them today."""
    easrec = dataclasses.replace(TINY.search.easrec, cost_weight=0.2)
    shared = dataclasses.replace(
        TINY.search, easrec=easrec, proxyless=ProxylessConfig(0.2), recnas=RecnasConfig(0.2, 0.1)
    )
    config = dataclasses.replace(TINY, search=shared)
    priced = without_budget(config, 0.3)
    Cells(tmp_path, config, SPLIT).run("a", giving({"value": 1}, priced))
    path, cell = tmp_path / "config.json", tmp_path / "cells" / "a.json"
    tree = json.loads(path.read_text())
    tree["search"] |= tree["search"].pop("easrec")
    del tree["search"]["proxyless"], tree["search"]["recnas"]
    path.write_text(json.dumps(tree))
    cell.write_text(json.dumps({"value": 1, "changes": {"search.cost_weight": 0.3, "search.budget": None}}))
    cells = Cells(tmp_path, config, SPLIT)
    assert cells.run("a", giving({"value": 2}, priced))["value"] == 1
    with pytest.raises(ValueError, match="a.json was made with"):
        cells.run("a", giving(None, without_budget(config, 0.4)))
    with pytest.raises(ValueError, match="search.recnas.tau_start: 0.2 there, 1.0 here"):
        Cells(tmp_path, dataclasses.replace(config, search=dataclasses.replace(shared, recnas=RecnasConfig())), SPLIT)


def test_where_cells_come_from_is_kept(tmp_path):
    cells = Cells(tmp_path, TINY, SPLIT)
    assert cells.run("a", giving({"value": 1}))["commit"] == commit()
    old = {"value": 2, "device": "abacus", "jax": "9.9"}  # as a version wrote it that recorded no commit
    (tmp_path / "cells" / "b.json").write_text(json.dumps(old))
    cells.run("b", giving(None))
    made = cells.about(seeds=1)
    assert made["commits"] == sorted([commit(), "not recorded"]) and "abacus" in made["devices"] and made["cells"] == 2


def test_cells_of_other_data_are_refused_wherever_the_file_lies(tmp_path):
    config = recipe("ml-100k", "smoke", path="/somewhere/clicks.csv")
    Cells(tmp_path, config, SPLIT)
    assert not list(tmp_path.iterdir())  # only cells make it theirs
    Cells(tmp_path, config, SPLIT).run("a", giving({}, config))
    assert "clicks" not in (tmp_path / "config.json").read_text()
    Cells(tmp_path, recipe("ml-100k", "smoke", path="elsewhere.csv"), SPLIT)
    items = SPLIT.data.items.copy()
    items[[3, 4]] = items[[4, 3]]
    other = Split(dataclasses.replace(SPLIT.data, items=items))
    assert not np.array_equal(items, SPLIT.data.items)
    with pytest.raises(ValueError, match="holds cells of other data .*'users': 60.* there.*: use another --workdir"):
        Cells(tmp_path, config, other)
    red, blue = (ItemFeatures.from_tokens({"colour": [[], [name], ["green"]]}) for name in ("red", "green"))
    earlier = Cells(tmp_path, config, SPLIT), Cells(tmp_path, config, SPLIT, blue)
    Cells(tmp_path, config, SPLIT, red).run("b", giving({}, config))
    earlier[0].run("c", giving({}, config))  # which knows of no features, and forgets none
    with pytest.raises(ValueError, match="holds cells of other data"):
        earlier[1].run("d", giving({}, config))
    with pytest.raises(ValueError, match="holds cells of other data"):
        Cells(tmp_path, config, SPLIT, blue)


def test_processes_share_an_experiment(tmp_path):
    """What another process is at is left to it, the rest done meanwhile; it is taken over if that process died."""
    script = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "tests")!r})
from pathlib import Path
from tiny import SPLIT, TINY
from experiments.cells import Cells, Job
def make(config, on):
    print("in a", flush=True)
    for _ in range(300):
        if Path({str(tmp_path / "go")!r}).exists():
            return {{"by": "the other"}}
        time.sleep(0.1)
    return {{"by": "the other, in vain"}}
Cells(Path({str(tmp_path)!r}), TINY, SPLIT).run("a", Job(make, TINY))
"""

    def start() -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "in a\n"
        return process

    with start() as dying:
        dying.kill()
    order = []

    def make(name: str) -> dict:
        order.append(name)
        if name == "c":
            (tmp_path / "go").touch()
        return {"by": "this one"}

    with start() as other:
        cells = Cells(tmp_path, TINY, SPLIT)
        done = cells.run_all({name: Job(lambda *_, name=name: make(name), cells.config) for name in "abc"})
    assert order == ["b", "c"] and [cell["by"] for cell in done] == ["the other", "this one", "this one"]
    assert other.returncode == 0
    assert sorted(p.name for p in (tmp_path / "cells").iterdir()) == ["a.json", "b.json", "c.json"]


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="counts a process's memory maps, which Linux shows")
def test_cells_leave_no_programs_behind(tmp_path):
    """Linux bounds a process's memory maps, and each compiled program takes some: many networks would not fit."""
    cells, counts = Cells(tmp_path, TINY, SPLIT), []

    def compiling(size: int) -> dict:
        for width in range(1, 9):
            jax.jit(lambda x: jax.numpy.sort(x @ x.T, axis=0).sum())(jax.numpy.ones((size, width)))
        return {}

    for number in range(6):
        cells.run(f"cell{number}", Job(lambda *_, size=10 + number: compiling(size), cells.config))
        counts.append(len(Path("/proc/self/maps").read_text().splitlines()))
    assert counts[-1] < counts[1] + 60
