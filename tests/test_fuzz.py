"""Whatever comes in: an answer, or one error that names its place. Every reader and the commands' own parsing."""

from __future__ import annotations

import importlib
import io
import json
import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.config_files import from_json, to_json
from easrec_jax.data.features import read_features
from easrec_jax.data.histories import open_source, read_part, write_parts
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.read import read_interactions
from easrec_jax.data.titles import read_titles
from easrec_jax.models.network import Network
from easrec_jax.runs.workdir import MetricsLog
from easrec_jax.serving.artifact import Model, save_model

ROOT = Path(__file__).parent.parent
HEADERS = [
    "user,item\n",
    "user,item,timestamp\n",
    "user\titem\n",
    "user_id:token\titem_id:token\n",
    "user,history\n",
    "",
]
CELLS = [
    "",
    "u1",
    "1",
    "007",
    "a b",
    '"',
    '""',
    '"a',
    'b"',
    "nan",
    "-inf",
    "1e999",
    "99999999999999999999",
    "\0",
    "\r",
    "<b>",
    "::",
    "é",
]
CELLS += [
    "2020-01-01",
    "[1,2]",
    "[",
    '{"user": 1, "item": 2}',
    '{"user": 1, "history": [1]}',
    '{"user": []}',
    "null",
    "\u2028",
    "x" * 5000,
]
SEPARATORS = [",", "\t", " ", "::", "\n", "\n\n"]
TEXT = st.tuples(
    st.sampled_from(HEADERS), st.lists(st.tuples(st.sampled_from(CELLS), st.sampled_from(SEPARATORS)), max_size=14)
).map(lambda made: (made[0] + "".join(cell + separator for cell, separator in made[1])).encode())
CONTENT = st.one_of(TEXT, TEXT, st.binary(max_size=200))


