"""What the tests of readers share: one log of events, and what training and the bulk command read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from easrec_jax.data.histories import open_source, read_part, write_parts
from easrec_jax.data.interactions import Interactions
from easrec_jax.data.reading import Reading

START = 1_700_000_000
WANTED = {"nan": ["p2", "p1", "p3", "p1"], "u1": ["p1", "p2", "p3"], "null": ["p3", "p1", "p2", "p2"]}
EVENTS = [(user, item, START + 7 * n) for user, items in WANTED.items() for n, item in enumerate(items)]
ROWS = [EVENTS[k] for k in (5, 0, 9, 3, 7, 1, 10, 8, 2, 6, 4)]  # the times alone tell the order


def delimited(separator: str, rows: list, header: str = "user_id item_id timestamp", end: str = "\n") -> bytes:
    lines = [separator.join(map(str, row)) for row in ([tuple(header.split())] if header else []) + rows]
    return "".join(line + end for line in lines).encode()


def decoded(data: Interactions) -> dict[str, list[str]]:
    """Histories by raw id."""
    return {raw: data.item_ids.decode(data.history(user)) for user, raw in enumerate(data.user_ids.raw)}


def bulk(path: Path, **options: Any) -> dict[str, list[str]]:
    """The histories that the bulk command reads."""
    source = open_source(path, Reading(**options))
    with tempfile.TemporaryDirectory() as folder:
        write_parts(source, Path(folder) / "spill", range(2), 2)
        parts = [read_part(source, Path(folder) / "spill", number) for number in range(2)]
    found = {}
    for part in parts:
        for number, user in enumerate(part.users):
            found[str(user)] = part.items[int(part.ends[number]) : int(part.ends[number + 1])].to_list()
    return found
