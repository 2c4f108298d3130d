"""Names and the order of rows count for nothing: shuffled, cut into parts or renamed, the data and every figure are the same."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easrec_jax.architecture import Architecture
from easrec_jax.config import RetrainConfig
from easrec_jax.data.batches import training_samples
from easrec_jax.data.interactions import Interactions
from easrec_jax.data.order import text_hash
from easrec_jax.data.read import read_interactions
from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.network import Network, network_scores
from easrec_jax.train.fit import fit
from easrec_jax.train.task import Task

IDS = st.one_of(
    st.integers(0, 12).map(str), st.text("abé漢", min_size=1, max_size=3), st.sampled_from(["nan", "NA", "None"])
)
ROWS = st.lists(st.tuples(IDS, IDS, st.integers(0, 6)), min_size=1, max_size=30)


def read(rows: list[tuple], **options) -> Interactions:
    return read_interactions(rows, min_history=1, **options)


def equal(one: Interactions, other: Interactions) -> bool:
    arrays = np.array_equal(one.items, other.items) and np.array_equal(one.offsets, other.offsets)
    return arrays and (one.user_ids, one.item_ids) == (other.user_ids, other.item_ids)


@given(rows=ROWS, order=st.randoms(use_true_random=False), duplicates=st.sampled_from(["keep", "drop"]))
@settings(max_examples=60, deadline=None)
def test_shuffled_rows_are_the_same_data(rows, order, duplicates):
    data = read(rows, duplicates=duplicates)
    shuffled = list(rows)
    order.shuffle(shuffled)
    again = read(shuffled, duplicates=duplicates)
    assert equal(data, again) and data.fingerprint() == again.fingerprint()


@given(rows=ROWS, cuts=st.lists(st.integers(0, 30), max_size=3))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_parts_in_a_folder_are_the_same_data(suffix, rows, cuts):
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    with tempfile.TemporaryDirectory() as folder:
        ends = sorted({min(cut, len(rows)) for cut in cuts} | {0, len(rows)})
        for number, (first, last) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
            part = frame[first:last]
            path = Path(folder) / f"part-{number}.{suffix}"
            part.write_csv(path) if suffix == "csv" else part.write_parquet(path)
        assert equal(read(rows), read_interactions(folder, min_history=1))


@given(rows=ROWS, shift=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_renamed_items_are_the_same_inner_items(rows, shift):
    rows = [(user, item, time * 100 + number) for number, (user, item, time) in enumerate(rows)]  # no two at once
    names = {item: f"{(number * 7 + shift) % 53}/{number}" for number, item in enumerate({item for _, item, _ in rows})}
    data, other = read(rows), read([(user, names[item], time) for user, item, time in rows])
    assert np.array_equal(data.items, other.items) and np.array_equal(data.offsets, other.offsets)
    assert [names[item] for item in data.item_ids.raw] == list(other.item_ids.raw)


def splitmix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def plain_hash(text: str) -> int:
    return splitmix(sum(splitmix(256 * place + byte) for place, byte in enumerate(text.encode())) % 2**64)


@given(texts=st.lists(st.text(max_size=6), max_size=5))
def test_the_hash_of_texts_is_the_one_written_down(texts):
    assert text_hash(texts).tolist() == [plain_hash(text) for text in texts]


def test_ties_are_in_the_order_of_the_hash_and_mixed_anew_for_each_user():
    rows = [(f"u{user}", f"i{item}", 5) for user in range(8) for item in range(40)]
    with pytest.warns(
        UserWarning, match="320 of 320 events share their time with another of the same user.*equal_times=file"
    ):
        data = read(rows)
    found = data.histories_of(data.user_ids.raw)
    for user, history in zip(data.user_ids.raw, found, strict=True):
        keys = [splitmix((plain_hash(user) + splitmix(plain_hash(item))) % 2**64) for item in history]
        assert keys == sorted(keys)
    assert len({tuple(history) for history in found}) == 8
    ranks = np.array([[history.index(f"i{item}") for item in range(40)] for history in found])
    assert abs(np.corrcoef(ranks.mean(0), np.arange(40))[0, 1]) < 0.4  # the order of names, or of rows, is not in it
    assert read(rows, equal_times="file").histories_of(["u3"]) == [[f"i{item}" for item in range(40)]]
    with pytest.raises(ValueError, match="equal_times: expected one of mixed, file, got 'row'"):
        read(rows, equal_times="row")


def test_a_handful_of_ties_is_not_told_and_many_in_a_file_in_time_order_are():
    rows = [("u", f"i{k}", k - (k % 50 == 1)) for k in range(2000)]
    with warnings.catch_warnings(action="error"):
        read(rows)
    rows = [("u", f"i{k}", k - (k % 25 == 1)) for k in range(2000)]
    with pytest.warns(UserWarning, match="160 of 2,000 events"):
        read(rows)
    with warnings.catch_warnings(action="error"):
        read(rows[::-1])


def test_without_times_the_row_order_is_kept_and_ascending_users_number_items_as_they_appear(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{user} {item}" for user in (1, 2, 9, 10, 11, 100) for item in rng.integers(1, 40, 12)]
    (tmp_path / "x.txt").write_text("\n".join(lines) + "\n")
    data = read_interactions(tmp_path / "x.txt")
    first = list(dict.fromkeys(line.split()[1] for line in lines))
    assert data.user_ids.raw == ("1", "2", "9", "10", "11", "100") and list(data.item_ids.raw) == first
    assert data.items.tolist() == [first.index(line.split()[1]) + 1 for line in lines]


def test_users_are_in_the_order_of_numbers_or_of_letters():
    assert read([("10", "a"), ("9", "a"), ("-1", "a"), ("010", "b")]).user_ids.raw == ("-1", "9", "010", "10")
    assert read([("10", "a"), ("9", "a"), ("x", "a")]).user_ids.raw == ("10", "9", "x")
    assert read([(10, "a"), (9, "a")]).user_ids.raw == ("9", "10")


def figures(data: Interactions) -> tuple[dict, list[np.ndarray]]:
    """What a tiny training gives: figures and weights."""
    architecture = Architecture(
        width=8, inner=16, depth=1, heads=2, max_length=8, attention="recent_linrec", gate_layers=1, conv_width=2
    )
    split, network = Split(data), Network(architecture, data.num_items, 0.2)
    samples = training_samples(split, max_length=8, targets="all", windows="all")
    evaluator = Evaluator(split, "validation", 8, ("full", "uni20"))
    options = RetrainConfig(epochs=2, batch_size=16, buckets=1, learning_rate=0.01)
    weights = network.init(jax.random.key(0))
    fitted = fit(network, weights, Task(samples, evaluator, dropout=0.2, seed=0), settings=options)
    return evaluator(network_scores(network), fitted.weights), jax.tree.leaves(fitted.weights)


def test_a_training_gives_the_same_figures_bit_for_bit(tmp_path):
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {"user": rng.integers(0, 25, 400), "item": rng.integers(0, 20, 400), "time": rng.integers(0, 4000, 400)}
    )
    shuffled = frame.sample(fraction=1, shuffle=True, seed=5)
    for number in range(3):
        shuffled[150 * number : 150 * (number + 1)].write_parquet(tmp_path / f"part-{number}.parquet")
    expected, weights = figures(read_interactions(frame))
    found, others = figures(read_interactions(tmp_path))
    assert found == expected
    assert all(np.array_equal(one, other) for one, other in zip(weights, others, strict=True))
    renamed = read_interactions(
        frame.unique(["user", "time"], keep="none").with_columns(item=(pl.col("item") * 7 + 3) % 101)
    )
    plain = read_interactions(frame.unique(["user", "time"], keep="none"))
    assert figures(renamed)[0] == figures(plain)[0]
