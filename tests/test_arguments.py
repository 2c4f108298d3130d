"""What would be read as something else is refused at the border, and every whole number is a k."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import polars as pl
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model
from easrec_jax.serving.recommend import Recommender

ROWS = [[1, 17], [1, 3], [2, 4]]
FRAME = pl.DataFrame(ROWS, schema=["user", "item"], orient="row")


def exchanged(protocol: str, **attributes):
    """Something of a length that is known by a protocol of tables alone, and might be a list of histories."""
    methods = {protocol: lambda _: 0, "__len__": lambda _: 2, "__iter__": lambda _: iter([["1"], ["2"]])}
    return type("Exchanged", (), methods | attributes)()


@pytest.fixture(scope="module")
def recommender():
    """Its ids are numbers as text, so that a table's cells would be known."""
    architecture = Architecture(
        width=8, inner=16, depth=1, heads=2, max_length=6, attention="recent_linrec", gate_layers=2
    )
    weights = Network(architecture, 30).init(jax.random.key(0))
    ids = IdMap(tuple(str(k) for k in range(30)))
    return Recommender(Model(architecture, weights, ids, np.arange(31)[::-1], {}))


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Nothing else checks types."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


TABLES = {
    "polars": (FRAME, "a table"),
    "lazy": (FRAME.lazy(), "a table"),
    "columns": (exchanged("columns"), "a table"),
    "interchange": (exchanged("__dataframe__"), "a table"),
    "arrow": (exchanged("__arrow_c_stream__"), "a table"),
    "records": (np.array([(1, 17)], [("user", int), ("item", int)]), "a table"),
    "array": (np.array(ROWS), "an array of 2 axes, shape \\(3, 2\\)"),
    "array of text": (np.array([["1", "17"]]), "an array of 2 axes"),
    "on the device": (jnp.array(ROWS), "an array of 2 axes"),
    "mapping": ({("u", "v"): ["1"]}, "a dict: "),
    "set": ({("1", "2"), ("3",)}, "no time order"),
    "text": ("17", "the text '17'"),
    "bytes": (b"17", "bytes"),
}


@pytest.mark.parametrize("name", TABLES)
def test_no_table_and_no_array_is_taken_for_histories(recommender, name):
    """As all of them, or as one of them."""
    given, words = TABLES[name]
    for histories in (given, [["1"], given]):
        for call in (recommender.recommend, recommender.embed, recommender.start):
            with pytest.raises(ValueError, match=f"^histories: expected a sequence of histories, .*{words}") as error:
                call(histories)
            if "table" in words or "axes" in words:
                assert "read_interactions(table)" in str(error.value)
    with pytest.raises(ValueError, match=words):
        recommender.score(given, ["1"])


@pytest.mark.parametrize("name", ["polars", "arrow", "array", "text", "records"])
def test_no_table_and_no_text_is_taken_for_ids(recommender, name):
    given, words = TABLES[name]
    stream = recommender.start([["1"]])
    calls = {
        "allow": lambda: recommender.recommend([["1"]], allow=given),
        "deny": lambda: recommender.recommend_from(stream, deny=given),
        "candidates": lambda: recommender.score(["1"], given),
        "items": lambda: recommender.similar(given),
    }
    for what, call in calls.items():
        with pytest.raises(ValueError, match=f"^{what}: expected item ids, such as a list, got {words}"):
            call()
    with pytest.raises(ValueError, match="^items: expected item ids"):
        recommender.update(stream, given)


def test_columns_arrays_and_any_collection_of_ids_are_understood(recommender):
    expected = recommender.recommend([["1", "17"], ["3"]], 4, allow=["4", "5"])
    lists = pl.Series([["1", "17"], ["3"]])
    column = exchanged("__arrow_c_stream__", type="list", __iter__=lambda _: iter([["1", "17"], ["3"]]))
    for histories in (
        [np.array(["1", "17"]), np.array(["3"], object)], (("1", "17"), ("3",)), lists, column,
        [pl.Series([1, 17]), pl.Series([3])], np.array([[1, 17], [3]], object), [range(1, 18, 16), [3]],
    ):  # fmt: skip
        assert recommender.recommend(histories, 4, allow=(str(i) for i in (4, 5))) == expected
    for ids in ({"4", "5"}, {"4": 0, "5": 0}.keys(), np.array([4, 5]), pl.Series([4, 5])):
        assert recommender.recommend(lists, 4, allow=ids) == expected


CALLS = {
    "recommend": lambda r, k: r.recommend([["1"]], k=k),
    "similar": lambda r, k: r.similar(["1"], k=k),
    "recommend_from": lambda r, k: r.recommend_from(r.start([["1"]]), k=k),
}


@pytest.mark.parametrize("call", CALLS)
def test_k_is_any_whole_number_and_nothing_else(recommender, call):
    expected = CALLS[call](recommender, 3)
    for k in (np.int64(3), np.uint8(3), np.array(3), jnp.int32(3)):
        assert CALLS[call](recommender, k) == expected
    for k in (True, np.True_, 3.0, np.float64(3), "3", None, Fraction(3), np.array([3]), np.nan, 0, -1, 31, 10**30):
        with pytest.raises(ValueError, match="^k: expected 1 to 30 ") as error:
            CALLS[call](recommender, k)
        assert type(k).__name__ in str(error.value)


def test_weights_whose_scores_overflow_are_named():
    architecture = Architecture(
        width=8, inner=16, depth=1, heads=2, max_length=6, attention="recent_linrec", gate_layers=2
    )
    weights = Network(architecture, 30).init(jax.random.key(0))
    ids = IdMap(tuple(str(k) for k in range(30)))
    huge = jax.tree.map(lambda x: jnp.full_like(x, 3e38), weights)
    with pytest.raises(ValueError, match=r"^weights: .*: expected values below 1e\+15, got 3e\+38"):
        Recommender(Model(architecture, huge, ids, np.arange(31), {}))
    for size in (1e10, 9e14):  # each alone is no mistake, but what they make of one another
        large = jax.tree.map(lambda x, size=size: jnp.full_like(x, size), weights)
        recommender = Recommender(Model(architecture, large, ids, np.arange(31), {}))
        try:
            (answer,) = recommender.recommend([["1", "2"]], 3)
        except FloatingPointError as error:
            assert "NaN or infinite" in str(error)
        else:
            assert len(answer) == 3 and np.isfinite([score for _, score in answer]).all()
