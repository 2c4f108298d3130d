"""Interactions in memory: raw and inner ids, another map's items, the fingerprint, a user's history."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Any

import numpy as np
import pytest
from reading import decoded

from easrec_jax.data.interactions import IdMap


def test_id_map():
    ids = IdMap(("a", "7", "é "))
    assert len(ids) == 3 and ids.encode(["é ", 7, "b", np.int64(7)]).tolist() == [3, 2, 0, 2]
    assert ids.encode([]).dtype == np.int32 and ids.decode([]) == []
    assert ids.decode(np.array([3, 1], np.int32)) == ["é ", "a"]
    assert IdMap.from_json(ids.to_json()) == ids
    wrong: list[tuple[Any, str]] = [
        ([0], "got 0 (padding)"),
        ([4], "1 to 3, got 4"),
        ([-1], "got -1"),
        (np.array([1.0]), "got float64"),
    ]
    for inner, message in wrong:
        with pytest.raises(ValueError, match=re.escape(message)):
            ids.decode(inner)
    repeated_and_empty = [("a", "a"), ("",)]
    for raw in repeated_and_empty:
        with pytest.raises(ValueError, match="raw ids: expected"):
            IdMap(raw)
    with pytest.raises(ValueError, match="got the single id 'abc'"):
        ids.encode("abc")


IDS = [("user_ids", 2), ("item_ids", 3)]


def test_data_are_cut_to_the_items_of_another_map_and_the_rest_is_counted(interactions):
    data = interactions([[1, 2, 3, 2], [4, 1, 2, 3], [4, 4, 1, 2]], num_items=4)
    kept, left_out = data.restricted_to(IdMap(("new", "i3", "i2", "i1")))
    assert left_out == {"items": 1, "events": 3, "users": 1} and kept.item_ids.raw[0] == "new"
    assert decoded(kept) == {"u0": ["i1", "i2", "i3", "i2"], "u1": ["i1", "i2", "i3"]}
    assert kept.items.dtype == np.int32 and kept.offsets.tolist() == [0, 4, 7]
    same, nothing = data.restricted_to(data.item_ids)
    assert nothing == {"items": 0, "events": 0, "users": 0} and same.fingerprint() == data.fingerprint()
    with pytest.raises(ValueError, match="no user has 3 events or more of the model's 1 items .0 of the data's 4"):
        data.restricted_to(IdMap(("x",)))


def test_a_fingerprint_is_of_ids_and_histories(interactions):
    data = interactions([[1, 2, 3], [2, 3, 1]], 3)
    others = [[[1, 2, 3], [2, 1, 3]], [[1, 2, 3, 2], [3, 1]], [[1, 2, 3, 2, 3, 1]]]
    prints = [interactions(histories, 3).fingerprint() for histories in others]
    prints += [dataclasses.replace(data, **{name: IdMap(("x", "y", "z")[:n])}).fingerprint() for name, n in IDS]
    assert len({data.fingerprint(), *prints}) == 6
    assert interactions([[1, 2, 3], [2, 3, 1]], 3).fingerprint() == data.fingerprint()
    content = b'["u0", "u1"]["i1", "i2", "i3"]' + np.array([0, 3, 6]).tobytes() + data.items.tobytes()
    assert data.fingerprint() == hashlib.sha256(content).hexdigest()


def test_histories_of_users_by_raw_id(interactions):
    data = interactions([[1, 2, 3], [2, 3, 1]], 3)
    assert data.histories_of(["u1", "u0"]) == [["i2", "i3", "i1"], ["i1", "i2", "i3"]]
    with pytest.raises(ValueError, match="unknown users 'u7', '5': not among the 2 of the data"):
        data.histories_of(["u7", "u0", 5])
