"""Users one event at a time: the part of a `Recommender` that starts streams, brings them forward and answers from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from easrec_jax.data.interactions import IdMap
from easrec_jax.precision import methods_in_float32
from easrec_jax.serving.answer import Answers, named, offsets_of_ids
from easrec_jax.serving.arguments import check_ids, whole_k
from easrec_jax.serving.ids import OnUnknown, encode_histories, encode_ids
from easrec_jax.serving.routed import RoutedStream
from easrec_jax.serving.streaming import Stream
from easrec_jax.serving.when import stamps_of, timed_histories

AnyStream = Stream | RoutedStream


@methods_in_float32
class Stepwise:
    """Streams of a recommender's users."""

    item_ids: IdMap
    architecture: Any
    fingerprint: str

    if TYPE_CHECKING:

        @property
        def answering(self) -> Any: ...  # noqa: D102
        def _popular(self, k: int, offsets: np.ndarray | None) -> list[tuple[str, float]]: ...

    def start(
        self, histories: Sequence[Sequence[Any]], *, on_unknown: OnUnknown = "popular", times: Any = None
    ) -> AnyStream:
        """A batch of users after their histories (empty ones too), from which `update` goes on at constant work an event.

        A history without a known item begins like an empty one. Raises `ValueError` where the attention is bidirectional:
        it cannot stream.
        """
        encoded = encode_histories(self.item_ids, histories, "popular" if on_unknown == "skip" else on_unknown)
        return self.answering.start(timed_histories(self, histories, encoded, times, None))

    def update(
        self, stream: AnyStream, items: Sequence[Any], *, on_unknown: OnUnknown = "skip", times: Any = None
    ) -> AnyStream:
        """The users after one more event each; None leaves a user as it is, an unknown id too, with a warning.

        Answers equal those of `recommend` on the same events. When a history has grown to N events, it is cut to its
        latest N/2 and goes on from there, so work and memory stay bounded; `stream.count` says how many events count. `times`: of the
        events, one a user, None where it is not known.
        """
        self.answering.check(stream)
        check_ids(items, "items")
        if len(items) != len(stream.count):
            raise ValueError(f"items: expected one for each of {len(stream.count)} users, got {len(items)}")
        given = [item for item in items if item is not None]
        inner = np.zeros(len(items), np.int32)
        inner[[item is not None for item in items]] = encode_ids(self.item_ids, given, on_unknown, "items")
        stamps = stamps_of(self, stream, times, "times")
        return self.answering.push(stream, inner, *([] if stamps is None else [stamps]))

    def recommend_from(
        self,
        stream: AnyStream,
        k: SupportsIndex = 10,
        *,
        exclude_seen: bool = True,
        allow: Iterable[Any] | None = None,
        deny: Iterable[Any] | None = None,
        now: Any = None,
    ) -> Answers:
        """As `recommend`, for the users of a stream; `exclude_seen` leaves out the events that the stream still counts.

        Users without an event yet are answered by popularity, without a warning: a session begins like that.
        """
        self.answering.check(stream)
        k = whole_k(k, len(self.item_ids))
        offsets = offsets_of_ids(self.item_ids, allow, deny, "skip")
        options = {} if (asked := stamps_of(self, stream, now, "now")) is None else {"now": asked}
        found = self.answering.top_from(stream, k, exclude_seen=exclude_seen, offsets=offsets, **options)
        answers = named(self.item_ids, *found)
        for number in np.flatnonzero(stream.count == 0):
            answers[number] = self._popular(k, offsets)
        return answers

    def save_stream(self, path: str | Path, stream: AnyStream) -> None:
        """Write a stream to one .npz file, aside and renamed."""
        self.answering.check(stream)
        self.answering.save(Path(path), stream, self.fingerprint)

    def load_stream(self, path: str | Path) -> AnyStream:
        """Read what `save_stream` wrote. Raises `ValueError` naming the file if it is damaged or another model's."""
        return self.answering.load(Path(path), self.fingerprint)
