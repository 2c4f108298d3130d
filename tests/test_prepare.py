"""A log that is prepared once: what is opened by memory map is what the reader reads, to the last bit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import DataConfig
from easrec_jax.data import user_parts
from easrec_jax.data.batches import epoch_batches, scoring_samples, training_samples
from easrec_jax.data.histories import open_source
from easrec_jax.data.id_column import IdColumn
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.load import load_data
from easrec_jax.data.parts import order_statistic
from easrec_jax.data.prepare import prepare
from easrec_jax.data.read import read_interactions
from easrec_jax.data.split import Split
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model, load_model, save_model

PART = 97  # events a part: users of 25 events on average fall into a dozen parts
EVENTS = 1_200


def log(texts: bool = False) -> pl.DataFrame:
    """Items by popularity; users and times at random, so that times are shared and pairs repeat."""
    rng = np.random.default_rng(0)
    items = np.minimum(rng.geometric(0.05, EVENTS), 70)
    frame = pl.DataFrame(
        {"user": rng.integers(0, 48, EVENTS), "item": items, "timestamp": rng.integers(0, 200, EVENTS)}
    )
    return frame.with_columns(pl.format("u{}", "user"), pl.format("i{}", "item")) if texts else frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The log in several forms."""
    made, rng = tmp_path_factory.mktemp("logs"), np.random.default_rng(1)
    log().write_parquet(made / "numbers.parquet")
    log(texts=True).write_parquet(made / "texts.parquet")
    log(texts=True).drop("timestamp").write_csv(made / "untimed.csv")
    zeros = log().with_columns(
        pl.when(pl.col("user") % 2 == 0).then(pl.format("0{}", "user")).otherwise(pl.format("{}", "user"))
    )
    zeros.write_ndjson(made / "zeros.jsonl")
    floats = log().with_columns(pl.format("{}.0", "user"), pl.format("{}.0", "item"))
    when = pl.from_epoch("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S")
    floats.with_columns(
        timestamp=pl.when(pl.col("timestamp") == 7).then(pl.format("{}.1234567", when)).otherwise(when)
    ).write_csv(made / "dates.csv")
    mixed = (
        pl.when(pl.col("timestamp") % 9 == 0)
        .then(pl.format("{}.5", "timestamp"))
        .otherwise(pl.format("{}", "timestamp"))
    )
    log().with_columns(timestamp=mixed).write_csv(made / "fractions.csv")
    log().with_columns(pl.col("user").cast(pl.UInt64) + 2**63).write_parquet(made / "large.parquet")
    gaps = log(texts=True).with_columns(
        user=pl.when(pl.col("item") != "i3").then("user"), item=pl.col("item").replace("i5", " ")
    )
    gaps.write_parquet(made / "gaps.parquet")
    histories = [[f"{item}.0" for item in rng.integers(0, 40, rng.integers(0, 9))] for _ in range(60)]
    users = pl.DataFrame({"user": [f"u{k}" for k in rng.permutation(60)], "history": histories})
    users.write_parquet(made / "users.parquet")
    lists = [f"{user} {' '.join(map(str, rng.integers(0, 30, rng.integers(1, 8))))}" for user in rng.permutation(40)]
    (made / "lists.txt").write_text("\n".join(lists))
    for name, low, high in (("train", 0, 140), ("valid", 140, 170), ("test", 170, 999)):
        log().filter(pl.col("timestamp").is_between(low, high, closed="left")).write_parquet(made / f"{name}.parquet")
    (made / "parts").mkdir()
    for part, frame in enumerate(log(texts=True).iter_slices(100)):
        frame.drop("timestamp").write_csv(made / "parts" / f"part-{part}.csv")
    return made


