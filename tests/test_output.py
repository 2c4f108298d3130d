"""An output of recommendations is one run's: gone on with, never mixed, replaced only when asked."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from nights import IDS, TITLES, make, names, stop_after, write_users

from easrec_jax.serving.batch import recommend_file
from easrec_jax.serving.part_answers import Request
from easrec_jax.serving.recommend import Recommender


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return make()


@pytest.fixture
def users(tmp_path) -> Path:
    return write_users(tmp_path / "users.csv", 0)


def test_the_next_night_replaces_the_file_when_asked_and_only_by_a_whole_one(recommender, users, tmp_path, monkeypatch):
    out, options = tmp_path / "recs.parquet", {"request": Request(k=3, part_events=40)}
    first = recommend_file(recommender, users, out, **options)
    assert first.written == first.parts > 3
    old = out.read_bytes()
    write_users(users, 1)
    with pytest.raises(ValueError, match="recs.parquet: holds results of another input: --overwrite replaces them"):
        recommend_file(recommender, users, out, **options)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            recommend_file(recommender, users, out, **options, overwrite=True)
    assert out.read_bytes() == old
    again = recommend_file(recommender, users, out, **options, overwrite=True)
    assert again.written == again.parts - 2  # goes on
    assert recommend_file(recommender, users, out, **options, overwrite=True).written == 0  # there already
    fresh = tmp_path / "fresh.parquet"
    recommend_file(recommender, users, fresh, **options)
    assert out.read_bytes() == fresh.read_bytes() != old
    assert names(tmp_path) == [
        ".fresh.parquet.json",
        ".recs.parquet.json",
        "fresh.parquet",
        "recs.parquet",
        "users.csv",
    ]


def test_parts_of_a_night_that_never_ended_are_not_mixed_with_the_next(recommender, users, tmp_path, monkeypatch):
    out, options = tmp_path / "recs.jsonl", {"request": Request(k=3, part_events=40)}
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            recommend_file(recommender, users, out, **options)
    write_users(users, 1)
    with pytest.raises(ValueError, match="recs.jsonl.parts: holds results of another input: --overwrite"):
        recommend_file(recommender, users, out, **options)
    done = recommend_file(recommender, users, out, **options, overwrite=True)
    assert done.written == done.parts and done.users == 30
    recommend_file(recommender, users, tmp_path / "fresh.jsonl", **options)
    assert out.read_bytes() == (tmp_path / "fresh.jsonl").read_bytes()


OTHERS = {
    "weights": lambda: make(6),
    "ids": lambda: make(ids=(*IDS[:-2], IDS[-1], IDS[-2])),
    "titles": lambda: make(titles=TITLES),
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("name", ["recs.csv", "recs"])
def test_answers_of_another_model_are_not_taken_for_done(recommender, users, tmp_path, monkeypatch, what, name):
    """Finished or half done, in a file or a folder; though input and request are the same."""
    out, options = tmp_path / name, {"request": Request(k=3, part_events=40)}
    other = OTHERS[what]()
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            recommend_file(recommender, users, out, **options)
    with pytest.raises(ValueError, match="holds results of another model: --overwrite"):
        recommend_file(other, users, out, **options)
    recommend_file(recommender, users, out, **options)
    with pytest.raises(ValueError, match="holds results of another model: --overwrite"):
        recommend_file(other, users, out, **options)
    assert recommend_file(make(), users, out, **options).written == 0  # the same model, loaded anew
    done = recommend_file(other, users, out, **options, overwrite=True)
    assert done.written == done.parts


def test_a_file_that_someone_else_put_there_is_not_taken_for_done(recommender, users, tmp_path):
    out = tmp_path / "recs.csv"
    recommend_file(recommender, users, out, Request(k=2))
    good = out.read_bytes()
    out.write_text("user,rank\n")
    with pytest.raises(ValueError, match="recs.csv: holds results of an unknown run: --overwrite"):
        recommend_file(recommender, users, out, Request(k=2))
    recommend_file(recommender, users, out, Request(k=2), overwrite=True)
    assert out.read_bytes() == good


def test_the_input_is_never_the_output(recommender, users, tmp_path):
    before = users.read_bytes()
    with pytest.raises(ValueError, match="users.csv: lies where the histories are read from"):
        recommend_file(recommender, users, users, Request(k=2), overwrite=True)
    (tmp_path / "days").mkdir()
    users.rename(tmp_path / "days" / "users.csv")
    for out in ("days/recs.csv", "days"):
        with pytest.raises(ValueError, match="lies where the histories are read from"):
            recommend_file(recommender, tmp_path / "days", tmp_path / out, Request(k=2), overwrite=True)
    assert (tmp_path / "days" / "users.csv").read_bytes() == before and names(tmp_path / "days") == ["users.csv"]


def test_an_input_that_changes_while_it_is_read_is_noticed(recommender, users, tmp_path, monkeypatch):
    from easrec_jax.data import histories

    write_parts = histories.write_parts

    def slow(*args):
        write_parts(*args)
        write_users(users, 1)

    monkeypatch.setattr(histories, "write_parts", slow)
    with pytest.raises(ValueError, match="users.csv: was changed while it was read"):
        recommend_file(recommender, users, tmp_path / "recs.csv", Request(k=2))
    assert names(tmp_path) == ["users.csv"]
    monkeypatch.undo()
    assert recommend_file(recommender, users, tmp_path / "recs.csv", Request(k=2)).users == 30


def test_a_mended_input_needs_no_flag(recommender, users, tmp_path):
    """What ended with an error before its first part has left nothing to be mixed up with."""
    text = users.read_text()
    users.write_text(text.replace("user,item", "user,item,time").replace("\n", ",1\n")[:-3] + ",soon\n")
    for out in ("recs.csv", "recs"):
        with pytest.raises(ValueError, match="users.csv"):
            recommend_file(recommender, users, tmp_path / out, Request(k=2))
    assert names(tmp_path) == ["users.csv"]


def test_overwriting_shards_clear_the_folder_once(recommender, users, tmp_path):
    """The first to come removes what was there, all of it, and the next ones leave alone what is new."""
    out, options = tmp_path / "recs", {"request": Request(k=2, part_events=40), "format": "csv"}
    for number in (1, 2, 3):
        recommend_file(recommender, users, out, **options, shard=(number, 3))
    write_users(users, 1, users=47)
    with pytest.raises(
        ValueError, match="recs: holds results of another input, .*shards .3 there, 2 here.: --overwrite"
    ):
        recommend_file(recommender, users, out, **options, shard=(1, 2))
    shares = [recommend_file(recommender, users, out, **options, shard=(i, 2), overwrite=True).users for i in (2, 1)]
    assert sum(shares) == 47 and min(shares) > 0
    assert names(out)[:2] == ["_shard-1-of-2.json", "_shard-2-of-2.json"]
    rows = [user for part in out.glob("part-*") for user in pl.read_csv(part)["user"].to_list()]
    assert set(rows) == {f"u{k}" for k in range(47)} and len(rows) == 94
    assert recommend_file(recommender, users, out, **options, shard=(2, 2), overwrite=True).written == 0
