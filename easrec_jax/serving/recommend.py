"""Recommending from a saved model: raw ids in, raw ids and scores out. Needs no training code and no optimiser."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import numpy as np
from jax import Array

from easrec_jax.data.batches import Samples, bucket_lengths
from easrec_jax.data.interactions import Interactions
from easrec_jax.models.network import Network, item_table
from easrec_jax.precision import methods_in_float32
from easrec_jax.serving.arguments import check_histories, check_ids, whole_k
from easrec_jax.serving.artifact import Model, load_model
from easrec_jax.serving.export import export_file
from easrec_jax.serving.forks import refuse_fork
from easrec_jax.serving.programs import programs
from easrec_jax.serving.streaming import Stream, load_stream, new_stream, push, save_stream

EVENTS = (
    4096  # events a device call at most, padding included: larger batches leave the processor's cache and are slower
)
LARGEST_WEIGHT = 1e15  # products of larger ones leave float32

Answers = list[list[tuple[str, float]]]
OnUnknown = str  # "skip", "error" or "popular"


@methods_in_float32
class Recommender:
    """A trained network with its ids. Shapes are bucketed, so requests of any size compile a few programs once.

    Attributes: `architecture`, `item_ids` (raw ids and inner ids), `results` (figures with their protocol), `titles`
    (raw id -> text to show, may be empty). It pickles; in a process forked after JAX had started it raises `RuntimeError`.
    """

    def __init__(self, model: Model) -> None:
        refuse_fork()
        _check_sizes(model.weights)
        self.architecture = model.architecture
        self.item_ids = model.item_ids
        self.results = model.results
        self.titles = model.titles
        self.popularity = model.popularity
        self.fingerprint = model.fingerprint
        self.network: Any = Network(model.architecture, len(model.item_ids))
        self._weights = jax.device_put(model.weights)
        self.programs = programs(self.network)
        self._lengths = np.array(bucket_lengths(self.architecture.max_length))
        self._no_offsets = jax.device_put(np.zeros(len(self.item_ids) + 1, np.float32))

    @classmethod
    def load(cls, folder: str | Path) -> Recommender:
        """Read a model folder that `bin/retrain.py` wrote; errors name the file at fault."""
        refuse_fork()
        return cls(load_model(folder))

    @property
    def weights(self) -> dict:
        """The parameters, on the device: what every call begins with."""
        refuse_fork()
        return self._weights

    def __reduce__(self) -> tuple:
        weights = jax.tree.map(np.asarray, self.weights)
        about = (self.popularity, self.results, self.titles, self.fingerprint)
        return Recommender, (Model(self.architecture, weights, self.item_ids, *about),)

    def __repr__(self) -> str:
        last = self.architecture.max_length
        return (
            f"<Recommender of {len(self.item_ids)} items: {self.architecture.describe()}, reads the last {last} events>"
        )

    # ------------------------------------------------------------------------------------------------------- whole histories

    def recommend(
        self,
        histories: Sequence[Sequence[Any]],
        k: SupportsIndex = 10,
        *,
        exclude_seen: bool = True,
        allow: Iterable[Any] | None = None,
        deny: Iterable[Any] | None = None,
        on_unknown: OnUnknown = "skip",
    ) -> Answers:
        """The k best next items of each history, as (raw item id, score), best first.

        A history is a time-ordered sequence of raw item ids, of any user, known or new; its last N events are read.
        `exclude_seen` leaves out the items of the whole history, `deny` those items, `allow` all but those items; what
        is left may be fewer than k. An empty history is answered by popularity, with a warning (scores: interactions).
        Unknown ids, those of `allow` too: "skip" warns and uses the rest, "error" raises; a history of unknown ids alone is
        answered by an empty list and a warning, with "popular" by popularity. Unknown ids in `deny` change nothing. Raises
        `ValueError` on a k that is not 1 to the number of items, and on tables and arrays of more axes than one.
        """
        k = self._check_k(k)
        offsets = self._offsets(allow, deny, on_unknown)
        encoded = self._encode(histories, on_unknown)
        ends = np.cumsum([0, *map(len, encoded)])
        flat = np.concatenate([*encoded, np.zeros(1, np.int32)])
        scores, best = self.top_items(flat, ends, k, exclude_seen=exclude_seen, offsets=offsets)
        answers = self._decode(scores, best)
        empty = [
            n for n in np.flatnonzero(np.diff(ends) == 0).tolist() if on_unknown != "skip" or not len(histories[n])
        ]
        if empty:
            warnings.warn(f"{len(empty)} histories without a known item: answered by popularity", stacklevel=2)
        for number in empty:
            answers[number] = self._popular(k, offsets)
        return answers

    def recommend_users(
        self, data: Interactions, users: Sequence[Any], k: SupportsIndex = 10, **options: Any
    ) -> Answers:
        """As `recommend`, with its options, for users of `data` by raw user id. Raises `ValueError` naming those it has not."""
        return self.recommend(data.histories_of(users), k, **options)

    def top_items(
        self, items: np.ndarray, ends: np.ndarray, k: int, *, exclude_seen: bool = True, offsets: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(scores, inner ids), [users k] each, of many users in arrays: user u's history is `items[ends[u]:ends[u + 1]]`.

        Inner ids in, inner ids out; score -inf where nothing is left or the history is empty. `offsets` [items + 1] are
        added to all scores.
        """
        offsets = self._no_offsets if offsets is None else offsets
        scores = np.full((len(ends) - 1, k), -np.inf, np.float32)
        best = np.zeros((len(ends) - 1, k), np.int32)
        top = min(1 << (k - 1).bit_length(), len(self.item_ids))
        pending: list = []
        for index, batch in self.batches(items, ends):
            seen = self._seen(items, ends, index, batch) if exclude_seen else np.zeros((len(batch), 1), np.int32)
            pending.append((index, self.programs.top(self.weights, batch, seen, offsets, k=top)))
            if len(pending) > 2:  # the host prepares and unpacks while the device computes; memory stays bounded
                _unpack(pending.pop(0), scores, best, k)
        for done in pending:
            _unpack(done, scores, best, k)
        return scores, best

    def embed(self, histories: Sequence[Sequence[Any]], *, on_unknown: OnUnknown = "skip") -> np.ndarray:
        """float32 [histories width]: what each history is to the model; its inner product with an item vector is a score.

        A history without a known item is a row of zeros, with a warning unless it is empty.
        """
        return self._hidden(self._encode(histories, on_unknown))

    def item_vectors(self) -> tuple[tuple[str, ...], np.ndarray]:
        """(raw ids, float32 [items width]): the vectors that score, for an index outside."""
        return self.item_ids.raw, np.asarray(item_table(self.weights))[1:]

    def score(
        self, history: Sequence[Any], candidates: Sequence[Any], *, on_unknown: OnUnknown = "skip"
    ) -> list[float | None]:
        """The score of each candidate as the next item of one history, for re-ranking; None for an unknown candidate.

        An empty history scores by popularity, with a warning (scores: interactions), as in `recommend`; one of unknown ids
        alone scores nothing (None for every candidate), with on_unknown "popular" by popularity.
        """
        inner = self._inner(candidates, on_unknown, "candidates")
        encoded = self._encode([history], on_unknown)
        if len(encoded[0]):
            scores = np.asarray(item_table(self.weights))[inner] @ self._hidden(encoded)[0]
        elif len(history) and on_unknown == "skip":
            return [None] * len(inner)
        else:
            warnings.warn("a history without a known item: scored by popularity", stacklevel=2)
            scores = self.popularity[inner]
        return [float(score) if item else None for score, item in zip(scores, inner, strict=True)]

    def similar(self, items: Sequence[Any], k: SupportsIndex = 10) -> Answers:
        """The k items nearest to each item, as (raw item id, cosine of the item vectors). Raises `ValueError` on unknown ids."""
        inner = self._inner(items, "error", "items")
        k = min(self._check_k(k), len(self.item_ids) - 1)
        if not len(inner) or not k:
            return [[] for _ in inner]
        padded = np.pad(inner, (0, (1 << (len(inner) - 1).bit_length()) - len(inner)))
        top = min(1 << (k - 1).bit_length(), len(self.item_ids))
        cosines, best = (np.asarray(x)[: len(inner), :k] for x in self.programs.nearest(self.weights, padded, k=top))
        return self._decode(cosines, best)

    # --------------------------------------------------------------------------------------------------- one event at a time

    def start(self, histories: Sequence[Sequence[Any]], *, on_unknown: OnUnknown = "popular") -> Stream:
        """A batch of users after their histories (empty ones too), from which `update` goes on at constant work an event.

        A history without a known item begins like an empty one. Raises `ValueError` where the attention is bidirectional:
        it cannot stream.
        """
        encoded = self._encode(histories, "popular" if on_unknown == "skip" else on_unknown)
        return new_stream(self.network, self.weights, encoded)

    def update(self, stream: Stream, items: Sequence[Any], *, on_unknown: OnUnknown = "skip") -> Stream:
        """The users after one more event each; None leaves a user as it is, an unknown id too, with a warning.

        Answers equal those of `recommend` on the same events. When a history has grown to N events, it is cut to its
        latest N/2 and goes on from there, so work and memory stay bounded; `stream.count` says how many events count.
        """
        check_ids(items, "items")
        if len(items) != len(stream.count):
            raise ValueError(f"items: expected one for each of {len(stream.count)} users, got {len(items)}")
        given = [item for item in items if item is not None]
        inner = np.zeros(len(items), np.int32)
        inner[[item is not None for item in items]] = self._inner(given, on_unknown, "items")
        return push(self.network, self.weights, stream, inner)

    def recommend_from(
        self,
        stream: Stream,
        k: SupportsIndex = 10,
        *,
        exclude_seen: bool = True,
        allow: Iterable[Any] | None = None,
        deny: Iterable[Any] | None = None,
    ) -> Answers:
        """As `recommend`, for the users of a stream; `exclude_seen` leaves out the events that the stream still counts.

        Users without an event yet are answered by popularity, without a warning: a session begins like that.
        """
        k = self._check_k(k)
        offsets = self._offsets(allow, deny, "skip")
        seen = stream.recent if exclude_seen else np.zeros((len(stream.count), 1), np.int32)
        top = min(1 << (k - 1).bit_length(), len(self.item_ids))
        scores, best = self.programs.top_of_hidden(self.weights, stream.hidden, seen, offsets, k=top)
        answers = self._decode(finite(np.asarray(scores)[:, :k]), np.asarray(best)[:, :k])
        for number in np.flatnonzero(stream.count == 0):
            answers[number] = self._popular(k, offsets)
        return answers

    def save_stream(self, path: str | Path, stream: Stream) -> None:
        """Write a stream to one .npz file, aside and renamed."""
        save_stream(Path(path), stream, self.fingerprint)

    def load_stream(self, path: str | Path) -> Stream:
        """Read what `save_stream` wrote. Raises `ValueError` naming the file if it is damaged or another model's."""
        return load_stream(Path(path), self.network, self.weights, self.fingerprint)

    def export(self, path: str | Path, k: SupportsIndex = 10, *, exclude_seen: bool = True) -> None:
        """Write one `jax.export` file that answers without this library, and the item ids beside it (see `easrec_jax.serving.export`)."""
        export_file(
            self.network, self.weights, self.item_ids, Path(path), k=self._check_k(k), exclude_seen=exclude_seen
        )

    # -------------------------------------------------------------------------------------------------------------- the pieces

    def warm_up(self, k: int = 10, rows: int = 1) -> None:
        """Compile what requests of up to `rows` users will need, before the first one comes."""
        item = self.item_ids.raw[0]
        for length in self._lengths:
            for power in range((rows - 1).bit_length() + 1):
                self.recommend([[item] * int(length)] * (1 << power), k)

    def _check_k(self, k: Any) -> int:
        return whole_k(k, len(self.item_ids))

    def _offsets(self, allow: Iterable[Any] | None, deny: Iterable[Any] | None, on_unknown: str) -> Any:
        """0 for items that may be recommended, -inf for the others, [items + 1]."""
        if allow is None and deny is None:
            return self._no_offsets
        offsets = np.full(len(self.item_ids) + 1, 0.0 if allow is None else -np.inf, np.float32)
        if allow is not None:
            offsets[self._inner(allow, on_unknown, "allow")] = 0.0
        if deny is not None:
            check_ids(deny, "deny")
            offsets[self.item_ids.encode(list(deny))] = -np.inf  # what is unknown is never recommended anyway
        return offsets

    def _inner(self, ids: Iterable[Any], on_unknown: str, what: str) -> np.ndarray:
        """Inner ids of the argument `what`, 0 where unknown: with a warning, or an error."""
        check_ids(ids, what)
        ids = list(ids)
        inner = self.item_ids.encode(ids)
        if not inner.all():
            shown = _shown(ids, inner)
            if on_unknown == "error":
                raise ValueError(f"{what}: unknown items {shown}")
            warnings.warn(f"{what}: skipped {np.count_nonzero(inner == 0)} unknown items: {shown}", stacklevel=4)
        return inner

    def _encode(self, histories: Sequence[Sequence[Any]], on_unknown: str) -> list[np.ndarray]:
        """Inner ids of each history without the unknown ones: with a warning, or an error."""
        if on_unknown not in ("skip", "error", "popular"):
            raise ValueError(f"on_unknown: expected 'skip', 'error' or 'popular', got {on_unknown!r}")
        check_histories(histories)
        encoded, skipped, count, lost = [], [], 0, []
        for number, history in enumerate(histories):
            ids = self.item_ids.encode(history)
            if not ids.all():
                shown = _shown(history, ids)
                if on_unknown == "error":
                    raise ValueError(f"history {number}: unknown items {shown}")
                if on_unknown == "skip" and not ids.any():
                    lost.append(f"history {number} ({shown})")
                else:
                    skipped.append(shown)
                    count += np.count_nonzero(ids == 0)
                ids = ids[ids > 0]
            encoded.append(ids)
        if skipped:
            warnings.warn(f"skipped {count} unknown items: {', '.join(skipped[:5])}", stacklevel=3)
        if lost:
            more = ", ..." if len(lost) > 5 else ""
            warnings.warn(f"no known item, so no answer: {', '.join(lost[:5])}{more}", stacklevel=3)
        return encoded

    def _hidden(self, encoded: list[np.ndarray]) -> np.ndarray:
        """float32 [histories width] of inner ids; zeros for an empty history."""
        ends = np.cumsum([0, *map(len, encoded)])
        flat = np.concatenate([*encoded, np.zeros(1, np.int32)])
        vectors = np.zeros((len(encoded), self.architecture.width), np.float32)
        for index, batch in self.batches(flat, ends):
            vectors[index] = finite(np.asarray(self.programs.hidden(self.weights, batch))[: len(index)])
        return vectors

    def batches(self, items: np.ndarray, ends: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(indices of users, inner ids [rows length]) in static shapes: lengths in four sizes, rows in powers of two.

        The arguments are those of `top_items`; users without events are left out.
        """
        users = Samples(items, np.maximum(ends[:-1], ends[1:] - self.architecture.max_length), ends[1:], False)
        lengths = users.stop - users.start
        buckets = np.searchsorted(self._lengths, lengths)
        for bucket in np.unique(buckets[lengths > 0]):
            chosen = np.flatnonzero((buckets == bucket) & (lengths > 0))
            length = int(self._lengths[bucket])
            most = 1 << (max(EVENTS // length, 1).bit_length() - 1)
            for first in range(0, len(chosen), most):
                index = chosen[first : first + most]
                yield index, users.batch(index, length, 1 << (len(index) - 1).bit_length()).items

    def _seen(self, items: np.ndarray, ends: np.ndarray, index: np.ndarray, batch: np.ndarray) -> np.ndarray:
        """What the users of a batch have seen, padded by 0: the batch itself, unless someone's history is longer."""
        longest = int((ends[index + 1] - ends[index]).max())
        if longest <= batch.shape[1]:
            return batch
        whole = Samples(items, ends[:-1], ends[1:], False)
        return whole.batch(index, 1 << (longest - 1).bit_length(), len(batch)).items

    def _decode(self, scores: np.ndarray, best: np.ndarray) -> Answers:
        """Raw ids and scores of each row, without the -inf ones."""
        real = np.isfinite(scores)
        names = iter(self.item_ids.decode(best[real]))
        return [[(next(names), score) for score in row[ok].tolist()] for row, ok in zip(scores, real, strict=True)]

    def _popular(self, k: int, offsets: Any) -> list[tuple[str, float]]:
        allowed = np.isfinite(np.asarray(offsets))[1:]
        order = np.argsort(-self.popularity[1:], kind="stable")
        best = order[allowed[order]][:k] + 1
        return list(zip(self.item_ids.decode(best), self.popularity[best].astype(float).tolist(), strict=True))


def _shown(ids: Iterable[Any], inner: np.ndarray) -> str:
    """The first unknown ids in a few characters."""
    missing = [str(raw)[:60] for raw, known in zip(ids, inner, strict=True) if known == 0]
    return ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")


def _check_sizes(weights: dict) -> None:
    """Raise `ValueError` naming a weight whose products would overflow: every score would be infinity or NaN."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        largest = float(np.abs(np.asarray(leaf)).max(initial=0.0))
        if not largest < LARGEST_WEIGHT:
            name = "/".join(str(getattr(part, "key", part)) for part in path)
            raise ValueError(
                f"weights: {name}: expected values below {LARGEST_WEIGHT:g}, got {largest:g}: scores would overflow"
            )


def finite(scores: np.ndarray) -> np.ndarray:
    """The scores, -inf being an item that may not be recommended. Raises `FloatingPointError` on NaN and on infinity."""
    if not scores.max(initial=-np.inf) < np.inf:  # NaN too
        raise FloatingPointError("the model's scores are NaN or infinite: its weights are too large, or damaged")
    return scores


def _unpack(done: tuple[np.ndarray, tuple[Array, Array]], scores: np.ndarray, best: np.ndarray, k: int) -> None:
    index, (values, items) = done
    scores[index] = finite(np.asarray(values)[: len(index), :k])
    best[index] = np.asarray(items)[: len(index), :k]
