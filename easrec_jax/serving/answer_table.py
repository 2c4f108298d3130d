"""A table of users' histories to a table of answers, in memory: what an engine such as Ray Data or Spark calls for each of its blocks.

The engine reads, splits, repeats what fails and writes; `recommend_file` is all of that on one machine. Both answer alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easrec_jax.serving.batch import checked
from easrec_jax.serving.part_answers import Request, answer_part, item_columns
from easrec_jax.serving.part_files import answer_rows
from easrec_jax.serving.recommend import Recommender

if TYPE_CHECKING:
    import polars as pl

PLACE = Path("the table")  # what errors name in place of a file


def answer_table(recommender: Recommender, table: Any, request: Request | None = None) -> pl.DataFrame:
    """The k best next items of each user of `table`, in its order: columns user, items, scores, and titles if they are asked for.

    `table` is polars, Arrow or pandas with one row a user: `user` (integers or text) and `history`, a list of raw item ids in time order,
    or text with blanks between them; as `data.histories` says of files with one row a user. Who has no item that the model
    knows gets what `request.on_unknown` says. Raises `ValueError` where a column is missing or holds no ids.
    """
    import polars as pl

    from easrec_jax.data.histories import Histories
    from easrec_jax.data.id_rules import history_lists, is_missing, plain_ids

    request = checked(recommender, request or Request())
    if request.now is not None:
        raise ValueError("now: expected none, a table of histories has no times of events beside it")
    frame: Any = table if isinstance(table, pl.DataFrame) else pl.DataFrame(table)
    if absent := {"user", "history"} - set(frame.columns):
        raise ValueError(
            f"{PLACE}: expected the columns user and history, got {frame.columns}, without {sorted(absent)}"
        )
    if frame.select(is_missing("user", frame.schema["user"]).any()).item():
        raise ValueError(f"{PLACE}, column 'user': expected an id in each row, one is missing")
    try:
        lists, wrong = history_lists("history", frame.schema["history"])
    except ValueError as error:
        raise ValueError(f"{PLACE}, column 'history': {error}") from None
    if frame.select(wrong.any()).item():
        raise ValueError(f"{PLACE}, column 'history': expected whole numbers or text as ids")
    histories = frame.select(lists.alias("item"))["item"].fill_null([])
    ends = np.concatenate([[0], np.cumsum(histories.list.len().to_numpy())]).astype(np.int64)
    items = histories.explode(empty_as_null=False).str.strip_chars()
    part = Histories(frame["user"], plain_ids(items), ends)
    answers, _ = answer_part(recommender, part, request, PLACE, lambda users: None)
    return answer_rows(frame["user"], item_columns(recommender, request), *answers)
