"""How a file of interactions is read: the options that training and bulk recommendation share."""

from __future__ import annotations

from dataclasses import dataclass

from easrec_jax.data.columns import Columns
from easrec_jax.data.order import check_equal_times

MISSING_IDS = ("error", "drop")


@dataclass(frozen=True)
class Reading:
    """What a file looks like, and what is made of equal times and missing ids."""

    format: str = "auto"
    """A name in `readers.READERS`; auto: by the ending of the name and the first lines."""
    separator: str = ""
    """What parts the fields of text; "": found by the header or the first line."""
    user_column: str = ""
    """Name of the column of user ids; "", here and below: the usual names are tried."""
    item_column: str = ""
    time_column: str = ""
    history_column: str = ""
    """Where a row is a user: the column of its items."""
    equal_times: str = "mixed"
    """Events of one user at the same time: mixed, in the order of a fixed hash; file, in row order."""
    missing_ids: str = "error"
    """Rows without an id: error, or drop."""

    def __post_init__(self) -> None:
        check_equal_times(self.equal_times)
        if self.missing_ids not in MISSING_IDS:
            raise ValueError(f"missing_ids: expected one of {', '.join(MISSING_IDS)}, got {self.missing_ids!r}")

    @property
    def columns(self) -> Columns:
        """The columns asked for."""
        return Columns(self.user_column, self.item_column, self.time_column, self.history_column)
