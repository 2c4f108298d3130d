"""bin/recommend.py as a user types it: for a history, for users of a file, for everyone; and one line for every mistake."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.read import read_interactions
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model, save_model
from easrec_jax.serving.recommend import Recommender

IDS = tuple(f"i{k}" for k in range(20))
TITLES = {"i3": "A [red] chair", "i4": "\x1b[31mloud\nlines"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    architecture = Architecture(
        width=8, inner=8, depth=1, heads=2, max_length=6, attention="recent_linrec", gate_layers=0, conv_width=2
    )
    weights = Network(architecture, len(IDS)).init(jax.random.key(5))
    model = Model(architecture, weights, IdMap(IDS), np.arange(len(IDS) + 1), {}, TITLES)
    path = tmp_path_factory.mktemp("run") / "model"
    save_model(path, model, architecture=architecture.to_json(), config="{}", metrics="")
    return path


@pytest.fixture
def call(folder, tmp_path, monkeypatch, call_here):
    """Run the command on the model, in an empty folder; what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, model: Path = folder) -> str:
        return call_here("recommend", model, *arguments)

    return run


@pytest.fixture
def users(tmp_path) -> Path:
    rows = ["42,i1,1", "42,i2,2", "7,i9,1", "long,i1,3", "long,i2,1", "long,i3,2", "new,zz,1"]
    path = tmp_path / "users.csv"
    path.write_text("\n".join(["user,item,time", *rows]) + "\n")
    return path


def table(text: str) -> list[str]:
    """The printed rows, without the line about the time."""
    *rows, last = text.splitlines()
    assert last.endswith(" ms, compilation included")
    return rows


def test_a_user_of_a_file_is_answered_like_the_history(call, users, folder):
    """Those with fewer events than training needs too; in the order of time, not of rows."""
    for user, history in (("42", "i1 i2"), ("7", "i9"), ("long", "i2 i3 i1")):
        printed = table(call("--histories", users, "--user", user, "--k", "4"))
        assert printed == table(call("--history", history, "--k", "4")) and len(printed) == 4
    both = table(call("--histories", users, "--user", "7", "42", "--k", "2"))
    assert both[0] == "user 7" and both[3] == "user 42"
    assert both[1:3] + both[4:] == table(call("--history", "i9", "--k", "2")) + table(
        call("--history", "i1 i2", "--k", "2")
    )
    recommender, data = Recommender.load(folder), read_interactions(users, min_history=1)
    answers = recommender.recommend_users(data, [7.0, "long"], k=3, exclude_seen=False)
    assert answers == recommender.recommend([["i9"], ["i2", "i3", "i1"]], 3, exclude_seen=False)


def test_users_who_are_not_there_or_of_whom_nothing_is_known(call, users):
    with pytest.raises(ValueError, match="unknown users '43', 'x': not among the 4 of the data"):
        call("--histories", users, "--user", "43", "42", "x")
    with pytest.warns(UserWarning, match="'zz'"):
        printed = table(call("--histories", users, "--user", "new", "42", "--k", "2"))
    assert printed[0] == "user new" and "no item of the history is known" in printed[1] and len(printed) == 5


def test_every_form_of_training_files_is_read(call, users, tmp_path):
    want = table(call("--histories", users, "--user", "long"))
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\nlong\ti2\nlong\ti3\nlong\ti1\n")
    (tmp_path / "b.txt").write_text("42 i1 i2\nlong i2 i3 i1\n")
    (tmp_path / "c.csv").write_text("who;watched\nlong;i2\nlong;i3\nlong;i1\n")
    (tmp_path / "d.jsonl").write_text('{"user": "long", "history": ["i2", "i3", "i1"]}\n')
    named = ("--user_column", "who", "--item_column", "watched", "--separator", ";")
    for name, options in (("a.inter", ()), ("b.txt", ("--input_format", "lists")), ("c.csv", named), ("d.jsonl", ())):
        assert table(call("--histories", tmp_path / name, "--user", "long", *options)) == want, name
        call("--histories", tmp_path / name, "--out", tmp_path / f"{name}.csv", *options)
        rows = [row.split(",") for row in (tmp_path / f"{name}.csv").read_text().splitlines()]
        assert [item for user, _, item, _ in rows if user == "long"] == [row.split()[1] for row in want], name


def test_titles_are_shown_and_command_no_terminal(call):
    rows = table(call("--history", "i1", "--k", "20", "--include_seen"))
    by_item = {row.split()[1]: row for row in rows}
    assert by_item["i3"].endswith("  A [red] chair") and by_item["i4"].endswith("  \\x1b[31mloud\\nlines")
    assert len(rows) == 20 and len(by_item["i1"].split()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--history", "zz yy"), "--history: no known item in 'zz', 'yy'; expected ids of items that the model"),
        (("--history", "i1,i2"), "no known item in 'i1,i2'; ids are separated by blanks, is ',' meant to"),
        (("--history", "i1", "--histories", "users.csv"), "expected either --history or --histories"),
        ((), "expected either --history or --histories"),
        (("--histories", "users.csv"), "expected --histories with --out .*, or with --user"),
        (("--histories", "users.csv", "--user", "7", "--out", "x.csv"), "with --out .*, or with --user"),
        (("--history", "i1", "--user", "7"), "--user: expected only with --histories"),
        (("--history", "i1", "--separator", ";"), "--separator: expected only with --histories"),
        (("--history", "i1", "--titles"), "--titles: expected only with --out"),
        (("--histories", "users.csv", "--user", "7", "--overwrite"), "--overwrite: expected only with --out"),
        (
            ("--histories", "users.csv", "--out", "x.csv", "--format", "jsonl"),
            "format: expected that of the name x.csv",
        ),
        (("--histories", "users.csv", "--out", "x", "--shard", "a/b"), "--shard: expected i/n"),
    ],
)
def test_a_mistake_names_the_flag(call, users, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(*arguments)
    assert [path.name for path in users.parent.iterdir()] == ["users.csv"]


def test_the_folder_of_a_run_is_told_from_its_model(call, folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"no model here .*; there is one in {folder}$"):
        call("--history", "i1", model=folder.parent)
    with pytest.raises(FileNotFoundError, match=r"as the command retrain writes\)$"):
        call("--history", "i1", model=tmp_path)


def test_night_after_night_to_the_same_file(call, users):
    arguments = ("--histories", users, "--out", "recs.csv", "--k", "2")
    unknown = pytest.warns(UserWarning, match="skipped 1 events of unknown items")
    with unknown, pytest.warns(UserWarning, match="1 users without a known item: left without"):
        assert "4 users in" in call(*arguments)
    assert call(*arguments) == "already there, of the same input, model and request: recs.csv\n"
    users.write_text(users.read_text() + "4,i4,1\n")
    with pytest.raises(ValueError, match="recs.csv: holds results of another input: --overwrite replaces them"):
        call(*arguments)
    with pytest.warns(UserWarning, match="skipped 1"), pytest.warns(UserWarning, match="1 users without a known item"):
        assert "5 users in" in call(*arguments, "--overwrite")
    assert {row.split(",")[0] for row in Path("recs.csv").read_text().splitlines()[1:]} == {"42", "7", "long", "4"}
