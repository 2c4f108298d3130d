"""What `data.split` may say: how interactions are split into a training, a validation and a test part."""

from __future__ import annotations

import re
from typing import NamedTuple

LEAVE_ONE_OUT = "leave-one-out"
FILES = "files"
EXPECTED = (
    f"{LEAVE_ONE_OUT}, or time:A/B/C or ratio:A/B/C with three shares above 0 that add to 1, such as ratio:0.8/0.1/0.1"
)


class SplitRule(NamedTuple):
    """A split by name: leave-one-out, files, or time and ratio with their shares of the interactions."""

    kind: str
    shares: tuple[float, ...] = ()


def parse_split(text: str) -> SplitRule:
    """The rule of a split's name; `ValueError` says which forms there are."""
    if text in (LEAVE_ONE_OUT, FILES):
        return SplitRule(text)
    number = r"(\d+(?:\.\d+)?|\.\d+)"
    match = re.fullmatch(rf"(time|ratio):{number}/{number}/{number}", text)
    shares = tuple(float(share) for share in match.groups()[1:]) if match else ()
    if match is None or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"data.split: expected {EXPECTED}, got {text!r}")
    return SplitRule(match[1], shares)
