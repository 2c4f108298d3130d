"""docs/extend.md: what it adds to the library is executed as written, is short, and stands in one file."""

from __future__ import annotations

import gzip
import re
import textwrap
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from easrec_jax.config import DataConfig
from easrec_jax.config_files import load_config
from easrec_jax.data.columns import Columns
from easrec_jax.data.histories import open_source
from easrec_jax.data.load import load_data
from easrec_jax.data.read import read_interactions
from easrec_jax.data.readers import READERS

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
    assert open_source("days", Columns()).events == len(VISITS)


def test_a_config_file_may_hold_the_reader(visits):
    above, _ = block("A new reader").split("data = ")
    config = 'from easrec_jax import Config, DataConfig\nconfig = Config(data=DataConfig(path="week.visits", missing_ids="drop"))\n'
    (visits / "visits.py").write_text(above + config)
    data, _ = load_data(load_config("visits.py").data, seed=0)
    assert data.num_users == 2


def test_the_flag_names_every_format_of_the_library():
    assert set(get_args(get_type_hints(DataConfig)["format"])) == {"auto", *READERS}
