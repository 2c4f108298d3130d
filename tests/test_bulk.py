"""Recommendations file to file: the answers of `recommend`, in every form, whole after any interruption, in any shares."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.data.histories import open_source, read_part, write_parts
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.read import read_interactions
from easrec_jax.data.reading import Reading
from easrec_jax.models.network import Network
from easrec_jax.serving import part_answers
from easrec_jax.serving.answer_table import answer_table
from easrec_jax.serving.artifact import Model
from easrec_jax.serving.batch import recommend_file
from easrec_jax.serving.part_answers import Request
from easrec_jax.serving.recommend import Recommender

IDS = ("a\nb", 'q"uote', "<b>,", "ü", *(f"i{k}" for k in range(26)), "7")


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    architecture = Architecture(
        width=8, inner=8, depth=1, heads=2, max_length=6, attention="recent_linrec", gate_layers=0, conv_width=2
    )
    weights = Network(architecture, len(IDS)).init(jax.random.key(5))
    popularity = np.concatenate([[0], np.arange(len(IDS), 0, -1)])
    return Recommender(Model(architecture, weights, IdMap(IDS), popularity, {}, fingerprint="x"))


def make_histories(users: int = 30) -> dict[str, list[str]]:
    rng = np.random.default_rng(1)
    return {f"u,{k}": [IDS[i] for i in rng.integers(0, len(IDS), rng.integers(1, 12))] for k in range(users)}


def interactions(histories: dict[str, list[str]]) -> pl.DataFrame:
    """One row an interaction, the users mixed, with times that have ties."""
    rows = [(user, item, time // 2) for user, items in histories.items() for time, item in enumerate(items)]
    frame = pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row")
    return frame.sample(fraction=1, shuffle=True, seed=3)


def in_time(frame: pl.DataFrame) -> dict[str, list[str]]:
    """The histories that training reads: by time, ties by a fixed hash."""
    with warnings.catch_warnings(action="ignore"):  # most events are tied
        data = read_interactions(frame, min_history=1)
    return dict(zip(data.user_ids.raw, data.histories_of(data.user_ids.raw), strict=True))


def write(frame: pl.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        lists = [n for n, kind in frame.schema.items() if isinstance(kind, pl.List)]
        for name in lists:
            frame = frame.with_columns(pl.Series(name, [json.dumps(x.to_list()) for x in frame[name]]))
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    return path


def answers(path: Path) -> dict[str, list[tuple[str, float]]]:
    """What is in an output file, by user."""
    if path.suffix in (".csv", ".tsv"):
        frame = pl.read_csv(path, separator="\t" if path.suffix == ".tsv" else ",", infer_schema=False)
        found: dict[str, list[tuple[str, float]]] = {}
        for user, rank, item, score in frame.iter_rows():
            found.setdefault(user, []).append((item, float(score)))
            assert int(rank) == len(found[user])
        return found
    frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path)
    assert frame["user"].is_unique().all()
    return {
        str(u): list(zip(i, s, strict=True))
        for u, i, s in zip(frame["user"], frame["items"], frame["scores"], strict=True)
    }


def same(got: dict, want: dict) -> None:
    assert set(got) == set(want)
    for user, expected in want.items():
        assert [i for i, _ in got[user]] == [i for i, _ in expected]
        np.testing.assert_allclose([s for _, s in got[user]], [s for _, s in expected], rtol=1e-5)


def expected(recommender: Recommender, histories: dict[str, list[str]], k: int = 4, **options: Any) -> dict:
    return dict(zip(histories, recommender.recommend(list(histories.values()), k, **options), strict=True))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl"])
@pytest.mark.parametrize("form", ["users", "interactions"])
def test_every_form_gives_the_answers_of_recommend(recommender, tmp_path, monkeypatch, suffix, form):
    monkeypatch.setattr(part_answers, "USERS_PER_CALL", 7)
    histories = make_histories()
    if form == "users":
        frame = pl.DataFrame({"user": list(histories), "history": list(histories.values())})
    else:
        frame = interactions(histories)
        histories = in_time(frame)
    out = tmp_path / f"recs.{suffix}"
    done = recommend_file(recommender, write(frame, tmp_path / f"x.{suffix}"), out, Request(k=4, part_events=40))
    assert done.parts >= 4 and done.users == 30 and done.unknown_events == 0
    same(answers(out), expected(recommender, histories))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"x.{suffix}", out.name, f".{out.name}.json"])
    if form == "users":
        assert list(answers(out)) == list(histories)  # in the order of the file


def test_shards_make_the_whole_and_need_not_know_each_other(recommender, tmp_path, monkeypatch):
    histories = make_histories(50)
    path = write(interactions(histories), tmp_path / "x.parquet")
    whole, shares = tmp_path / "whole.parquet", tmp_path / "shares"
    recommend_file(recommender, path, whole, Request(k=3, part_events=30))
    users = [
        recommend_file(recommender, path, shares, Request(k=3, part_events=30), shard=(i, 3)).users for i in (3, 1, 2)
    ]
    assert sum(users) == 50 and min(users) > 0
    parts = sorted(shares.glob("part-*.parquet"))
    assert len(parts) % 3 == 0 and parts[0].name == f"part-00000-of-{len(parts):05d}.parquet"
    found = {user: row for part in parts for user, row in answers(part).items()}
    same(found, answers(whole))
    assert sum(len(pl.read_parquet(part)) for part in parts) == 50
    with pytest.raises(ValueError, match=r"shares: holds results of another parts .*, shards \(3 there, 2 here\)"):
        recommend_file(recommender, path, shares, Request(k=3), shard=(1, 2))
    with pytest.raises(ValueError, match="a shard writes parts"):
        recommend_file(recommender, path, tmp_path / "x.csv", Request(k=3), shard=(1, 2))


def test_a_stopped_run_goes_on_and_does_no_part_twice(recommender, tmp_path, monkeypatch):
    path = write(
        pl.DataFrame({"user": list(make_histories()), "history": list(make_histories().values())}), tmp_path / "x.jsonl"
    )
    out, calls = tmp_path / "recs.jsonl", []
    answer = part_answers.answer_part

    def counted(*args):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return answer(*args)

    monkeypatch.setattr(part_answers, "answer_part", counted)
    with pytest.raises(KeyboardInterrupt):
        recommend_file(recommender, path, out, Request(k=4, part_events=40))
    parts = out.with_name("recs.jsonl.parts")
    assert not out.exists() and len(list(parts.glob("part-*"))) == 2
    left = parts / f".{next(parts.glob('part-*')).name}.999999999.tmp"
    left.write_text("half")
    first = {p.name: p.stat().st_mtime_ns for p in parts.glob("part-*")}
    calls.append(1)
    total = recommend_file(recommender, path, out, Request(k=4, part_events=40)).parts
    assert len(calls) - 1 == total and len(first) == 2
    same(answers(out), expected(recommender, make_histories()))
    assert not parts.exists()
    calls.clear()
    again = recommend_file(recommender, path, out, Request(k=4, part_events=40))
    assert again.users == 0 and not calls  # finished: nothing to do
    before = out.read_bytes()
    with pytest.raises(
        ValueError,
        match=r"recs.jsonl: holds results of another request \(k: 4 there, 5 here\): --overwrite replaces them",
    ):
        recommend_file(recommender, path, out, Request(k=5, part_events=40))
    os.utime(path, (1, 1))
    with pytest.raises(ValueError, match="holds results of another input"):
        recommend_file(recommender, path, out, Request(k=4, part_events=40))
    assert out.read_bytes() == before


def test_unknown_items_and_users_without_any(recommender, tmp_path):
    rows = {"a": ["i1", "zzz", "i2"], "b": ["zzz"], "c": [], "d": None}
    path = tmp_path / "x.parquet"
    pl.DataFrame({"user": list(rows), "history": list(rows.values())}).write_parquet(path)
    done = recommend_file(recommender, path, tmp_path / "skip.parquet", Request(k=3))
    assert (done.users, done.without_items, done.unknown_events) == (4, 3, 2)
    got = answers(tmp_path / "skip.parquet")
    same({"a": got.pop("a")}, expected(recommender, {"a": ["i1", "i2"]}, 3))
    assert got == {"b": [], "c": [], "d": []}
    recommend_file(recommender, path, tmp_path / "popular.parquet", Request(k=3, on_unknown="popular"))
    assert [i for i, _ in answers(tmp_path / "popular.parquet")["c"]] == list(IDS[:3])
    with pytest.raises(ValueError, match=r"x.parquet: user 'a': unknown item 'zzz'"):
        recommend_file(recommender, path, tmp_path / "error.parquet", Request(k=3, on_unknown="error"))
    recommend_file(recommender, path, tmp_path / "seen.jsonl", Request(k=31, exclude_seen=False))
    assert len(answers(tmp_path / "seen.jsonl")["a"]) == 31


def test_ids_of_any_kind_and_texts_of_blanks(recommender, tmp_path):
    (tmp_path / "x.csv").write_text('who,history\n1,i1  i2\n\n2,"[""a\\nb"", 7]"\n3,\n')
    request = Request(k=2, reading=Reading(user_column="who"))
    recommend_file(recommender, tmp_path / "x.csv", tmp_path / "a.jsonl", request)
    same(
        {k: v for k, v in answers(tmp_path / "a.jsonl").items() if v},
        expected(recommender, {"1": ["i1", "i2"], "2": ["a\nb", "7"]}, 2),
    )
    pl.DataFrame({"uid": [9, 9, 8], "item_id": [7, 7, 7]}).write_parquet(tmp_path / "x.parquet")
    recommend_file(recommender, tmp_path / "x.parquet", tmp_path / "b.parquet", Request(k=2))
    assert pl.read_parquet(tmp_path / "b.parquet")["user"].dtype == pl.Int64
    same(answers(tmp_path / "b.parquet"), expected(recommender, {"8": ["7"], "9": ["7", "7"]}, 2))


def test_a_folder_of_files_is_one_input(recommender, tmp_path):
    histories = make_histories()
    frame = interactions(histories)
    (tmp_path / "in").mkdir()
    frame[:70].write_parquet(tmp_path / "in" / "part-0.parquet")
    frame[70:].write_parquet(tmp_path / "in" / "part-1.parquet")
    (tmp_path / "in" / "_SUCCESS").write_text("")
    frame.write_parquet(tmp_path / "x.parquet")
    for name in ("in", "x.parquet"):
        recommend_file(recommender, tmp_path / name, tmp_path / f"{name}.csv", Request(k=2))
    assert (tmp_path / "in.csv").read_bytes() == (tmp_path / "x.parquet.csv").read_bytes()


BAD = [
    ("x.csv", "user,item\nu,a\nu,b,c\n", "x.csv, line 3: expected 2 columns (user, item), got 3 columns"),
    ("x.csv", "user,item\nu,a\nu\n", "x.csv, row 2: expected a user id and an item id, got none"),
    ("x.csv", "user,item\nu,a\n,b\n", "x.csv, row 2: expected a user id and an item id, got none"),
    ("x.csv", 'user,item\nu,a\nu,"b\n', "x.csv, line 3: wrong quoting"),
    ("x.csv", "user,item,time\nu,a,1\nu,b,soon\n", "x.csv, row 2, column 'time': expected a finite number"),
    ("x.csv", "user,item,time\nu,a,1\nu,b,nan\n", "x.csv, row 2, column 'time': expected a finite number"),
    ("x.csv", "user,thing\nu,a\n", "x.csv: no item column"),
    ("x.csv", "user,item\n", "x.csv: the file has no row"),
    ("x.csv", "", "x.csv: the file is empty"),
    ("x.csv", 'user,history\nu,"[1, 2"\n', "x.csv: cannot be read"),
    ("x.bin", "u a\n", "x.bin: cannot tell the format from '.bin'"),
    ("x.jsonl", '{"user": 1, "history": [1]}\n{"user": 2, "history": [1}\n', "x.jsonl, line 2: not valid JSON"),
    ("x.jsonl", '{"user": 1, "history": [1]}\n[1]\n', "x.jsonl, line 2: expected a JSON object, got list"),
    ("x.jsonl", '{"user": 1, "history": [1]}\n{"user": 1, "history": {"a": 1}}\n', "x.jsonl, line 2, key 'history'"),
    ("x.jsonl", "\n\n", "x.jsonl: the file is empty"),
    ("x.parquet", "PAR1 but not really", "x.parquet: not a readable parquet file"),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD)
def test_bad_input_is_named_and_nothing_is_left(recommender, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        recommend_file(recommender, tmp_path / name, tmp_path / "recs.parquet", Request(k=2))
    assert not (tmp_path / "recs.parquet").exists()


def test_a_part_holds_each_of_its_users_whole(tmp_path):
    frame = interactions(make_histories(40))
    source = open_source(write(frame, tmp_path / "x.parquet"))
    assert source.events == len(frame) and not source.by_user and abs(source.users - 40) <= 2
    write_parts(source, tmp_path / "spill", range(5), 5)
    seen = {}
    for number in range(5):
        users, items, ends, _ = read_part(source, tmp_path / "spill", number)
        for position, user in enumerate(users):
            assert user not in seen
            seen[user] = items[int(ends[position]) : int(ends[position + 1])].to_list()
    assert seen == in_time(frame)


def test_another_folder_is_left_alone(recommender, tmp_path):
    (tmp_path / "x.csv").write_text("user,item\nu,i1\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="mine: holds something else than recommendations"):
        recommend_file(recommender, tmp_path / "x.csv", tmp_path / "mine", Request(k=2))
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    with pytest.raises(ValueError, match="recs.json: expected a name that ends in one of .parquet"):
        recommend_file(recommender, tmp_path / "x.csv", tmp_path / "recs.json", Request(k=2))
    (tmp_path / "v1.2").mkdir()
    assert recommend_file(recommender, tmp_path / "x.csv", tmp_path / "v1.2", Request(k=2)).users == 1


class Arrow:
    """A table by Arrow's stream alone, as pyarrow's are."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.__arrow_c_stream__ = frame.__arrow_c_stream__


