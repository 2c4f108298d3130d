"""Every bad file is named by file, line and column."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

from easrec_jax.data.read import read_interactions

INTER = "user_id:token\titem_id:token\ttimestamp:float\n"


BAD_TEXT = [
    ("x.txt", "", {}, "x.txt: the file is empty"),
    ("x.txt", "\n \n", {}, "x.txt: the file is empty"),
    ("x.txt", "u a\n\nu\n", {}, "x.txt, line 3: expected 2 columns (user, item), got 1 column"),
    ("x.txt", "u a\nu a 5\n", {}, "x.txt, line 2: expected 2 columns (user, item), got 3 columns"),
    ("x.txt", "u a\nu b\n", {"time_column": "t"}, "x.txt: there is no time column 't'; the file has the columns"),
    ("x.inter", "user_id\titem_id\nu\ta\n", {}, "x.inter, line 1: expected header fields like user_id:token, got"),
    ("x.inter", "user_id:int\titem_id:token\nu\ta\n", {}, "x.inter, line 1: expected header fields like user_id:token"),
    ("x.inter", "user_id:token\titem_id:float\nu\t1\n", {}, "x.inter, line 1, column 'item_id': expected type token"),
    ("x.inter", INTER, {}, "x.inter: there is a header but no row"),
    (
        "x.inter",
        INTER + "u\ta\t1\nu\tb\n",
        {},
        "x.inter, line 3: expected 3 columns (user_id, item_id, timestamp), got",
    ),
    ("x.inter", INTER + "u\ta\t1\n\t\t\n", {}, "x.inter, line 3, column 'user_id': expected an id, got ''"),
    ("x.inter", INTER + "u\ta\t1\n\nu\t \t1\n", {}, "x.inter, line 4, column 'item_id': expected an id, got ''"),
    ("x.inter", INTER + "u\ta\t1\nu\tb\tsoon\n", {}, "x.inter, line 3, column 'timestamp': expected a finite number"),
    ("x.inter", INTER + "u\ta\tnan\n", {}, "x.inter, line 2, column 'timestamp': expected a finite number"),
    ("x.inter", INTER + "u\ta\t1\nu\tb\t-inf\n", {}, "x.inter, line 3, column 'timestamp': expected a finite number"),
    ("x.inter", INTER + "u\ta\t\n", {}, "x.inter, line 2, column 'timestamp': expected a finite number"),
    ("x.csv", "user,item,time\nu,a,2010-01-01\nu,b,5\n", {}, "x.csv, line 3, column 'time': expected a finite"),
    (
        "x.csv",
        "1,2\n1,3\n",
        {},
        "x.csv: no user column, expected one of user_id, user, uid, customer_id, customer, visitor_id, ...; the file",
    ),
    (
        "x.csv",
        "user,thing\nu,a\n",
        {},
        "x.csv: no item column, expected one of item_id, item, iid, movie_id, product_id, parent_asin, ...; the",
    ),
    ("x.csv", "user,item\nu,a\n", {"user_column": "who"}, "x.csv: there is no user column 'who'; the file has the"),
    ("x.csv", "user,item\nu,a\n", {"item_column": "user"}, "x.csv: user, item and time need different columns"),
    ("x.csv", "user,item,user\nu,a,v\n", {}, "x.csv, line 1: the column 'user' is there twice"),
    ("x.csv", "user,item,x\nu,a,\nu,b\n", {}, "x.csv, line 3: expected 3 columns (user, item, x), got 2"),
    ("x.csv", "user,item\nu,a\nu,b,c\n", {}, "x.csv, line 3: expected 2 columns (user, item), got 3"),
    ("x.csv", 'user,item\n"u",a\n\nu\n', {}, "x.csv, line 4: expected 2 columns (user, item), got 1"),
    ("x.csv", 'user,item\n"u\nv",a\nu,""\n', {}, "x.csv, line 4, column 'item': expected an id, got ''"),
    ("x.csv", 'user,item\n"u\nv",a\nu," "\n', {}, "x.csv, line 4, column 'item': expected an id, got ''"),
    ("x.csv", 'user,item\n"u",a\n"u,b\n', {}, "x.csv, line 3: wrong quoting"),
    ("x.csv", 'user,item\n"u"v,b\n', {}, "x.csv, line 2: wrong quoting"),
    ("x.csv", '"user",item\n', {}, "x.csv: there is a header but no row"),
    ("x.dat", "u::a::3::1\nu::b::3\n", {}, "x.dat, line 2: expected 4 columns (user, item, rating, timestamp), got 3"),
    ("x.dat", "u::a::3::1\nu::b::3::x\n", {}, "x.dat, line 2, column 'timestamp': expected a finite number"),
    ("x.bin", "u a\n", {}, "x.bin: cannot tell the format from '.bin', name one of atomic"),
    ("x.csv", "user,item\nu,a\n", {"format": "json"}, "x.csv: unknown format 'json', expected auto or one of atomic"),
    ("x.csv", "user,item\nu,a\n", {"duplicates": "last"}, "duplicates: expected one of keep, drop, got 'last'"),
    ("x.csv", "user,item\nu,a\n", {"min_history": 0}, "min_history: expected 1 or more, got 0"),
    ("x.csv", "user,item\nu,a\n", {"k_core": -1}, "k_core: expected 0 or more, got -1"),
    ("x.parquet", "user,item\nu,a\n", {}, "x.parquet: not a readable parquet file"),
]


@pytest.mark.parametrize(("name", "text", "options", "message"), BAD_TEXT)
def test_bad_text_is_named(tmp_path, name, text, options, message):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ValueError, match=re.escape(message)):
        read_interactions(tmp_path / name, **options)


def test_missing_file_directory_and_bytes(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.csv: no such file"):
        read_interactions(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match="the folder has no file with data"):
        read_interactions(tmp_path)
    for name in ("x.txt", "x.csv"):
        (tmp_path / name).write_bytes(b'user,item\n"u",a\nu,\xe9\n')
        with pytest.raises(ValueError, match=f"{name}, line 3: expected UTF-8, got the byte 0xe9"):
            read_interactions(tmp_path / name)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"user": [1.0, 2.5], "item": [1, 2]},
            "x.parquet, row 2, column 'user': expected an id, text or a whole number, got 2.5",
        ),
        (
            {"user": [1.0, np.nan], "item": [1, 2]},
            "x.parquet, row 2, column 'user': the id is missing (nan); missing_ids=drop leaves",
        ),
        ({"user": [1, 2], "item": [True, False]}, "column 'item': expected ids of integers or strings, got Boolean"),
        ({"user": [1, 2], "item": [[1], [2]]}, "column 'item': expected ids of integers or strings, got List(Int64)"),
        ({"user": [1, 2], "item": ["a", None]}, "x.parquet, row 2, column 'item': the id is missing (null)"),
        ({"user": [1, 2], "item": ["a", ""]}, "x.parquet, row 2, column 'item': expected an id, got ''"),
        ({"user": [1, 2], "thing": [1, 2]}, "x.parquet: no item column"),
        ({"user": [1, 2], "item": [1, 2], "time": [1, None]}, "x.parquet, row 2, column 'time': expected a finite"),
        ({"user": [1, 2], "item": [1, 2], "time": [1.0, np.nan]}, "x.parquet, row 2, column 'time': expected a finite"),
        ({"user": [1, 2], "item": [1, 2], "time": [True, False]}, "column 'time': expected numbers or date-times, got"),
        ({"user": [], "item": []}, "x.parquet: the file has no row"),
    ],
)
def test_bad_parquet_is_named(tmp_path, columns, message):
    pl.DataFrame(columns).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=re.escape(message)):
        read_interactions(tmp_path / "x.parquet")


def test_a_damaged_parquet_is_an_error_wherever_it_is_cut(tmp_path):
    path = tmp_path / "x.parquet"
    pl.DataFrame({"user": ["u"] * 200, "item": range(200), "time": range(200)}).write_parquet(path)
    whole = path.read_bytes()
    for size in (1, 4, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="x.parquet: not a readable parquet file"):
            read_interactions(path)
