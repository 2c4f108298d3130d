"""An output of recommendations is one run's: gone on with after anything, never mixed, replaced only when asked."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.locks import locked
from easrec_jax.models.network import Network, init_network
from easrec_jax.serving import batch, claims, part_answers
from easrec_jax.serving.artifact import Model, save_model
from easrec_jax.serving.batch import recommend_file
from easrec_jax.serving.claims import remove_whole
from easrec_jax.serving.part_answers import Request
from easrec_jax.serving.recommend import Recommender

IDS = ("=1+1", "@SUM(A1)", "\tx", "-5", *(f"i{k}" for k in range(26)))
TITLES = {"i1": "=cmd()", "i2": "Two, of three", "=1+1": "plain"}


def make(seed: int = 5, ids: tuple[str, ...] = IDS, titles: dict | None = None) -> Recommender:
    architecture = Architecture(
        width=8, inner=8, depth=1, heads=2, max_length=6, attention="recent_linrec", gate_layers=0, conv_width=2
    )
    weights = init_network(Network(architecture, len(ids)), jax.random.key(seed))
    popularity = np.concatenate([[0], np.arange(len(ids), 0, -1)])
    return Recommender(Model(architecture, weights, IdMap(ids), popularity, {}, titles or {}, fingerprint="x"))


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return make()


@pytest.fixture
def users(tmp_path) -> Path:
    return write_users(tmp_path / "users.csv", 0)


def write_users(path: Path, seed: int, users: int = 30) -> Path:
    rng = np.random.default_rng(seed)
    rows = [(f"u{user}", IDS[item]) for user in range(users) for item in rng.integers(4, len(IDS), 8)]
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(path)
    return path


def stop_after(monkeypatch, calls: int) -> None:
    """The `calls + 1`-th part is interrupted."""
    answer, done = part_answers.answer_part, []

    def counted(*args):
        done.append(1)
        if len(done) > calls:
            raise KeyboardInterrupt
        return answer(*args)

    monkeypatch.setattr(part_answers, "answer_part", counted)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


@pytest.mark.parametrize("moment", ["_shard", ".recs", "recs"])
def test_killed_between_any_two_steps_of_the_end(recommender, users, tmp_path, monkeypatch, moment):
    """A process that stops where a file is put in place: the next one ends with the right file, the first night or later."""
    out, options = tmp_path / "recs.csv", {"request": Request(k=3, part_events=90)}
    replace = os.replace

    def stopped(source, target):
        if Path(target).name.startswith(moment):
            raise KeyboardInterrupt
        replace(source, target)

    for night in range(2):
        write_users(users, night)
        before = out.read_bytes() if night else None
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", stopped)
            with pytest.raises(KeyboardInterrupt):
                recommend_file(recommender, users, out, **options, overwrite=night > 0)
        assert (out.read_bytes() if out.exists() else None) == before
        recommend_file(recommender, users, out, **options, overwrite=night > 0)
        fresh = tmp_path / f"fresh{night}.csv"
        recommend_file(recommender, users, fresh, **options)
        assert out.read_bytes() == fresh.read_bytes() != before


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


HOLDER = """
import sys, time
from pathlib import Path
from easrec_jax.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("out", "lock"), [("recs.csv", ".recs.csv.lock"), ("recs", "recs/.lock-1-of-1")])
def test_a_second_process_is_kept_out_and_a_killed_one_holds_nothing(recommender, users, tmp_path, out, lock):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / lock], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {holder.pid} on .* holds .*lock.* let it end first"):
            recommend_file(recommender, users, tmp_path / out, Request(k=2))
    finally:
        holder.kill()
        holder.communicate()
    assert recommend_file(recommender, users, tmp_path / out, Request(k=2)).users == 30
    assert not [path for path in tmp_path.rglob("*") if "lock" in path.name]


def test_an_overwriting_shard_does_not_clear_a_folder_where_the_old_run_is_at_work(recommender, users, tmp_path):
    out = tmp_path / "recs"
    recommend_file(recommender, users, out, Request(k=2), shard=(2, 2))
    before = names(out)
    with (
        locked(out / ".lock-2-of-2"),
        pytest.raises(ValueError, match=f"process {os.getpid()} on .* holds .lock-2-of-2"),
    ):
        recommend_file(recommender, users, out, Request(k=3), shard=(1, 2), overwrite=True)
    assert names(out) == before


def test_who_waits_for_a_lock_gets_it_though_the_file_is_another(tmp_path):
    code = "import sys\nfrom pathlib import Path\nfrom easrec_jax.locks import locked\n"
    code += "with locked(Path(sys.argv[1]), wait=True):\n    print('mine')"
    with locked(tmp_path / "folder" / "x"):
        waiter = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "folder" / "x"], stdout=subprocess.PIPE, text=True
        )
        time.sleep(1.0)
        assert waiter.poll() is None
    assert waiter.communicate(timeout=60)[0] == "mine\n" and names(tmp_path / "folder") == []


