"""How a file of interactions is read: the options that training and bulk recommendation share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from easrec_jax.config.splits import FILES, LEAVE_ONE_OUT, parse_split
from easrec_jax.data.columns import Columns
from easrec_jax.data.order import check_equal_times

MISSING_IDS = ("error", "drop")
DUPLICATES = ("keep", "drop")


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


@dataclass(frozen=True)
class Options(Reading):
    """How interactions are read, and what is left out of them: the options of `read_interactions`."""

    min_history: int = 3
    """Users with fewer interactions are dropped (leave-one-out needs 3)."""
    k_core: int = 0
    """Users and items with fewer interactions are dropped, again and again."""
    duplicates: str = "keep"
    """drop: the earliest interaction of each user with each item stays alone."""
    split: str = LEAVE_ONE_OUT
    """How validation and test items are held out (`parts.parted`); files where `valid` and `test` are given."""
    valid: Any = ""
    """Validation events, in any form that the training events may have."""
    test: Any = ""
    """Test events."""
    times: bool = False
    """Keep the times of events, for networks that read them (`model.times`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_history < 1:
            raise ValueError(f"min_history: expected 1 or more, got {self.min_history}")
        if self.k_core < 0:
            raise ValueError(f"k_core: expected 0 or more, got {self.k_core}")
        if self.duplicates not in DUPLICATES:
            raise ValueError(f"duplicates: expected one of {', '.join(DUPLICATES)}, got {self.duplicates!r}")
        rule = parse_split(self.split)
        if _is_given(self.valid) != _is_given(self.test):
            raise ValueError("valid and test: expected both or neither")
        kinds = (FILES, LEAVE_ONE_OUT) if self.files else (LEAVE_ONE_OUT, "time", "ratio")
        if rule.kind not in kinds:
            raise ValueError(f"data.split: expected {FILES} with valid and test and only with them, got {self.split!r}")

    @property
    def files(self) -> bool:
        """Whether each part is a file of its own."""
        return _is_given(self.valid)


def _is_given(data: Any) -> bool:
    return not (isinstance(data, str) and data == "")