def same(read: Interactions, opened: Interactions) -> None:
    """Assert that both are the same interactions, and give the same batches."""
    for name in ("items", "offsets", "part_ends"):
        mine, theirs = getattr(read, name), getattr(opened, name)
        assert (mine is None) == (theirs is None), name
        assert mine is None or (mine.dtype == theirs.dtype and np.array_equal(mine, theirs)), name
    assert read.user_ids == opened.user_ids and read.item_ids == opened.item_ids
    assert (read.notes, read.dropped_users, read.identity()) == (opened.notes, opened.dropped_users, opened.identity())
    splits = Split(read), Split(opened)
    assert np.array_equal(*(split.popularity() for split in splits))
    training = [training_samples(split, max_length=8, targets="all", windows="all") for split in splits]
    scoring = [scoring_samples(split, "test", max_length=8) for split in splits]
    for samples in (training, scoring):
        both = (epoch_batches(one, max_length=8, batch_size=4, seed=0, epoch=0) for one in samples)
        for batch, other in zip(*both, strict=True):
            assert np.array_equal(batch.items, other.items) and np.array_equal(batch.targets, other.targets)


CASES = [
    ("numbers.parquet", {}),
    ("numbers.parquet", {"equal_times": "file"}),
    ("numbers.parquet", {"duplicates": "drop", "k_core": 12, "min_history": 14}),
    ("numbers.parquet", {"k_core": 15, "split": "time:.7/.1/.2"}),
    ("texts.parquet", {"min_history": 26, "split": "ratio:.8/.1/.1"}),
    ("untimed.csv", {}),
    ("untimed.csv", {"duplicates": "drop"}),
    ("zeros.jsonl", {}),
    ("dates.csv", {"split": "time:.8/.1/.1"}),
    ("fractions.csv", {"split": "time:.8/.1/.1"}),
    ("large.parquet", {}),
    ("gaps.parquet", {"missing_ids": "drop"}),
    ("users.parquet", {"min_history": 1, "split": "ratio:.5/.2/.3"}),
    ("lists.txt", {"format": "lists"}),
    ("parts", {}),
    ("train.parquet", {"split": "files", "valid": "valid.parquet", "test": "test.parquet"}),
]


@pytest.mark.filterwarnings("ignore:.*(dropped|share their time|no time column)")
@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda case: str(case))
def test_what_is_prepared_is_what_the_reader_reads(folder, tmp_path, name, options):
    options = options | {part: str(folder / options[part]) for part in ("valid", "test") if part in options}
    done = prepare(folder / name, tmp_path / "made", part_events=PART, **options)
    read, opened = read_interactions(folder / name, **options), read_interactions(tmp_path / "made", **options)
    same(read, opened)
    assert done.written and done.notes == read.notes[: len(done.notes)]
    assert done.counts == {name: getattr(read, f"num_{name}") for name in ("users", "items", "interactions")} | {
        "dropped_users": read.dropped_users
    }


@pytest.mark.filterwarnings("ignore:.*share their time")
def test_each_setting_that_is_tested_leaves_something_out(folder):
    """So that the law above is no law of nothing."""
    for name, options in CASES[2:5]:
        assert read_interactions(folder / name, **options).notes, options


@pytest.mark.filterwarnings("ignore:.*share their time")
def test_no_more_than_a_part_is_in_memory(folder, tmp_path, monkeypatch):
    rows, ordered = [], user_parts._ordered
    monkeypatch.setattr(
        user_parts, "_ordered", lambda whole, frame, *rest: rows.append(len(frame)) or ordered(whole, frame, *rest)
    )
    prepare(folder / "texts.parquet", tmp_path / "made", part_events=PART)
    assert sum(rows) == EVENTS and max(rows) < 2 * PART
    data = read_interactions(tmp_path / "made")
    assert isinstance(data.items.base, np.memmap) and isinstance(data.user_ids.raw, IdColumn)
    with pytest.raises(ValueError, match="read-only"):
        data.items[0] = 1