@pytest.mark.parametrize("request_", [Request(k=4), Request(k=3, exclude_seen=False, on_unknown="popular")])
def test_blocks_of_a_table_are_answered_as_the_whole_file(recommender, tmp_path, request_):
    """In any blocks, so that an engine may cut the users as it likes."""
    histories = make_histories() | {"nobody": [], "stranger": ["zzz"], "guest": ["zzz", "i3"]}
    frame = pl.DataFrame({"user": list(histories), "history": list(histories.values())})
    recommend_file(recommender, write(frame, tmp_path / "users.parquet"), tmp_path / "out.parquet", request_)
    whole = pl.read_parquet(tmp_path / "out.parquet").sort("user")
    assert answer_table(recommender, frame, request_).sort("user").equals(whole)
    blocks = [answer_table(recommender, block, request_) for block in frame.iter_slices(7)]
    assert pl.concat(blocks)["user"].equals(frame["user"])
    cut = pl.concat(blocks).sort("user")
    assert cut["items"].equals(whole["items"])
    np.testing.assert_allclose(
        cut["scores"].explode(), whole["scores"].explode(), rtol=1e-5
    )  # other shapes round otherwise
    assert answer_table(recommender, Arrow(frame), request_).sort("user").equals(whole)
    blanks = frame.filter(pl.col("user") == "guest").with_columns(history=pl.lit("zzz i3"))
    assert answer_table(recommender, blanks, request_)["items"].equals(whole.filter(pl.col("user") == "guest")["items"])
    assert answer_table(recommender, frame.clear(), request_).is_empty()


def test_a_table_that_holds_no_histories_is_named(recommender):
    def refused(match: str, request: Request | None = None, **columns: Any) -> None:
        with pytest.raises(ValueError, match=match):
            answer_table(recommender, pl.DataFrame(columns), request)

    refused("columns user and history, got .*'item'", user=["a"], item=["i1"])
    refused("'user': expected an id in each row", user=["a", None], history=[["i1"], ["i2"]])
    refused("'history': expected lists", user=["a"], history=[1.5])
    refused("'history': expected whole numbers", user=["a"], history=[[1.5]])
    refused("user 'a': unknown item 'zzz'", Request(on_unknown="error"), user=["a"], history=[["zzz"]])
    refused("k: expected", Request(k=0), user=["a"], history=[["i1"]])