@pytest.mark.parametrize("moment", ["write_parts", "encode", "join"])
@pytest.mark.parametrize("name", ["recs.parquet", "recs.csv"])
def test_out_of_room_one_line_and_then_it_goes_on(recommender, users, tmp_path, monkeypatch, moment, name):
    """A file size limit stands in for the full disk."""
    from easrec_jax.data import histories

    where = {"write_parts": histories, "encode": part_answers, "join": batch}[moment]
    original = getattr(where, moment)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(*args):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        return original(*args)

    out, options = tmp_path / name, {"request": Request(k=3, part_events=90)}
    monkeypatch.setattr(where, moment, limited)
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            recommend_file(recommender, users, out, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    monkeypatch.undo()
    assert not out.exists() and (moment == "write_parts" or str(out) in str(caught.value))
    done = recommend_file(recommender, users, out, **options)
    assert (done.written == 0) == (moment == "join")
    recommend_file(recommender, users, tmp_path / f"fresh-{name}", **options)
    assert out.read_bytes() == (tmp_path / f"fresh-{name}").read_bytes()
    assert names(tmp_path) == [f".fresh-{name}.json", f".{name}.json", f"fresh-{name}", name, "users.csv"]


def test_what_is_split_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    """A process killed while it removes it leaves no half of it, which would pass for parts without users."""
    spill = tmp_path / ".input-1-of-1"
    (spill / "part=0").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(claims.shutil, "rmtree", lambda *args, **options: None)
        remove_whole(spill)
    assert not spill.exists()
    remove_whole(spill)
    assert names(tmp_path) == []


def test_titles_beside_the_items(users, tmp_path):
    recommender = make(titles=TITLES)
    request = Request(k=len(IDS), exclude_seen=False, titles=True)
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        recommend_file(recommender, users, tmp_path / name, request)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["user", "rank", "item", "title", "score"]
    assert all(row["title"] == TITLES.get(row["item"], "") for row in rows) and len(rows) == 30 * len(IDS)
    for frame in (pl.read_parquet(tmp_path / "a.parquet"), pl.read_ndjson(tmp_path / "a.jsonl")):
        assert frame.columns == ["user", "items", "titles", "scores"]
        for items, titles in zip(frame["items"], frame["titles"], strict=True):
            assert titles.to_list() == [TITLES.get(item) for item in items]
    with pytest.raises(ValueError, match="titles: the model has none"):
        recommend_file(make(), users, tmp_path / "b.csv", request)


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_cells_that_no_spreadsheet_computes(tmp_path, suffix):
    recommender = make(titles=TITLES)
    frame = pl.DataFrame({"user": ["=1+1", "a=b", "+4", "\rx"], "history": [["i1"]] * 4})
    frame.write_parquet(tmp_path / "x.parquet")
    request = Request(k=len(IDS), exclude_seen=False, titles=True)
    found = {}
    for safe in (False, True):
        out = tmp_path / f"{safe}.{suffix}"
        recommend_file(recommender, tmp_path / "x.parquet", out, replace(request, csv_safe=safe))
        with out.open(newline="") as file:
            found[safe] = list(csv.DictReader(file, delimiter="\t" if suffix == "tsv" else ","))
    for raw, safe in zip(found[False], found[True], strict=True):
        assert (raw["rank"], raw["score"]) == (safe["rank"], safe["score"])
        for name in ("user", "item", "title"):
            assert safe[name] == ("'" if raw[name][:1] in tuple("=+-@\t\r") else "") + raw[name]
    assert {row["item"] for row in found[False]} == set(IDS)  # as they are, unless asked
    with pytest.raises(ValueError, match="csv_safe: expected CSV or TSV output, got parquet"):
        recommend_file(recommender, tmp_path / "x.parquet", tmp_path / "a.parquet", Request(k=1, csv_safe=True))


NUMPY = """
import sys
import numpy as np
from easrec_jax.serving.batch import recommend_file
from easrec_jax.serving.part_answers import Request
from easrec_jax.serving.recommend import Recommender
recommender, folder = Recommender.load(sys.argv[1]), sys.argv[2]
request = Request(k=np.int64(3))
recommend_file(recommender, folder + "/users.csv", folder + "/a", request, shard=(np.int32(1), np.uint8(1)), format="csv")
"""


def test_numbers_of_numpy_are_numbers(recommender, users, tmp_path):
    """In a process without the tests' type checks."""
    model = Model(*(getattr(recommender, name) for name in ("architecture", "weights", "item_ids", "popularity")), {})
    save_model(tmp_path / "m", model, architecture=recommender.architecture.to_json(), config="{}", metrics="")
    subprocess.run([sys.executable, "-c", NUMPY, tmp_path / "m", tmp_path], check=True)
    recommend_file(recommender, users, tmp_path / "b", Request(k=3), format="csv")
    (a,), (b,) = ((tmp_path / x).glob("part-*") for x in "ab")
    assert pl.read_csv(a).drop("score").equals(pl.read_csv(b).drop("score"))
    records = [json.loads((tmp_path / x / "_shard-1-of-1.json").read_text()) for x in "ab"]
    assert records[0] == records[1] and records[0]["request"]["k"] == 3  # the same model too, saved and loaded
