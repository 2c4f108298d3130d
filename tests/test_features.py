"""Item features: read by column, aligned with inner ids, named where they will not do; the planted ones."""

from __future__ import annotations

import re

import numpy as np
import pytest

from easrec_jax.config import DataConfig
from easrec_jax.data.features import read_features, read_item_features
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.load import load_features
from easrec_jax.data.synthetic import planted, planted_features


@pytest.fixture(scope="module")
def made():
    return planted(users=120, items=400, seed=0)


def test_planted_features_are_the_process(made):
    truth, found = made.truth, planted_features(made.truth)
    clusters, kinds = (
        np.array(("", *words))[values[:, 0]] for words, values in zip(found.vocabulary, found.values, strict=True)
    )
    tables = np.asarray(truth.tables)
    for item, raw in enumerate(made.data.item_ids.raw, 1):
        if raw.startswith("m"):
            assert clusters[item] == "" and kinds[item] == "marker"
            continue
        assert clusters[item] == f"c{int(truth.cluster[item])}"
        assert (kinds[item] == "favourite") == (len(np.unique(tables[:, 0, item].round(5))) > 1)
    assert 30 <= np.sum(kinds == "favourite") <= 40  # VARIANTS in each of CLUSTERS, those that were ever drawn


FILE = "item_id:token\tmaker:token\tclass:token_seq\tprice:float\tempty:token\n"


def test_features_are_read_by_column(tmp_path):
    path = tmp_path / "x.item"
    path.write_text(FILE + "b\tAcme Inc\tDrama Comedy\t1\t\na\t\tDrama Drama\t2\t\nc\tAcme Inc\t\t3\t\n")
    found = read_item_features(path, ("class", "maker"), IdMap(("a", "b", "d", "c")))
    words = [
        [tuple(v[k - 1] for k in row if k) for row in t] for v, t in zip(found.vocabulary, found.values, strict=True)
    ]
    assert words == [[(), ("Drama",), ("Drama", "Comedy"), (), ()], [(), (), ("Acme Inc",), (), ("Acme Inc",)]]
    assert found.names == ("class", "maker") and found.sizes == (3, 2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ("genre",),
            "expected a column 'genre', the file has 'maker', 'class', 'price', 'empty'",
        ),
        (("class", "price"), "expected 'price' as a token or token_seq column, it is float"),
        (("empty",), "column 'empty': expected a value for at least one item"),
    ],
)
def test_a_column_that_will_not_do_is_named(tmp_path, columns, message):
    (tmp_path / "x.item").write_text(FILE + "a\tAcme\tDrama\t1\t\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        read_item_features(tmp_path / "x.item", columns, IdMap(("a",)))


def test_data_without_features_say_so(made):
    with pytest.raises(ValueError, match="data.features: expected a file of item features"):
        load_features(DataConfig(path="x.inter"), made.data, None)


ITEMS = "item_id:token\ttitle:token_seq\tprice:float\tgenre:token\n"


def test_features_are_aligned_with_inner_ids(tmp_path):
    path = tmp_path / "x.item"
    path.write_text(ITEMS + '2\tToy "Story" (1995)\t1.5\t\nunknown\tx\t9\tx\n1\tCaddyshack\t\tComedy\n')
    features = read_features(path, IdMap(("1", "3", "2")))
    assert features.names == ("title", "price", "genre") and features.missing == 1
    assert features.kinds == {"title": "token_seq", "price": "float", "genre": "token"}
    assert features.columns["title"] == [(), ("Caddyshack",), (), ("Toy", '"Story"', "(1995)")]
    assert features.columns["genre"] == ["", "Comedy", "", ""]
    np.testing.assert_array_equal(features.columns["price"], np.array([np.nan, np.nan, np.nan, 1.5], np.float32))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1\ta\tcheap\tx\n", "x.item, line 2, column 'price': expected a number, got 'cheap'"),
        ("1\ta\t1\tx\n1\ta\t1\tx\n", "x.item, line 3, column 'item_id': the id '1' is there twice"),
        ("5\ta\t1\tx\n", "x.item, column 'item_id': none of its 1 ids is among the 1 asked for"),
        ("1\ta\n", "x.item, line 2: expected 4 columns"),
    ],
)
def test_bad_features_are_named(tmp_path, rows, message):
    (tmp_path / "x.item").write_text(ITEMS + rows)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_features(tmp_path / "x.item", IdMap(("1",)))
