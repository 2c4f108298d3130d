"""docs/extend.md: what it adds to the library is executed as written, is short, and stands in one file."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from chain import search_chain, setting

from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig
from easrec_jax.config_files import load_config
from easrec_jax.data.histories import open_source
from easrec_jax.data.load import load_data
from easrec_jax.data.read import read_interactions
from easrec_jax.data.readers import READERS
from easrec_jax.data.split import Split
from easrec_jax.models import rivals
from easrec_jax.models.rival import check_rival
from easrec_jax.nas.strategies.known import find_strategy
from easrec_jax.nas.strategies.strategy import Strategy
from easrec_jax.runs.retrain import baseline

PAGE = Path(__file__).parent.parent / "docs" / "extend.md"
MOST_LINES = 25
VISITS = [
    f"2026-03-0{day}T09:30:00Z {user} GET /item/shoe-{day * 2 % 7}" for day in (4, 1, 3, 2) for user in ("ann", "bo")
]


def block(heading: str) -> str:
    """The longest indented block of a section, blank lines in it included."""
    _, below = PAGE.read_text().split(f"## {heading}\n")
    blocks = re.findall(r"(?:^ {4}.*\n|^\n)+", below.split("\n## ")[0], re.MULTILINE)
    return textwrap.dedent(max(blocks, key=len)).strip("\n") + "\n"


@pytest.fixture
def visits(tmp_path, monkeypatch) -> Path:
    """A folder with a log of visits, the working directory; the table of readers is itself again afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(READERS, "visits", READERS["csv"])  # so that it is taken out at the end
    del READERS["visits"]
    (tmp_path / "week.visits").write_text("\n".join([*VISITS, "2026-03-04T09:31:00Z ann GET /cart"]) + "\n")
    return tmp_path


def test_a_new_reader(visits, capsys):
    code = block("A new reader")
    assert len(code.splitlines()) <= MOST_LINES
    names: dict = {}
    exec(code, names)
    assert capsys.readouterr().out == (
        "2 users, 4 items; 1 rows without a user or item id dropped (missing_ids=drop)\n"
    )
    wanted = ["shoe-2", "shoe-4", "shoe-6", "shoe-1"]
    assert names["data"].histories_of(["ann", "bo"]) == [wanted, wanted]
    with pytest.raises(ValueError, match="week.visits, line 9, column 'user': the id is missing"):
        read_interactions("week.visits")
    (visits / "days").mkdir()
    (visits / "days" / "a.visits.gz").write_bytes(gzip.compress("\n".join(VISITS[:4]).encode()))
    (visits / "days" / "b.visits").write_text("\n".join(VISITS[4:]))
    assert read_interactions("days").fingerprint() == names["data"].fingerprint()
    (visits / "other.log").write_text("\n".join(VISITS))
    assert read_interactions("other.log", format="visits").fingerprint() == names["data"].fingerprint()
    assert open_source("days").events == len(VISITS)


def test_a_config_file_may_hold_the_reader(visits):
    above, _ = block("A new reader").split("data = ")
    config = 'from easrec_jax import Config, DataConfig\nconfig = Config(data=DataConfig(path="week.visits", missing_ids="drop"))\n'
    (visits / "visits.py").write_text(above + config)
    data, _ = load_data(load_config("visits.py").data, seed=0)
    assert data.num_users == 2


def test_the_flag_names_every_format_of_the_library():
    assert set(get_args(get_type_hints(DataConfig)["format"])) == {"auto", *READERS}


USED = """
import jax
from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, ModelConfig
from easrec_jax.models.cost import request_flops
from easrec_jax.models.network import Network
Config(model=ModelConfig(attention="mean"))
network = Network(Architecture(8, 8, 2, 2, 6, "mean", 0), 20)
weights = jax.eval_shape(network.init, jax.random.key(0))
items = jax.ShapeDtypeStruct((3, 6), "int32")
for method in ("encode", "encode_last", "start"):
    jax.eval_shape(lambda weights, items: getattr(network, method)(weights, items), weights, items)
print(request_flops(network.architecture, 20), "FLOPs")
"""


def test_a_new_mixer(tmp_path):
    """In a copy of the library, whose file it is: the laws of all mixers hold for it, and networks are made of it.

    Slow: two more Python processes, which compile anew.
    """
    code, root = block("A new mixer"), PAGE.parent.parent
    assert len(code.splitlines()) <= MOST_LINES
    shutil.copytree(root / "easrec_jax", tmp_path / "easrec_jax")
    shutil.copytree(root / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__", "http"))
    (tmp_path / "easrec_jax" / "nn" / "mixers" / "causal" / "mean.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    laws = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_mixers.py", "-k", "mean")
    for arguments, said in ((laws, "passed"), (("-c", USED), "FLOPs")):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0 and said in done.stdout, f"{done.stdout}\n{done.stderr}"


@pytest.fixture
def rival_file(tmp_path, monkeypatch):
    """A folder whose files are rivals too, for one test."""
    monkeypatch.setattr(rivals, "__path__", [*rivals.__path__, str(tmp_path)])
    yield tmp_path / "again.py"
    sys.modules.pop(f"{rivals.__name__}.again", None)


def test_a_new_rival(rival_file, interactions):
    code = block("A new rival")
    assert len(code.splitlines()) <= MOST_LINES
    rival_file.write_text(code)
    config = Config(
        model=ModelConfig(width=8, inner=8, heads=2, max_length=8),
        retrain=RetrainConfig(baselines=("again",)),
        evaluate=EvaluateConfig(protocols=("full",), ks=(1, 10), buckets=1),
    )
    check_rival("again", config)
    split = Split(interactions([[1, 2, 3, 3], [4, 2, 2, 4], [3, 1, 4, 4]], 20))
    row = baseline("again", config, split, keep_ranks=True)
    assert row is not None and row["validation"]["full"]["recall@10"] > 0
    np.testing.assert_array_equal(row["ranks"]["test/full"][:, 0], [0, 1, 0])
    with pytest.raises(ValueError, match=r"retrain\.baselines: expected again, markov, popularity, or a network"):
        check_rival("again+softmax", config)


def test_a_new_strategy(tmp_path):
    """It learns the planted width within the budget, in the paper's space and in a wider one."""
    code = block("A new strategy")
    assert len(code.splitlines()) <= MOST_LINES
    (tmp_path / "spos.py").write_text(code)
    strategy = find_strategy(str(tmp_path / "spos.py"))
    assert isinstance(strategy, Strategy)
    space, found = search_chain(setting(budget=0.9), strategy=strategy)
    assert found.architecture.width == 16 and found.shares is not None and found.shares["width"][1] > 0.6
    assert np.asarray(found.computed["weight"])[1, 1] == 0  # two wide layers are beyond the budget
    space, found = search_chain(setting(wide=True, budget=0.6, epochs=1, warmup_epochs=0), strategy=strategy)
    assert all(one.cost <= 0.6 for one in found.finalists)
