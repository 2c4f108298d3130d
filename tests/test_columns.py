"""Which column is the user, the item, the time: usual names in any spelling, by position, or named."""

from __future__ import annotations

import re
from typing import Any

import pytest
from reading import EVENTS, ROWS, WANTED, decoded, delimited

from easrec_jax.data.columns import ITEMS, TIMES, USERS, Columns, choose_columns
from easrec_jax.data.histories import open_source
from easrec_jax.data.read import read_interactions


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("event_time,user_id,product_id", ("user_id", "product_id", "event_time")),
        ("visitorid,itemid,timestamp", ("visitorid", "itemid", "timestamp")),
        ("reviewerID,asin,overall,unixReviewTime", ("reviewerID", "asin", "unixReviewTime")),
        ("user_id,parent_asin,asin,rating,timestamp", ("user_id", "parent_asin", "timestamp")),
        ("User ID,Item ID,Created At", ("User ID", "Item ID", "Created At")),
        ("userId,movieId,rating,RatingTimestamp", ("userId", "movieId", "RatingTimestamp")),
        ("t_dat,customer_id,article_id,price", ("customer_id", "article_id", "t_dat")),
        ("InvoiceNo,StockCode,Quantity,InvoiceDate,CustomerID", ("CustomerID", "StockCode", "InvoiceDate")),
        ("session_id,item_id,category,user_id,date", ("user_id", "item_id", "date")),
        ("SESSION,SKU,Epoch", ("SESSION", "SKU", "Epoch")),
        ("user,track_id,artist_id,played_at", ("user", "track_id", "played_at")),
        ("uid,song,duration,watch_time,rating,score,count", ("uid", "song", "")),
    ],
)
def test_usual_names_in_any_spelling(header, chosen):
    found = choose_columns("x", header.split(","), Columns())
    assert (found.user, found.item, found.time) == chosen


def test_no_name_has_two_roles_or_is_of_a_value():
    roles = [{name.replace("_", "") for name in names} for names in (USERS, ITEMS, TIMES)]
    assert not roles[0] & roles[1] and not roles[1] & roles[2] and not roles[0] & roles[2]
    values = {
        "rating",
        "score",
        "stars",
        "overall",
        "label",
        "price",
        "quantity",
        "count",
        "weight",
        "duration",
        "watchtime",
    }
    assert not values & set.union(*roles)


def test_columns_that_might_be_times_are_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(delimited(",", ROWS, "user item moment"))
    for read in (lambda: read_interactions(path), lambda: open_source(path)):
        with pytest.warns(
            UserWarning, match="x.csv: no time column is known among 'moment': the row order counts.*time_column"
        ):
            read()
    assert decoded(read_interactions(path, time_column="moment")) == WANTED
    path.write_bytes(delimited(",", [(u, i, n % 5 + 1) for n, (u, i, _) in enumerate(EVENTS)], ""))
    with pytest.warns(
        UserWarning,
        match=re.escape(
            "among '3': the row order counts as the time order; time_column names one (read: user '1', item '2')"
        ),
    ):
        assert decoded(read_interactions(path, format="headerless")) == WANTED


def test_columns_by_name_and_by_position(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("who,what,when,user\nu,a,3,9\nu,b,2,9\nu,c,1,9\n")
    named: dict[str, Any] = {"user_column": "who", "item_column": "what"}
    with pytest.warns(UserWarning, match="x.csv: no time column is known among 'when', 'user': the row order counts"):
        assert decoded(read_interactions(path, **named)) == {"u": ["a", "b", "c"]}
    assert decoded(read_interactions(path, time_column="when", **named)) == {"u": ["c", "b", "a"]}
    path = tmp_path / "checkins.txt"
    path.write_text("u\t2010-10-19T23:55:27Z\t30.2\t-97.7\ta\nu\t2010-10-18T22:17:43Z\t30.2\t-97.7\tb\n")
    options: dict[str, Any] = {
        "format": "headerless",
        "user_column": "1",
        "item_column": "5",
        "time_column": "2",
        "min_history": 2,
    }
    assert decoded(read_interactions(path, **options)) == {"u": ["b", "a"]}
    path = tmp_path / "u.data"
    path.write_text("u\ta\t3\t20\nu\tb\t3\t10\nu\tc\t3\t30\n")
    assert decoded(read_interactions(path)) == {"u": ["b", "a", "c"]}