def test_the_order_in_which_rows_reach_a_part_counts_for_nothing(folder, tmp_path):
    whole = user_parts.look_over(open_source(folder / "untimed.csv"))
    parts = user_parts.split_by_users(whole, tmp_path, PART)
    assert parts > 5

    def histories() -> list[list]:
        found = user_parts.read_parts(whole, tmp_path, parts, user_parts.Catalogue(), drop=False)
        return [part.coded.items.gather(part.coded.item).to_list() for part in found]

    before = histories()
    for path in tmp_path.rglob("*.parquet"):
        pl.read_parquet(path).reverse().write_parquet(path)
    assert histories() == before


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("numbers.parquet", {"k_core": 500}),
        ("numbers.parquet", {"min_history": 500}),
        ("untimed.csv", {"split": "time:.8/.1/.1"}),
        ("nothing", {}),
        ("nothing-*.parquet", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(share their time|no time column)")
def test_mistakes_are_told_as_the_reader_tells_them_and_leave_nothing(folder, tmp_path, source, options):
    with pytest.raises((ValueError, OSError)) as read:
        read_interactions(folder / source, **options)
    with pytest.raises(type(read.value)) as prepared:
        prepare(folder / source, tmp_path / "made", **options)
    assert str(prepared.value) == str(read.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*share their time")
def test_a_killed_run_leaves_the_old_folder_and_starts_over(folder, tmp_path, monkeypatch):
    made = tmp_path / "made"
    prepare(folder / "numbers.parquet", made)
    before = (made / "manifest.json").read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(folder / "texts.parquet", made, overwrite=True, part_events=PART, on_part=killed)
    assert (made / "manifest.json").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["made"]
    gone = tmp_path / ".made.4194305.tmp"  # of a process that no longer is: numbers end at 4194304
    (gone / "aside").mkdir(parents=True)
    assert prepare(folder / "texts.parquet", made, overwrite=True, part_events=PART).written and not gone.exists()
    same(read_interactions(folder / "texts.parquet"), read_interactions(made))


@pytest.mark.filterwarnings("ignore:.*share their time")
def test_what_is_there_is_kept_or_replaced_only_when_asked(folder, tmp_path):
    source, made = tmp_path / "log.parquet", tmp_path / "made"
    log().write_parquet(source)
    assert prepare(source, made).written
    assert not prepare(source, made).written
    with pytest.raises(ValueError, match="other settings; --overwrite"):
        prepare(source, made, k_core=3)
    os.utime(source, ns=(1, 1))
    with pytest.raises(ValueError, match="another log.*--overwrite"):
        prepare(source, made)
    assert prepare(source, made, overwrite=True).written
    with pytest.raises(ValueError, match="holds something else"):
        prepare(source, folder, overwrite=True)
    with pytest.raises(ValueError, match="part_events"):
        prepare(source, tmp_path / "other", part_events=0)
    with pytest.raises(ValueError, match="need not be prepared"):
        prepare(log(), tmp_path / "other")


@pytest.mark.filterwarnings("ignore:.*share their time")
def test_another_setting_than_the_folder_was_made_with_names_the_flag(folder, tmp_path):
    made = tmp_path / "made"
    prepare(folder / "numbers.parquet", made, k_core=3, user_column="user", min_history=5)
    options = {"k_core": 3, "min_history": 5}
    read_interactions(made, **options)
    for name, asked in (
        ("k_core", 0),
        ("min_history", 3),
        ("duplicates", "drop"),
        ("equal_times", "file"),
        ("user_column", "item"),
    ):
        with pytest.raises(ValueError, match=f"prepared with {name}=.*--data.{name}"):
            read_interactions(made, **options | {name: asked})
    with pytest.raises(ValueError, match="without times.*prepare.py --split time"):
        read_interactions(made, **options, split="time:.8/.1/.1")
    with pytest.raises(ValueError, match="expected the log that it was made of"):
        open_source(made)


@pytest.mark.filterwarnings("ignore:.*share their time")
@pytest.mark.parametrize("name", ["items.npy", "offsets.npy", "item_ids.parquet", "user_ids.parquet", "manifest.json"])
def test_a_damaged_folder_is_refused(folder, tmp_path, name):
    made = tmp_path / "made"
    prepare(folder / "numbers.parquet", made)
    data = bytearray((made / name).read_bytes())
    data[len(data) // 2] ^= 255
    (made / name).write_bytes(data)
    with pytest.raises(ValueError, match=name):
        read_interactions(made)
    (made / name).write_bytes(data[:-9])
    with pytest.raises(ValueError, match=name):
        read_interactions(made)
    if name != "manifest.json":
        (made / name).unlink()
        with pytest.raises(ValueError, match=f"{name}: missing"):
            read_interactions(made)
        (made / "manifest.json").write_text(json.dumps({"format": "easrec_jax prepared interactions", "version": 2}))
        with pytest.raises(ValueError, match="version 1, got 2"):
            read_interactions(made)


@pytest.mark.filterwarnings("ignore:.*share their time")
def test_a_config_reads_a_prepared_folder_and_a_model_of_it_is_the_logs(folder, tmp_path):
    prepare(folder / "texts.parquet", tmp_path / "made")
    config = DataConfig(path=str(tmp_path / "made"))
    data, truth = load_data(config, seed=0)
    read = read_interactions(folder / "texts.parquet")
    assert truth is None
    same(read, data)
    same(read.restricted_to(read.item_ids)[0], data.restricted_to(read.item_ids)[0])
    architecture = Architecture(4, 4, 1, 1, 8, "causal_linrec", 0)
    weights = Network(architecture, data.num_items).init(jax.random.key(0))
    for name, ids in (("log", read.item_ids), ("made", data.item_ids)):
        model = Model(architecture, weights, ids, Split(data).popularity(), {})
        save_model(tmp_path / name / "model", model, architecture=architecture.to_json(), config="{}", metrics="")
    assert (tmp_path / "log/model/items.json").read_bytes() == (tmp_path / "made/model/items.json").read_bytes()
    assert load_model(tmp_path / "made/model").item_ids == data.item_ids


def test_ids_in_a_file_are_found_as_in_memory(tmp_path):
    raw = tuple(f"ü{k}" for k in range(300))
    pl.DataFrame({"id": raw}).write_parquet(tmp_path / "ids.parquet")
    stored, held = IdMap(IdColumn(tmp_path / "ids.parquet", 300)), IdMap(raw)
    assert stored == held and held == stored and stored.in_memory().raw == raw and held.in_memory() is held
    assert stored != IdMap(raw[:-1]) and stored != IdMap((*raw[1:], raw[0])) and len(stored) == 300
    asked = ["ü7", "nobody", "ü7", "ü299", 3]
    assert stored.encode(asked).tolist() == held.encode(asked).tolist() and stored.encode([]).shape == (0,)
    assert stored.decode([300, 1, 300]) == held.decode([300, 1, 300]) and stored.decode([]) == []
    assert stored.raw[-1] == raw[-1] and stored.raw[3:9:2] == list(raw[3:9:2]) and list(stored.raw) == list(raw)
    assert stored.to_json() == held.to_json()
    with pytest.raises(IndexError):
        stored.raw[300]
    for inner in ([0], [301]):
        with pytest.raises(ValueError, match="expected 1 to 300"):
            stored.decode(inner)


def test_an_order_statistic_is_that_of_the_sorted_values():
    rng = np.random.default_rng(0)
    periodic = np.tile(np.concatenate([[10**15], np.arange(49)]), 80)  # a sample of every 50th misleads
    for values in (
        rng.integers(0, 9, 4_000),
        rng.random(4_000),
        rng.integers(-(2**62), 2**62, 4_001),
        periodic,
        np.arange(7),
    ):
        for rank in (0, 1, len(values) // 3, len(values) - 2, len(values) - 1):
            found = order_statistic(values, rank, block=80)
            assert found == np.sort(values)[rank] and found.dtype == values.dtype
