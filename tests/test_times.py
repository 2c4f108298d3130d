"""Times: one moment is one number in every form, unit and type, and they order exactly."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest
from reading import START, decoded

from easrec_jax.data.read import read_interactions
from easrec_jax.data.times import time_numbers

SAME = "2023-11-14T22:14:09.5Z"
FORMS = [
    "2023-11-14T22:14:09.5", "2023-11-14 22:14:09.500", "2023-11-14 22:14:09.500000000", "2023-11-14T22:14:09.5+00:00",
    "2023-11-14 22:14:09.5 UTC", "2023-11-14 22:14:09.500+0000", "2023-11-15T00:14:09.5+02", "2023-11-14T16:44:09.5-05:30",
    "2023-11-14 23:14:09,500+01:00", "20231114T221409.5Z", "2023/11/14 22:14:09.5", "2023-11-14t22:14:09.5z",
    "2023-11-15T07:14:09.5+0900", "2023-11-14T22:14:09.500Z[UTC]", " 2023-11-14T22:14:09.5Z ", "2023-11-14T23:14:09.5+01:00[Europe/Paris]",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_time_is_one_time_in_every_form(form):
    one, other, later = time_numbers(pl.Series([SAME, form, "2023-11-14T22:14:09.6Z"])).to_list()
    assert one == other == later - 100_000 * (1000 if len(form) == 29 and form[-9:] == "500000000" else 1)
    assert time_numbers(pl.Series([form, SAME])).n_unique() == 1


def test_times_of_all_units_and_types_and_what_is_none():
    moments = [
        "2023-11-14",
        "2023-11-14 00:00",
        "2023-11-14T00:00:01",
        "2023-11-14 00:01:00.000000001",
        "2024-02-29T23:59:60Z",
    ]
    numbers = time_numbers(pl.Series(moments))
    assert (numbers.diff().drop_nulls() > 0).to_list() == [False, True, True, True]
    nines = time_numbers(pl.Series([f"2023-11-14T22:14:09.12345678{n}Z" for n in (2, 1, 3)]))
    assert nines.arg_sort().to_list() == [1, 0, 2]
    for unit in (1, 1000, 10**6, 10**9):
        assert time_numbers(pl.Series([str(START * unit), str((START + 1) * unit)])).diff()[1] == unit
    kinds = [
        [START, START + 1],
        [date(2023, 1, 1), date(2023, 1, 2)],
        [datetime(2023, 1, 1), datetime(2023, 1, 1, 1)],
        [0.5, 1.5],
    ]
    assert all(time_numbers(pl.Series(kind)).diff()[1] > 0 for kind in kinds)
    for texts in (["2023-11-14", "17"], ["17", "2023-11-14"], ["2023-13-01", "2023-01-01"], ["2023-02-30", "2023-02-01"],
                  ["2023-01-01 25:00:00", "2023-01-01"], ["11/14/2023", "11/15/2023"], ["1", ""], ["nan", "1.5"]):  # fmt: skip
        assert time_numbers(pl.Series(texts)).null_count()
    with pytest.raises(ValueError, match="expected numbers or date-times, got Boolean"):
        time_numbers(pl.Series([True]))


def test_times_order_exactly_and_ties_may_keep_row_order(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("user,item,ts\nu,a,1600000000000000001\nu,b,1600000000000000000\nu,c,1600000000000000001\n")
    assert decoded(read_interactions(path, equal_times="file")) == {"u": ["b", "a", "c"]}
    path.write_text("user,item,ts\nu,a,2.5\nu,b,-1e3\nu,c,2\n")
    assert decoded(read_interactions(path)) == {"u": ["b", "c", "a"]}
    path.write_text("user,item,ts\nu,a,2010-10-19T23:55:27Z\nu,b,2010-10-19 23:55:26.5\nu,c,2010-10-19\n")
    assert decoded(read_interactions(path)) == {"u": ["c", "b", "a"]}
    path = tmp_path / "x.parquet"
    pl.read_csv(tmp_path / "x.csv").with_columns(ts=pl.Series([3.5, 1.5, 2.5])).write_parquet(path)
    assert decoded(read_interactions(path)) == {"u": ["b", "c", "a"]}
    pl.read_csv(tmp_path / "x.csv").with_columns(ts=pl.Series([3, 1, 2]).cast(pl.Datetime("ms"))).write_parquet(path)
    assert decoded(read_interactions(path)) == {"u": ["b", "c", "a"]}
