"""What the rows of an output say: titles beside items, no cell that a spreadsheet computes, numbers as numbers."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from nights import IDS, TITLES, make, write_users

from easrec_jax.serving.artifact import Model, save_model
from easrec_jax.serving.batch import recommend_file
from easrec_jax.serving.part_answers import Request
from easrec_jax.serving.recommend import Recommender


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return make()


@pytest.fixture
def users(tmp_path) -> Path:
    return write_users(tmp_path / "users.csv", 0)


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
