"""Readers: every format gives the same histories, whatever the ids; what is filtered, dropped and noted."""

from __future__ import annotations

import csv
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import decoded

from easrec_jax.data.read import read_interactions

WORD = st.text("ab01é漢😀'\"-.#", min_size=1, max_size=4)
PHRASE = st.text("ab0 ,;\"'é漢\u2028\x0b|.", min_size=1, max_size=5).filter(lambda text: text.strip() != "")
NUMBER = st.one_of(st.integers(0, 5), st.integers(0, 10**12)).map(str)


def rows_of(identifier: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str, int]]]:
    """Tables with few distinct ids and many ties in time."""
    time = st.one_of(st.integers(0, 3), st.integers(-(2**62), 2**62))
    ids = st.tuples(st.lists(identifier, min_size=1, max_size=4), st.lists(identifier, min_size=1, max_size=6))
    rows = ids.map(lambda pool: st.tuples(st.sampled_from(pool[0]), st.sampled_from(pool[1]), time))
    return rows.flatmap(lambda row: st.lists(row, min_size=1, max_size=25))


def write(folder: Path, format: str, rows: list[tuple[str, str, int]]) -> Path:
    """The rows as a file of that format (pairs: without the times)."""
    path = folder / {"atomic": "x.inter", "movielens": "x.dat", "pairs": "x.txt"}.get(format, f"x.{format}")
    if format == "parquet":
        frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
        frame.write_parquet(path)
    elif format in ("csv", "tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="," if format == "csv" else "\t")
            writer.writerows([("user_id", "item_id", "timestamp"), *rows])
    else:
        template = {"atomic": "{}\t{}\t3.0\t{}", "movielens": "{}::{}::4::{}", "pairs": "{} {}"}[format]
        header = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"] if format == "atomic" else []
        lines = header + [template.format(*row) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


def histories(rows: list[tuple[str, str, int]], timed: bool = True) -> dict[str, list[str]]:
    """The oracle: a dict of histories, users in the order of their ids, stable in time."""
    numbers = all(re.fullmatch(r"[+-]?[0-9]+", user) for user, _, _ in rows)
    key = (lambda user: (int(user), user)) if numbers else (lambda user: user)
    result: dict[str, list[str]] = {}
    for user, item, _ in sorted(rows, key=lambda row: (key(row[0]), row[2] if timed else 0)):
        result.setdefault(user, []).append(item)
    return result


def as_text(format: str, ids: list[str]) -> list[str]:
    """A column of ids as it is read: white space around fields is none of them, whole numbers have no ".0"."""
    if format != "parquet":
        ids = [one.strip() for one in ids]
    return [re.sub(r"\.0+$", "", one) for one in ids] if all(re.fullmatch(r"-?[0-9]+(\.0+)?", i) for i in ids) else ids


def check(format: str, rows: list[tuple[str, str, int]]) -> None:
    """What is read is what the oracle says, in contents and in the order of users and items."""
    with tempfile.TemporaryDirectory() as folder:
        data = read_interactions(write(Path(folder), format, rows), min_history=1, equal_times="file")
    users, items, times = zip(*rows, strict=True)
    rows = list(zip(as_text(format, list(users)), as_text(format, list(items)), times, strict=True))
    expected = histories(rows, timed=format != "pairs")
    assert decoded(data) == expected
    assert list(data.user_ids.raw) == list(expected)
    assert list(data.item_ids.raw) == list(dict.fromkeys(item for history in expected.values() for item in history))
    assert data.items.dtype == np.int32 and data.offsets.dtype == np.int64
    assert data.offsets[0] == 0 and data.items.min() == 1 and data.items.max() == data.num_items


@pytest.mark.parametrize("format", ["atomic", "pairs", "csv", "tsv", "parquet", "movielens"])
@given(rows=rows_of(st.one_of(WORD, NUMBER)))
@settings(max_examples=40, deadline=None)
def test_every_format_reads_to_the_same_histories(format, rows):
    check(format, rows)


@pytest.mark.parametrize("format", ["atomic", "csv", "tsv", "parquet", "movielens"])
@given(rows=rows_of(PHRASE))
@settings(max_examples=40, deadline=None)
def test_ids_with_spaces_quotes_and_separators(format, rows):
    check(format, rows)


@given(
    rows=rows_of(NUMBER), k=st.sampled_from([0, 1, 2, 3]), shortest=st.sampled_from([1, 1, 2, 3]), drop=st.booleans()
)
@settings(max_examples=80, deadline=None)
def test_filters_against_a_plain_loop(rows, k, shortest, drop):
    expected = histories(rows)
    if drop:
        expected = {user: list(dict.fromkeys(items)) for user, items in expected.items()}
    while k > 1:
        counts = {item: sum(items.count(item) for items in expected.values()) for item in {row[1] for row in rows}}
        left = {user: [i for i in items if counts[i] >= k] for user, items in expected.items() if len(items) >= k}
        if left == expected:
            break
        expected = left
    expected = {user: items for user, items in expected.items() if len(items) >= shortest}
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "csv", rows)
        options: dict[str, Any] = {
            "equal_times": "file",
            "k_core": k,
            "min_history": shortest,
            "duplicates": "drop" if drop else "keep",
        }
        if not expected:
            with pytest.raises(ValueError, match="x.csv: (k_core=|every history is shorter than)"):
                read_interactions(path, **options)
            return
        data = read_interactions(path, **options)
    assert decoded(data) == expected
    assert data.dropped_users == len({row[0] for row in rows}) - len(expected)
    assert set(data.item_ids.raw) == {item for items in expected.values() for item in items}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.txt", "\ufeffu a\r\n\r\nu\t b \r\n  \n u  c"),
        ("x.csv", "\ufeffuser,item\r\n\r\nu,a\r\nu,b\r\n \r\nu,c"),
        ("x.csv", '\n"user",item\n\n"u",a\n\nu,"b"\nu,c\n\n'),
        ("x.inter", "user_id:token\titem_id:token\n\nu\ta\nu\tb\n\nu\tc\n\n"),
        ("x.anything", "u::a::1::1\nu::b::1::2\nu::c::1::3\n"),
        ("x", "user_id:token\titem_id:token\nu\ta\nu\tb\nu\tc\n"),
        ("x.tsv", 'user\titem\ttitle\nu\ta\t\nu\tb\t5" disk\nu\tc\t\n'),
    ],
)
@pytest.mark.filterwarnings("ignore:.*x.tsv. no time column is known among .title.")
def test_line_ends_blank_lines_marks_and_detection(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert decoded(read_interactions(tmp_path / name)) == {"u": ["a", "b", "c"]}


def test_the_earliest_of_duplicates_is_kept(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("user,item,time\nu,a,9\nu,b,8\nu,c,1\nv,a,1\nv,a,2\nu,b,0\nu,a,7\n")
    assert decoded(read_interactions(path, min_history=2)) == {"u": ["b", "c", "a", "b", "a"], "v": ["a", "a"]}
    assert decoded(read_interactions(path, min_history=1, duplicates="drop")) == {"u": ["b", "c", "a"], "v": ["a"]}


def test_short_histories_are_dropped_and_counted(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("one a\nu b\nu c\nu d\ntwo e\ntwo b\n")
    data = read_interactions(path)
    assert data.dropped_users == 2 and data.item_ids.raw == ("b", "c", "d") and data.history(0).tolist() == [1, 2, 3]
    lengths = {"min_length": 3, "median_length": 3.0, "mean_length": 3.0, "max_length": 3}
    assert data.counts() == {"users": 1, "items": 3, "interactions": 3, "dropped_users": 2} | lengths
    assert read_interactions(path, min_history=1).lengths.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"x.txt: every history is shorter than 4: the longest of 3 users has 3"):
        read_interactions(path, min_history=4)
    with pytest.raises(ValueError, match=r"x.txt: k_core=2 leaves nothing of 6 interactions of 3 users and 5 items"):
        read_interactions(path, k_core=2)
    with pytest.raises(ValueError, match="read-only"):
        data.history(0)[0] = 2


def test_what_is_dropped_is_noted():
    rows = [("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("b", "z"), ("c", "x"), ("c", "w")]
    assert read_interactions(rows, min_history=1).notes == ()
    assert read_interactions(rows).notes == ("1 users with fewer than 3 events dropped, 2 events in all",)
    assert read_interactions(rows, min_history=2, duplicates="drop", k_core=2).notes == (
        "1 repeated interactions dropped (duplicates=drop)",
        "3 interactions, 1 users, 2 items dropped (k_core=2)",
    )