def reads(read: Any, name: str, content: bytes) -> None:
    """`read(path)` answers, or raises an error that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            read(path)
        except ValueError as error:
            assert name in str(error) and len(str(error)) < 2000, str(error)[:3000]


def read_histories(path: Path) -> None:
    source = open_source(path)
    write_parts(source, path.with_name("spill"), range(2), 2)
    parts = [read_part(source, path.with_name("spill"), number) for number in range(2)]
    for users, items, ends, _ in parts:
        assert len(ends) == len(users) + 1 and ends[-1] == len(items)


@pytest.mark.parametrize("name", ["x.inter", "x.txt", "x.csv", "x.tsv", "x.dat", "x.data", "x.parquet", "x"])
@given(content=CONTENT)
@settings(max_examples=60, deadline=None)
def test_interactions(name, content):
    reads(lambda path: read_interactions(path, min_history=1), name, content)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.parquet"])
@given(content=CONTENT)
@settings(max_examples=60, deadline=None)
def test_histories(name, content):
    reads(read_histories, name, content)


@given(
    content=CONTENT,
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_damaged_parquet(content, cut, flips):
    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame({"user": ["a", "a", "b"], "item": [1, 2, 3], "timestamp": [1.0, 2.0, 3.0]}).write_parquet(
            f"{folder}/x.parquet"
        )
        raw = bytearray(Path(f"{folder}/x.parquet").read_bytes())
    for place, value in flips:
        raw[int(place * len(raw))] = value
    raw = bytes(raw[: int(len(raw) * (0.5 + cut / 2))])
    reads(lambda path: read_interactions(path, min_history=1), "x.parquet", raw)
    reads(read_histories, "x.parquet", raw)


@pytest.mark.parametrize("name", ["x.item", "x.csv", "x.parquet"])
@given(content=CONTENT)
@settings(max_examples=40, deadline=None)
def test_titles_and_features(name, content):
    reads(read_titles, name, content)
    reads(lambda path: read_features(path, IdMap(("u1", "1"))), name, content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    (part, name) for part, tree in json.loads(to_json(Config())).items() if isinstance(tree, dict) for name in tree
]


@pytest.mark.parametrize(("part", "name"), FIELDS)
def test_a_config_of_a_version_without_a_field_has_its_default(part, name):
    tree = json.loads(to_json(Config()))
    del tree[part][name]
    assert from_json(json.dumps(tree)) == Config()
    with pytest.raises(ValueError, match=f"run/config.json: {part}: unknown fields .'nonsense'"):
        from_json(json.dumps(tree | {part: {"nonsense": 1}}), source="run/config.json")


@pytest.mark.filterwarnings("ignore:evaluate.ks")  # a list of cut-offs without 10 is one of them
@given(where=st.sampled_from([*FIELDS, ("seed", ""), ("data", "")]), value=JSON)
@settings(max_examples=200, deadline=None)
def test_a_config_of_any_values_is_read_or_its_field_is_named(where, value):
    tree = json.loads(to_json(Config()))
    if where[1]:
        tree[where[0]][where[1]] = value
    else:
        tree[where[0]] = value
    try:
        from_json(json.dumps(tree), source="run/config.json")
    except ValueError as error:
        assert str(error).startswith("run/config.json: ")


@given(content=CONTENT, lines=st.lists(JSON.map(json.dumps), max_size=3))
@settings(max_examples=60, deadline=None)
def test_metrics_of_any_content_are_read_as_far_as_they_are_whole(content, lines):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        path.write_bytes(b'{"epoch": 1}\n' + "".join(line + "\n" for line in lines).encode() + content)
        log = MetricsLog(path)
        assert log.records()[0] == {"epoch": 1}
        log.append({"epoch": 2})
        assert log.records()[0] == {"epoch": 1} and log.records()[-1] == {"epoch": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    arch = Architecture(width=8, inner=8, depth=1, heads=2, max_length=4, attention="softmax", gate_layers=0)
    ids = IdMap(("1", "2", "<b>", "é", "a,b"))
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    weights = Network(arch, len(ids)).init(jax.random.key(0))
    saved = Model(arch, weights, ids, np.arange(6), {})
    save_model(folder, saved, architecture=arch.to_json(), config=to_json(Config()), metrics="")
    return folder


def call(name: str, *arguments: str) -> None:
    """A command's `command()`, with everything that `cli.main` makes one line of; SystemExit is tyro's own message."""
    module = importlib.import_module(f"easrec_jax.commands.{name}")
    before, sys.argv = sys.argv, [f"{name}.py", *arguments]
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            module.command()
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        assert str(error)
    except SystemExit as end:
        assert end.code in (0, 2)
    finally:
        sys.argv = before


WORDS = [
    "1",
    "2 1",
    "<b>",
    "é",
    "",
    " ",
    "0",
    "-1",
    "1/2",
    "3/2",
    "x/y",
    "9" * 21,
    "nan",
    "\n",
    "x" * 500,
    "a\0b",
    "{",
    "--",
]
WORD = st.sampled_from(WORDS)
FLAGS = [
    "--history",
    "--k",
    "--on_unknown",
    "--include_seen",
    "--histories",
    "--out",
    "--shard",
    "--format",
    "--part_events",
    "--what",
]


@given(arguments=st.lists(st.tuples(st.sampled_from(FLAGS), WORD), max_size=4))
@settings(max_examples=60, deadline=None)
def test_recommend_takes_any_arguments(model, arguments, tmp_path_factory):
    with tempfile.TemporaryDirectory() as folder:
        flat = [
            part for flag, word in arguments for part in (flag, f"{folder}/{word[:20]}" if flag == "--out" else word)
        ]
        call("recommend", str(model), *flat)


SETTINGS = [
    "--data.path",
    "--model.width",
    "--search.prune",
    "--search.budget",
    "--search.epochs",
    "--seed",
    "--evaluate.ks",
    "--workdir",
]


@given(arguments=st.lists(st.tuples(st.sampled_from(SETTINGS), WORD), max_size=3))
@settings(max_examples=30, deadline=None)
def test_search_takes_any_arguments(arguments):
    with tempfile.TemporaryDirectory() as folder:
        flat = [part for flag, word in arguments for part in (flag, word)]
        call(
            "search",
            str(ROOT / "configs" / "demo.py"),
            *flat,
            "--data.path",
            f"{folder}/nowhere.csv",
            "--workdir",
            folder,
        )
