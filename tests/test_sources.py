"""Where a log may lie: parts of a folder or a pattern, several sources, addresses of an object store. All are one log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from objects import object_store
from reading import bulk, decoded

from easrec_jax.config import DataConfig
from easrec_jax.data.histories import open_source
from easrec_jax.data.inputs import input_files
from easrec_jax.data.load import load_data
from easrec_jax.data.prepare import prepare
from easrec_jax.data.read import read_interactions
from easrec_jax.serving.part_answers import input_state

PARTS = (0, 1, 2, 9, 10)  # of these numbers: part-10 comes after part-9
KEYS = {
    "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


def log(timed: bool) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"user": rng.integers(0, 12, 220), "item": rng.integers(0, 30, 220), "time": np.arange(220)})
    return frame if timed else frame.drop("time")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Path:
    """A log with times in Parquet and one without in CSV, whole and in parts."""
    folder = tmp_path_factory.mktemp("objects") / "bucket"
    for name, timed in (("timed", True), ("untimed", False)):
        (folder / name).mkdir(parents=True)
        for part, frame in zip(PARTS, log(timed).iter_slices(44), strict=True):
            path = folder / name / f"part-{part}"
            frame.write_parquet(path.with_suffix(".parquet")) if timed else frame.write_csv(path.with_suffix(".csv"))
        (folder / name / "_SUCCESS").touch()
    log(True).write_parquet(folder / "timed.parquet")
    log(False).write_csv(folder / "untimed.csv")
    return folder


@pytest.fixture(scope="module")
def store(bucket):
    """The address of a server of the bucket, which polars takes for S3; one for all, as polars remembers it."""
    with object_store(bucket.parent) as address, pytest.MonkeyPatch.context() as patch:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": address}).items():
            patch.setenv(name, value)
        yield address


@pytest.mark.parametrize(("name", "ending"), [("timed", "parquet"), ("untimed", "csv")])
def test_parts_in_the_order_of_their_names_are_the_file(bucket, name, ending):
    whole = read_interactions(bucket / f"{name}.{ending}")
    parts = [str(bucket / name / f"part-{part}.{ending}") for part in PARTS]
    ways = [
        bucket / name,
        str(bucket / name / f"*.{ending}"),
        str(bucket / name[0]) + "*med",
        parts,
        [*parts[:4], *map(Path, parts[4:])],
    ]
    for way in ways:
        assert read_interactions(way).fingerprint() == whole.fingerprint(), way
        assert bulk(way) == decoded(whole), way
    assert load_data(DataConfig(path=ways[1]), seed=0)[0].fingerprint() == whole.fingerprint()
    turned = read_interactions(parts[::-1])
    assert (turned.fingerprint() == whole.fingerprint()) == (name == "timed")


@pytest.mark.parametrize(
    "way", ["timed.parquet", "timed/", "timed/*.parquet", "untimed.csv", "untimed/*.csv", "untimed/part-0.csv"]
)
def test_an_address_is_the_file_that_it_names(bucket, store, way, tmp_path):
    local = read_interactions(bucket / way if "*" not in way else str(bucket / way), min_history=1)
    ways = [f"s3://bucket/{way}"] + ([f"{store}/bucket/{way}"] if "/" not in way else [])
    for address in ways:
        assert read_interactions(address, min_history=1).fingerprint() == local.fingerprint()
        assert bulk(address) == decoded(local)
    assert all(name.startswith("s3://bucket/") for name, _, _ in input_state(ways[0]))
    prepare(ways[0], tmp_path / "made", part_events=50, min_history=1)
    assert read_interactions(tmp_path / "made", min_history=1).fingerprint() == local.fingerprint()


def test_several_sources_may_lie_anywhere(bucket, store):
    sources = [
        "s3://bucket/timed/part-0.parquet",
        bucket / "timed" / "part-1.parquet",
        str(bucket / "timed/part-[2-9].parquet"),
    ]
    data = read_interactions([*sources, f"{store}/bucket/timed/part-10.parquet"])
    assert data.fingerprint() == read_interactions(bucket / "timed.parquet").fingerprint()


@pytest.mark.parametrize(
    "address", ["s3://bucket/no.parquet", "s3://bucket/no.csv", "s3://bucket/no*.parquet", "s3://bucket/none/"]
)
def test_what_is_not_there_is_named_as_it_was_asked_for(store, address, bucket):
    for read in (read_interactions, open_source):
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            read(address)
        assert address in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"no\*\.csv: no file"):
        input_files(str(bucket / "no*.csv"))
