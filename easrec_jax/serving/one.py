"""One network that answers: whole histories and streams in, the best items out, in inner ids and static shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from easrec_jax.data.batches import bucket_lengths
from easrec_jax.data.clock import Events, TimedHistory, items_of
from easrec_jax.models.kinds import Served
from easrec_jax.precision import methods_in_float32
from easrec_jax.serving.answer import fetched, hidden_states, pipelined
from easrec_jax.serving.forks import refuse_fork
from easrec_jax.serving.programs import programs
from easrec_jax.serving.shapes import padded_ids, rounded_up, rows_of_events, seen_items, user_batches
from easrec_jax.serving.streaming import Stream, check_stream, load_stream, new_stream, push, requests_at, save_stream

Top = tuple[np.ndarray, np.ndarray]  # (scores, inner ids), [users k] each


@methods_in_float32
class OneNetwork:
    """A network, its weights on the device, and its compiled programs."""

    def __init__(self, network: Served, weights: dict) -> None:
        self.network, self._weights = network, jax.device_put(weights)
        self.programs = programs(network)
        self.num_items = network.num_items
        self.lengths = bucket_lengths(network.architecture.max_length)
        self.no_offsets = jax.device_put(np.zeros(self.num_items + 1, np.float32))

    @property
    def weights(self) -> dict:
        """The parameters, on the device: what every call begins with."""
        refuse_fork()
        return self._weights

    def top_items(
        self, items: Events, ends: np.ndarray, k: int, *, exclude_seen: bool = True, offsets: Any = None
    ) -> Top:
        """The best items of user u, whose history is `items[ends[u]:ends[u + 1]]`; -inf where nothing is left or it is empty.

        Of a network that reads times `items` may be `Timed`, as `shapes.flat` has it; of ids alone no time is known.
        """
        scores, best = nothing(len(ends) - 1, k)
        calls = self.calls(items, ends, k, exclude_seen=exclude_seen, offsets=offsets)
        for index, top in pipelined(calls):
            scores[index], best[index] = fetched(top, len(index), k)
        return scores, best

    def calls(
        self, items: Events, ends: np.ndarray, k: int, *, exclude_seen: bool, offsets: Any
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """(indices of users, a device call's answer), call by call."""
        added, size = self.no_offsets if offsets is None else offsets, rounded_up(k, self.num_items)
        for index, batch in self.batches(items, ends):
            seen = (
                seen_items(items, ends, index, batch) if exclude_seen else np.zeros((len(items_of(batch)), 1), np.int32)
            )
            yield index, self.programs.top(self.weights, *self.put((batch, seen)), added, k=size)

    def put(self, arrays: Any) -> Any:
        """Arrays [rows ...] of a call where it computes: as they are, the call takes them to its device."""
        return arrays

    def batches(self, items: Events, ends: np.ndarray) -> Iterator[tuple[np.ndarray, Events]]:
        """(indices of users, inner ids [rows length]) in static shapes: lengths in four sizes, rows in powers of two.

        The arguments are those of `top_items`; users without events are left out.
        """
        return user_batches(items, ends, self.lengths, rows_of_events)

    def hidden(self, items: Events, ends: np.ndarray) -> np.ndarray:
        """float32 [users width], what each history is to the network; zeros for an empty one."""
        batches = ((index, self.put(batch)) for index, batch in self.batches(items, ends))
        return hidden_states(self.programs, self.weights, batches, len(ends) - 1)

    def start(self, histories: Sequence[np.ndarray | TimedHistory]) -> Stream:
        """The stream of users with these histories of inner ids."""
        return new_stream(self.network, self.weights, histories)

    def push(self, stream: Stream, items: np.ndarray, times: np.ndarray | None = None) -> Stream:
        """The stream after one more event a user, inner ids [users]; 0 leaves a user as it is. `times`: of the events, NaN unknown."""
        return push(self.network, self.weights, stream, items, times)

    def top_from(
        self, stream: Stream, k: int, *, exclude_seen: bool = True, offsets: Any = None, now: np.ndarray | None = None
    ) -> Top:
        """As `top_items`, for the users of a stream; `exclude_seen` leaves out the events that the stream still counts.

        `now` [users]: when it is asked for, seconds since 1970, NaN unknown.
        """
        seen = stream.recent if exclude_seen else np.zeros((len(stream.count), 1), np.int32)
        added = self.no_offsets if offsets is None else offsets
        size = rounded_up(k, self.num_items)
        top = self.programs.top_of_hidden(self.weights, self.asked(stream, now), seen, added, k=size)
        return fetched(top, len(stream.count), k)

    def asked(self, stream: Stream, now: np.ndarray | None = None) -> Any:
        """float32 [users width], what the histories of a stream are to the network, asked at that time."""
        if stream.clock is None:
            return stream.hidden
        return self.programs.read_out(self.weights, stream.hidden, requests_at(stream, now))

    def nearest(self, items: np.ndarray, k: int) -> Top:
        """(cosines, inner ids), [items k] each: the k items nearest to each, its own left out."""
        size = rounded_up(k, self.num_items)
        return fetched(self.programs.nearest(self.weights, padded_ids(items), k=size), len(items), k)

    def check(self, stream: Any) -> None:
        """Raise `ValueError` where a stream is another network's."""
        check_stream(stream, self.network.architecture)

    def save(self, path: Path, stream: Stream, fingerprint: str) -> None:
        """Write a stream."""
        save_stream(path, stream, fingerprint)

    def load(self, path: Path, fingerprint: str) -> Stream:
        """What `save` wrote; `ValueError` names a file that is damaged, or of another model."""
        return load_stream(path, self.network, self.weights, fingerprint)


def nothing(users: int, k: int) -> Top:
    """The answer to users of whom nothing is known."""
    return np.full((users, k), -np.inf, np.float32), np.zeros((users, k), np.int32)
