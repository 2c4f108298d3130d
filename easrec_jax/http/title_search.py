"""Search-as-you-type over item titles and ids: one scan of one string, whatever is typed."""

from __future__ import annotations

import numpy as np

from easrec_jax.serving.recommend import Recommender


class TitleSearch:
    """Finds items by a part of their title or id, without regard to case; popular ones first."""

    def __init__(self, recommender: Recommender) -> None:
        self.items = recommender.item_ids.decode(recommender.ranking)  # by popularity
        lines = [_fold(f"{recommender.titles.get(item, '')} {item}") for item in self.items]
        self._text = "\n".join(["", *lines, ""])
        self._starts = np.cumsum([1, *(len(line) + 1 for line in lines)])

    def find(self, query: str, limit: int) -> list[str]:
        """Raw ids of up to `limit` items: this id, then titles that begin so, then those
        with such a word, then any that contain it."""
        query = _fold(query).strip()
        if not query:
            return self.items[:limit]
        found: dict[int, None] = {}
        for pattern in (f"\n{query}\n", f" {query}\n", f"\n{query}", f" {query}", query):
            position = self._text.find(pattern)
            while position >= 0 and len(found) < limit:
                line = int(np.searchsorted(self._starts, position + (pattern[0] == "\n"), "right")) - 1
                found[line] = None
                position = self._text.find(pattern, int(self._starts[line + 1]) - 1)
        return [self.items[line] for line in found]


def _fold(text: str) -> str:
    """Without case; one line."""
    return " ".join(text.casefold().split())
