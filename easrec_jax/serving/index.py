"""An approximate index over the item vectors, for catalogues where scoring every item is too slow; needs faiss.

Vectors are grouped into about sqrt(items) lists by k-means (`IVF,Flat`, inner product); a query looks into the `probes`
nearest lists alone. How much that misses is measured when the index is built, against exact search, and stored beside it.

items.faiss   the index
index.json    format, the model's fingerprint, lists, probes, recall and on how many queries, times, checksum
"""

from __future__ import annotations

import json
import operator
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from easrec_jax.files import (
    check_digests,
    file_digests,
    read_json,
    standing_folder,
    whole_folder,
    write_bytes,
    write_text,
)
from easrec_jax.serving.answer import Answers, named
from easrec_jax.serving.arguments import whole_k
from easrec_jax.serving.ids import encode_histories, is_lost
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.shapes import flat

FORMAT = "easrec_jax index 1"


class IndexQuality(NamedTuple):
    """How an index compares with exact search."""

    k: int
    recall: float  # share of the exact top k that the index finds, mean over queries that did not choose `probes`
    queries: int
    lists: int
    probes: int
    exact_ms: float  # a query, one at a time, the search alone (faiss on the CPU both times)
    index_ms: float


class ItemIndex:
    """Top items by inner product through an index; answers are those of `Recommender.recommend`, but for the misses."""

    def __init__(self, recommender: Recommender, index: Any, measured: IndexQuality) -> None:
        self.recommender = recommender
        self.measured = measured
        self._index = index

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(scores, inner ids), [queries k] each, of vectors [queries width]; id 0 and -inf where fewer are found."""
        scores, rows = self._index.search(np.ascontiguousarray(vectors, np.float32), k)
        return np.where(rows < 0, -np.inf, scores).astype(np.float32), (rows + 1).astype(np.int32)

    def recommend(
        self, histories: Sequence[Sequence[Any]], k: int = 10, *, exclude_seen: bool = True, on_unknown: str = "skip"
    ) -> Answers:
        """As `Recommender.recommend`; what that answers by popularity, an empty history, raises `ValueError` here."""
        item_ids = self.recommender.item_ids
        k = whole_k(k, len(item_ids))
        encoded = encode_histories(item_ids, histories, on_unknown)
        lost = [n for n, known in enumerate(encoded) if not len(known)]
        if not all(is_lost(0, len(histories[n]), on_unknown) for n in lost):
            raise ValueError("histories: expected at least one known item in each, an index knows no popularity")
        if not encoded:
            return []
        seen = [np.unique(history) for history in encoded] if exclude_seen else []
        more = min(k + max(map(len, seen), default=0), len(item_ids))
        scores, best = self.search(self.recommender.hidden(*flat(encoded)), more)
        scores[lost] = -np.inf
        for row, items in enumerate(seen):
            scores[row, np.isin(best[row], items)] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return named(item_ids, np.take_along_axis(scores, order, 1), np.take_along_axis(best, order, 1))

    def save(self, folder: str | Path) -> None:
        """Write the index and what was measured; the folder appears whole, or the old one stays."""
        import faiss

        with whole_folder(Path(folder)) as aside:
            write_bytes(aside / "items.faiss", faiss.serialize_index(self._index).tobytes())
            about = {"format": FORMAT, "model": self.recommender.fingerprint, **self.measured._asdict()}
            about["sha256"] = file_digests(aside)
            write_text(aside / "index.json", json.dumps(about, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path, recommender: Recommender) -> ItemIndex:
        """Read what `save` wrote. Raises `ValueError` naming a file that is damaged, or built for another model."""
        faiss = _faiss()
        folder = standing_folder(Path(folder))
        path = folder / "index.json"
        about = read_json(path)
        if about.get("format") != FORMAT:
            raise ValueError(f"{path}: expected the format {FORMAT!r}, got {about.get('format')!r}")
        if about.get("model") != recommender.fingerprint:
            raise ValueError(f"{path}: the index is another model's; build it anew")
        check_digests(folder, about.get("sha256"), source=path, needed=["items.faiss"])
        try:
            measured = IndexQuality(*(about[name] for name in IndexQuality._fields))
            index = faiss.deserialize_index(np.frombuffer((folder / "items.faiss").read_bytes(), np.uint8))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{folder}: not an index: {error}") from None
        if (index.ntotal, index.d) != (len(recommender.item_ids), recommender.architecture.width):
            raise ValueError(f"{folder / 'items.faiss'}: expected one vector an item, got {index.ntotal} x {index.d}")
        return cls(recommender, index, measured)


def build_index(
    recommender: Recommender,
    histories: Sequence[Sequence[Any]] | None = None,
    *,
    k: int = 10,
    recall: float = 0.95,
    lists: int | None = None,
    seed: int = 0,
) -> ItemIndex:
    """Build the index and measure recall@k against exact search.

    `histories` are the sample queries, two at least (None: 2,000 made up, items drawn by popularity). On one half of them
    `probes` is doubled until the recall reaches `recall`; on the other half it is measured. `lists` defaults to the
    square root of the number of items. Raises `ImportError` without faiss (extra `faiss`).
    """
    faiss = _faiss()
    k = whole_k(k, len(recommender.item_ids))
    if not 0 < recall <= 1:
        raise ValueError(f"recall: expected a share in (0, 1], got {recall}")
    vectors = recommender.item_vectors()[1]
    lists = max(1, round(len(vectors) ** 0.5)) if lists is None else operator.index(lists)
    if not 1 <= lists <= len(vectors):
        raise ValueError(f"lists: expected 1 to {len(vectors)} (the number of items), got {lists}")
    histories = made_up_histories(recommender, 2_000, seed) if histories is None else histories
    if len(histories) < 2:
        raise ValueError(f"histories: expected at least two sample queries, got {len(histories)}")
    queries = recommender.embed(histories, on_unknown="popular")
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.min_points_per_centroid = seed + 1, 1
    index.train(vectors)
    index.add(vectors)
    truth = exact.search(queries, k)[1]
    half = len(queries) // 2
    probes = 1
    while True:
        index.nprobe = probes
        if probes == lists or _recall(index, queries[:half], truth[:half]) >= recall:
            break
        probes = min(2 * probes, lists)
    measured = IndexQuality(
        k, _recall(index, queries[half:], truth[half:]), len(queries) - half, lists, probes,
        _milliseconds(exact, queries, k), _milliseconds(index, queries, k),
    )  # fmt: skip
    return ItemIndex(recommender, index, measured)


def made_up_histories(recommender: Recommender, count: int, seed: int) -> list[list[str]]:
    """Histories of mixed length, items drawn by their popularity: queries, where there are no real ones."""
    rng = np.random.default_rng(seed)
    weight = recommender.popularity[1:] + 1.0
    lengths = rng.integers(1, recommender.architecture.max_length + 1, count)
    drawn = rng.choice(len(weight), int(lengths.sum()), p=weight / weight.sum())
    raw = recommender.item_ids.raw
    ends = np.cumsum([0, *lengths])
    return [[raw[item] for item in drawn[a:b]] for a, b in zip(ends[:-1], ends[1:], strict=True)]


def known_histories(recommender: Recommender, histories: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The histories without unknown items, those with no others left out: with a warning that counts both."""
    encode = recommender.item_ids.encode
    known = [[item for item, inner in zip(h, encode(h), strict=True) if inner] for h in histories]
    left = [items for items in known if items]
    if unknown := sum(map(len, histories)) - sum(map(len, known)):
        users = len(histories) - len(left)
        warnings.warn(f"left out {unknown:,} events of unknown items, and {users:,} users with no others", stacklevel=2)
    return left


def _recall(index: Any, queries: np.ndarray, truth: np.ndarray) -> float:
    found = index.search(queries, truth.shape[1])[1]
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, truth, strict=True)]))


def _milliseconds(index: Any, queries: np.ndarray, k: int) -> float:
    """Median time of a query on its own."""
    spent = []
    for query in queries[:200]:
        begun = time.perf_counter()
        index.search(query[None], k)
        spent.append(time.perf_counter() - begun)
    return float(np.median(spent)) * 1e3


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ImportError('an index needs faiss: pip install "easrec_jax[faiss]"') from None
    return faiss
