"""An output of recommendations has one owner, and whatever stops that one, the next ends with the whole file."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nights import make, names, write_users

from easrec_jax.locks import locked
from easrec_jax.serving import batch, claims, part_answers
from easrec_jax.serving.batch import recommend_file
from easrec_jax.serving.claims import remove_whole
from easrec_jax.serving.part_answers import Request
from easrec_jax.serving.recommend import Recommender


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return make()


@pytest.fixture
def users(tmp_path) -> Path:
    return write_users(tmp_path / "users.csv", 0)


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
