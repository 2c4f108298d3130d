"""Splits by time, by ratio and by files: who is trained on what, who is evaluated, and that nothing of the future leaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from easrec_jax.config import DataConfig
from easrec_jax.config.splits import SplitRule, parse_split
from easrec_jax.data.batches import scoring_samples, training_samples
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.load import load_data
from easrec_jax.data.read import read_interactions
from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.rivals.markov import fit_markov
from easrec_jax.models.rivals.popularity import popularity_scores
from easrec_jax.train.rows import make_sampler

SHARES = "0.7/0.2/0.1"
PARTS = ("validation", "test")


def rows(seed: int = 0) -> list[tuple[str, str, int]]:
    """(user, item, time) of 40 users, a time to each event; some users come late, some leave early."""
    rng = np.random.default_rng(seed)
    found = []
    for user in range(40):
        begin, size = int(rng.integers(0, 1200)), int(rng.integers(3, 15))
        found += [(f"u{user}", f"i{rng.integers(30)}", begin + int(t)) for t in rng.integers(0, 250, size)]
    order = rng.permutation(len(found))
    return [found[at] for at in order]


def by_user(data: Interactions) -> dict[str, list[str]]:
    return {raw: data.item_ids.decode(data.history(u)) for u, raw in enumerate(data.user_ids.raw)}


def lists(split: Split) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """Raw items of each user in each part."""
    data = split.data
    ends = zip(split.start, split.train_end, split.known_end("validation"), split.known_end("test"), strict=True)
    return {
        data.user_ids.raw[user]: tuple(
            data.item_ids.decode(data.items[a:b]) for a, b in zip(at[:-1], at[1:], strict=True)
        )
        for user, at in enumerate(ends)
    }


def test_time_is_one_line_for_all_users():
    """Brute force over the rows: events before the 70 % quantile, before the 90 % one, and the others."""
    data = read_interactions(rows(), split=f"time:{SHARES}", min_history=1)
    times = sorted(time for _, _, time in rows())
    first, second = times[int(0.7 * len(times))], times[int(0.9 * len(times))]
    for user, parts in lists(Split(data)).items():
        mine = [(item, time) for name, item, time in rows() if name == user]
        for part, (low, high) in zip(parts, ((-1, first), (first, second), (second, 10**9)), strict=True):
            assert sorted(part) == sorted(item for item, time in mine if low <= time < high)


def test_events_at_the_same_time_stay_in_one_part():
    tied = [(f"u{u}", f"i{k}", k // 2) for u in range(4) for k in range(20)]
    split = Split(read_interactions(tied, split="time:0.75/0.1/0.15"))
    assert {tuple(map(len, parts)) for parts in lists(split).values()} == {(14, 2, 4)}


def test_ratio_is_a_share_of_each_history():
    data = read_interactions(rows(), split=f"ratio:{SHARES}")
    for user, parts in lists(Split(data)).items():
        size = len(by_user(data)[user])
        assert list(map(len, parts)) == [size * 7 // 10, size * 9 // 10 - size * 7 // 10, size - size * 9 // 10]
    twenty = read_interactions([("u", f"i{k}", k) for k in range(20)], split="ratio:0.1/0.7/0.2")
    assert list(map(len, lists(Split(twenty))["u"])) == [2, 14, 4]  # 0.1 + 0.7 is a little less than 0.8 in float64


def files(tmp_path, train, valid, test):
    paths = []
    for name, part in (("train", train), ("valid", valid), ("test", test)):
        paths.append(tmp_path / f"{name}.csv")
        pl.DataFrame(part, schema=["user", "item", "time"], orient="row").write_csv(paths[-1])
    return {"valid": str(paths[1]), "test": str(paths[2])}, str(paths[0])


def test_files_are_the_parts(tmp_path):
    train = [("a", "x", 3), ("a", "y", 1), ("b", "x", 5), ("b", "z", 6), ("c", "y", 1), ("c", "x", 2), ("d", "x", 1)]
    valid, test = [("a", "z", 4), ("c", "new", 3)], [("b", "y", 9), ("b", "x", 8), ("a", "late", 5), ("d", "y", 0)]
    others, path = files(tmp_path, train, valid, test)
    data = read_interactions(path, min_history=1, **others)
    assert lists(Split(data)) == {
        "a": (["y", "x"], ["z"], ["late"]), "b": (["x", "z"], [], ["x", "y"]),
        "c": (["y", "x"], ["new"], []), "d": (["x"], [], ["y"]),
    }  # fmt: skip
    assert Split(data).counts() == {
        "validation": {"users": 2, "evaluated": 2, "targets": 2}, "test": {"users": 3, "evaluated": 3, "targets": 4}
    }  # fmt: skip
    assert "2 items have no training event" in data.notes[0] and "(2 have none" in data.notes[0]
    assert data.notes[1] == "1 users have events that are older than those of an earlier part's file"
    config = DataConfig(path=path, min_history=1, **others)
    assert config.split == "files" and load_data(config, seed=0)[0].fingerprint() == data.fingerprint()
    assert DataConfig(**dataclasses.asdict(config) | {"planted": config.planted}) == config
    tables = [pl.read_csv(name) for name in (path, others["valid"], others["test"])]
    again = read_interactions(tables[0], valid=tables[1], test=tables[2], min_history=1)
    assert again.fingerprint() == data.fingerprint()


def test_without_times_the_rows_are_in_order(tmp_path):
    for name, text in (("a", "u,x\nv,x\nu,y\nv,z\n"), ("b", "v,y\nu,z\nu,x\n"), ("c", "u,y\nv,w\n")):
        (tmp_path / f"{name}.csv").write_text("user,item\n" + text)
    data = read_interactions(tmp_path / "a.csv", valid=tmp_path / "b.csv", test=tmp_path / "c.csv")
    assert lists(Split(data)) == {"u": (["x", "y"], ["z", "x"], ["y"]), "v": (["x", "z"], ["y"], ["w"])}


def poison(data: Interactions, begin: np.ndarray) -> Interactions:
    """Every event from these positions on another item."""
    items = data.items.copy()
    later = np.arange(len(items)) >= np.repeat(begin, data.lengths)
    items[later] = items[later] % data.num_items + 1
    return dataclasses.replace(data, items=items)


@pytest.mark.parametrize("name", ["leave-one-out", f"time:{SHARES}", f"ratio:{SHARES}"])
def test_what_is_held_out_never_reaches_training_or_selection(name):
    data = read_interactions(rows(), split=name)
    split = Split(data)
    later = {"test": split.known_end("validation"), "both": split.train_end}
    clean, dirty = split, {which: Split(poison(data, begin)) for which, begin in later.items()}
    for other in dirty.values():
        assert (other.data.items != data.items).any()
        np.testing.assert_array_equal(clean.popularity(), other.popularity())
        for a, b in zip(
            [*fit_markov(clean), *make_sampler(clean)], [*fit_markov(other), *make_sampler(other)], strict=True
        ):
            np.testing.assert_array_equal(a, b)
        for targets in ("all", "last"):
            parts = [training_samples(s, max_length=5, targets=targets, windows="all") for s in (clean, other)]
            a, b = (part.batch(np.arange(len(part)), 5, len(part)) for part in parts)
            np.testing.assert_array_equal(a.items, b.items)
            np.testing.assert_array_equal(a.targets, b.targets)
    names = ("full", "full_unseen", "uni5", "uni5_unseen")
    popularity = clean.popularity().astype(np.float32)
    ranks = [Evaluator(s, "validation", 5, names).ranks(popularity_scores, popularity) for s in (clean, dirty["test"])]
    for protocol in names:
        np.testing.assert_array_equal(ranks[0][protocol], ranks[1][protocol])


def test_no_training_event_is_later_than_the_first_validation_event():
    data = read_interactions(rows(), split=f"time:{SHARES}", min_history=1)
    times = {}
    for user, item, time in rows():
        times.setdefault((user, item), []).append(time)
    spans = [[], [], []]
    for user, parts in lists(Split(data)).items():
        for span, part in zip(spans, parts, strict=True):
            span += [times[user, item] for item in part]
    assert max(min(t) for t in spans[0]) < min(max(t) for t in spans[1]) <= min(max(t) for t in spans[2])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", [f"time:{SHARES}", f"ratio:{SHARES}"])
def test_a_history_is_all_before_the_first_target(name, part):
    split = Split(read_interactions(rows(), split=name, min_history=1))
    samples, parts = scoring_samples(split, part, max_length=100), list(lists(split).values())
    number = PARTS.index(part) + 1
    rightful = [user for user, of in enumerate(parts) if of[number] and any(of[:number])]
    assert split.evaluated(part).tolist() == rightful and 0 < len(rightful) < 40 + (name[0] == "r")
    assert name[0] == "r" or any(of[number] and not any(of[:number]) for of in parts)  # come too late to be evaluated
    for row, user in enumerate(rightful):
        before = split.data.item_ids.decode(split.data.items[samples.start[row] : samples.stop[row]])
        assert before == sum(parts[user][:number], [])
        items = set(split.data.item_ids.encode(parts[user][number]).tolist())
        assert set(split.target_sets(part)[row].tolist()) - {0} == items
        assert split.history_lengths(part)[row] == len(before)


def test_items_that_a_model_does_not_know_leave_every_part():
    data = read_interactions(rows(), split=f"ratio:{SHARES}")
    known = IdMap(tuple(raw for raw in data.item_ids.raw if raw != "i3"))
    kept, _ = data.restricted_to(known)
    want = {
        user: tuple([item for item in part if item != "i3"] for part in of) for user, of in lists(Split(data)).items()
    }
    assert lists(Split(kept)) == {user: of for user, of in want.items() if any(of)}


def test_another_split_is_other_data():
    prints = {
        read_interactions(rows(), split=name).fingerprint()
        for name in ("leave-one-out", f"time:{SHARES}", f"ratio:{SHARES}")
    }
    assert len(prints) == 3
    data = read_interactions(rows(), split="leave-one-out")
    assert data.part_ends is None and data.notes == read_interactions(rows()).notes


@pytest.mark.parametrize(
    "name", ["time", "time:0.8/0.2", "time:0.8/0.1/0.2", "ratio:0.8/0.2/0", "ratio:1/-0.1/0.1", "days:0.8/0.1/0.1", ""]
)
def test_a_split_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="data.split: expected leave-one-out"):
        DataConfig(split=name)
    with pytest.raises(ValueError, match="data.split: expected leave-one-out"):
        read_interactions(rows(), split=name)


def test_names_of_splits():
    assert parse_split("time:0.8/0.1/0.1") == SplitRule("time", (0.8, 0.1, 0.1))
    assert parse_split("ratio:.5/.25/.25").shares == (0.5, 0.25, 0.25)
    assert DataConfig().split == "leave-one-out" == parse_split("leave-one-out").kind


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="needs times, the data have none"):
        read_interactions([(u, i) for u, i, _ in rows()], split=f"time:{SHARES}")
    with pytest.raises(ValueError, match="needs times"):
        load_data(DataConfig(split=f"time:{SHARES}"), seed=0)
    with pytest.raises(ValueError, match="the validation part has no target"):
        read_interactions([(f"u{u}", f"i{k}", k // 9) for u in range(3) for k in range(10)], split="time:0.8/0.1/0.1")
    with pytest.raises(ValueError, match="data.test: expected a file beside data.valid"):
        DataConfig(path="a.csv", valid="b.csv")
    with pytest.raises(ValueError, match="data.valid: expected a file beside data.test"):
        DataConfig(path="a.csv", test="b.csv")
    with pytest.raises(ValueError, match="data.split: expected files with data.valid"):
        DataConfig(path="a.csv", valid="b.csv", test="c.csv", split="ratio:0.8/0.1/0.1")
    with pytest.raises(ValueError, match="data.valid: expected a file of validation events"):
        DataConfig(path="a.csv", split="files")
    with pytest.raises(ValueError, match="data.path: expected a file of training events"):
        DataConfig(valid="b.csv", test="c.csv")
    with pytest.raises(ValueError, match="valid and test: expected both"):
        read_interactions(rows(), valid=rows())
    others, path = files(tmp_path, [("a", "x", 1), ("a", "y", 2)], [("a", "x", 3), ("new", "x", 3)], [("a", "z", 3)])
    with pytest.raises(ValueError, match="1 users of the validation and test events have no training event .*'new'"):
        read_interactions(path, min_history=1, **others)


def test_who_cannot_be_trained_on_is_said(interactions):
    data = dataclasses.replace(interactions([[1, 2, 3], [2, 1, 3]], 3), part_ends=np.array([[1, 2], [4, 5]]))
    with pytest.raises(ValueError, match="none of 2 users has 2 training events or more"):
        training_samples(Split(data), max_length=3, targets="all", windows="all")
