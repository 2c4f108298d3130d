"""What the device thread does: jobs of many requests become a few device calls of shapes that were compiled before.

Rows come in powers of two up to `Limits.batch`, lengths in the recommender's four, k and the seen items in two sizes.
`programs_of` lists what each number of rows needs; `rows` is the largest number whose programs are there, and larger
batches are taken apart until more are. When all are there, nothing compiles any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from easrec_jax.data.clock import Timed, TimedHistory, items_of
from easrec_jax.http.sessions import Advance, Sessions
from easrec_jax.http.settings import Limits
from easrec_jax.models.network import item_table
from easrec_jax.serving.answer import fetched, finite, hidden_states, most_popular
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.routed import histories_of
from easrec_jax.serving.shapes import flat, padded_ids, rounded_up, row_counts, user_batches

SMALL_K = 16  # most requests ask for no more; larger k are answered from a second size


class TopItems(NamedTuple):
    """The best items of one user, best first."""

    items: np.ndarray  # int32 [found], inner ids; fewer than k where no more may be recommended
    scores: np.ndarray  # float32 [found]
    popular: bool  # no event is known: the scores are interactions


@dataclass(frozen=True)
class Selection:
    """How to choose: `offsets` [items + 1] are added to all scores (-inf: never), None for none."""

    k: int
    exclude_seen: bool = True
    offsets: np.ndarray | None = None


@dataclass(frozen=True)
class Recommend:
    """-> `TopItems` of each history (inner ids)."""

    histories: list[np.ndarray | TimedHistory]
    selection: Selection


@dataclass(frozen=True)
class Score:
    """-> float32 [candidates], of one history (inner ids)."""

    history: np.ndarray | TimedHistory
    candidates: np.ndarray


@dataclass(frozen=True)
class Similar:
    """-> `TopItems` of each item (inner ids), its scores being cosines."""

    items: np.ndarray
    k: int


@dataclass(frozen=True)
class Session:
    """-> (events that count, `TopItems` if there is a selection), of a session after further events; `fresh` starts it."""

    name: str
    events: np.ndarray
    selection: Selection | None = None
    fresh: bool = False
    client: str = ""  # who starts it


@dataclass(frozen=True)
class EndSession:
    """-> None."""

    name: str


class _Row(NamedTuple):
    """One user whose best items are asked for."""

    network: int
    hidden: np.ndarray  # of that network's width
    seen: np.ndarray
    selection: Selection


class Engine:
    """Answers batches of jobs; to be used by one thread. Without streaming attention, and with times, there is no `sessions`."""

    def __init__(self, recommender: Recommender, limits: Limits) -> None:
        self._recommender = recommender
        self._weights, self._programs = recommender.weights, recommender.programs
        self._routed = recommender.routed
        self._networks = (recommender.one,) if self._routed is None else self._routed.networks
        architecture = recommender.architecture
        length = architecture.max_length
        self.row_counts = row_counts(limits.batch)
        self._most = limits.batch
        self.rows = self.row_counts[0]  # of a device call, at most; grows with the warm-up
        self._num_items = len(recommender.item_ids)
        self._ks = self._sizes(SMALL_K, limits.k, self._num_items)
        self._seen = self._sizes(length, max(length, limits.history))
        # a network's own table is its first columns
        self._table = np.asarray(item_table(self._weights))
        self._popularity = recommender.popularity.astype(np.float32)
        self.sessions: Sessions | None = None
        self._reads_times = architecture.reads_times
        if architecture.causal and not self._reads_times:
            self.sessions = Sessions(limits.sessions, limits.session_seconds, limits.sessions_per_address)
            self._advance = Advance(recommender)

    @staticmethod
    def _sizes(small: int, large: int, most: int | None = None) -> list[int]:
        """A small size and one that holds everything: all that is ever compiled."""
        most = large if most is None else most
        return sorted({min(small, most), min(large, most)})

    # ------------------------------------------------------------------------------------------------------------------- jobs

    def run(self, jobs: Sequence[Any]) -> list[Any]:
        """One answer a job, in order; an exception is the answer of a job that cannot be done."""
        answers: list[Any] = [None] * len(jobs)
        rows: list[_Row] = []
        waiting: list[tuple[int, int, int]] = []  # (job, its first row, their number)
        self._run_sessions(jobs, answers, rows, waiting)
        whole = [n for n, job in enumerate(jobs) if isinstance(job, (Recommend, Score))]
        histories = [
            h for n in whole for h in (jobs[n].histories if isinstance(jobs[n], Recommend) else [jobs[n].history])
        ]
        hidden = iter(zip(self.encode(histories), histories, strict=True))
        for number in whole:
            job = jobs[number]
            if isinstance(job, Score):
                answers[number] = self._score(job, next(hidden)[0][1])
            else:
                waiting.append((number, len(rows), len(job.histories)))
                rows += [_Row(*state, items_of(h), job.selection) for state, h in islice(hidden, len(job.histories))]
        best = self.best(rows)
        for number, first, count in waiting:
            found = best[first : first + count]
            answers[number] = found if isinstance(jobs[number], Recommend) else (*answers[number], found[0])
        self._run_similar(jobs, answers)
        return answers

    def _run_sessions(self, jobs: Sequence[Any], answers: list, rows: list[_Row], waiting: list) -> None:
        """Sessions advance together, each at most once a round: two clicks of one user stay in order."""
        left = [n for n, job in enumerate(jobs) if isinstance(job, (Session, EndSession))]
        while left:
            names: set[str] = set()
            now, later = [], []
            for number in left:
                (later if jobs[number].name in names else now).append(number)
                names.add(jobs[number].name)
            self._session_round(jobs, now, answers, rows, waiting)
            left = later

    def _session_round(self, jobs: Sequence[Any], now: list[int], answers: list, rows: list, waiting: list) -> None:
        assert self.sessions is not None
        found: dict[int, Any] = {}
        for number in now:
            job = jobs[number]
            try:
                if isinstance(job, EndSession):
                    self.sessions.drop(job.name)
                else:
                    found[number] = self._advance.blank if job.fresh else self.sessions.get(job.name)
            except KeyError as error:
                answers[number] = error
        after = self._advance.advance(list(found.values()), [jobs[n].events for n in found], self.rows)
        for number, held in zip(found, after, strict=True):
            job, stream = jobs[number], held.stream
            self.sessions.put(job.name, held, job.client if job.fresh else None)
            answers[number] = (int(stream.count),)
            if job.selection is None:
                answers[number] += (None,)
            else:
                waiting.append((number, len(rows), 1))
                state = held.network, np.asarray(stream.hidden)
                rows.append(_Row(*state, stream.recent[: stream.count], job.selection))

    def _score(self, job: Score, hidden: np.ndarray) -> np.ndarray:
        if not len(items_of(job.history)):
            return self._popularity[job.candidates]
        return finite(self._table[job.candidates, : len(hidden)] @ hidden)

    def _run_similar(self, jobs: Sequence[Any], answers: list) -> None:
        chosen = [n for n, job in enumerate(jobs) if isinstance(job, Similar)]
        if not chosen:
            return
        items = np.concatenate([jobs[n].items for n in chosen])
        ks = np.concatenate([np.full(len(jobs[n].items), jobs[n].k) for n in chosen])
        found: list[TopItems] = []
        rows = self.rows
        for first in range(0, len(items), rows):
            part = items[first : first + rows]
            wanted = ks[first : first + rows]
            size = self._size(self._ks, int(wanted.max()))
            found += _unpack(self._programs.nearest(self._weights, padded_ids(part, self._most), k=size), wanted)
        answer = iter(found)
        for number in chosen:
            answers[number] = [next(answer) for _ in jobs[number].items]

    # ----------------------------------------------------------------------------------------------------------- device calls

    def encode(self, histories: Sequence[np.ndarray | TimedHistory]) -> list[tuple[int, np.ndarray]]:
        """(network, its hidden state [width]) after each history (inner ids); zeros after an empty one."""
        items, ends = flat(histories, timed=self._reads_times)
        rows = self.rows  # which the warm-up raises meanwhile

        def most(length: int) -> int:
            return rows

        choice = np.zeros(len(histories), np.int64)
        if self._routed is not None:
            choice = self._routed.choose(items, ends, most)
        found: list[Any] = [None] * len(histories)
        for number in np.unique(choice).tolist():
            one, users = self._networks[number], np.flatnonzero(choice == number)
            theirs = (items, ends) if len(users) == len(histories) else histories_of(items, ends, users)
            states = hidden_states(one.programs, one.weights, user_batches(*theirs, one.lengths, most), len(users))
            for user, state in zip(users.tolist(), states, strict=True):
                found[user] = number, state
        return found

    def best(self, rows: Sequence[_Row]) -> list[TopItems]:
        """The best items of each user; those without a known event are answered by popularity."""
        answers: list[Any] = [None] * len(rows)
        groups: dict[
            tuple[int, int], list[int]
        ] = {}  # users of a network whose scores get the same offsets share device calls
        for number, row in enumerate(rows):
            if len(row.seen):
                groups.setdefault((row.network, id(row.selection.offsets)), []).append(number)
            else:
                answers[number] = self._most_popular(row.selection)
        most = self.rows
        for group in groups.values():
            for first in range(0, len(group), most):
                chosen = group[first : first + most]
                for number, best in zip(chosen, self._best([rows[n] for n in chosen]), strict=True):
                    answers[number] = best
        return answers

    def _best(self, rows: list[_Row]) -> list[TopItems]:
        one = self._networks[rows[0].network]
        hidden = np.zeros((rounded_up(len(rows), self._most), len(rows[0].hidden)), np.float32)
        hidden[: len(rows)] = [row.hidden for row in rows]
        unseen = np.zeros(0, np.int32)
        histories = [row.seen if row.selection.exclude_seen else unseen for row in rows]
        seen = self._padded(histories, self._size(self._seen, max(map(len, histories))))
        ks = [row.selection.k for row in rows]
        offsets = rows[0].selection.offsets
        added = self._recommender.no_offsets if offsets is None else offsets
        size = self._size(self._ks, max(ks))
        return _unpack(one.programs.top_of_hidden(one.weights, hidden, seen, added, k=size), ks)

    def _most_popular(self, selection: Selection) -> TopItems:
        best = most_popular(self._recommender.ranking, selection.k, selection.offsets)
        return TopItems(best, self._popularity[best], True)

    def _padded(self, histories: list[np.ndarray], length: int) -> np.ndarray:
        """int32 [rows length], left-aligned, 0 padding."""
        batch = np.zeros((rounded_up(len(histories), self._most), length), np.int32)
        for row, history in zip(batch, histories, strict=False):
            row[: len(history)] = history
        return batch

    @staticmethod
    def _size(sizes: list[int], wanted: int) -> int:
        return next(size for size in sizes if size >= wanted)

    # ---------------------------------------------------------------------------------------------------------------- warm-up

    def programs_of(self, rows: int) -> list[Callable[[], Any]]:
        """Calls that compile all that device calls of so many rows need, one program each."""
        ones, no_offsets = np.ones(rows, np.int32), self._recommender.no_offsets
        whole: list[Any] = [np.ones((rows, length), np.int32) for length in self._recommender.lengths]
        if self._reads_times:
            whole = [Timed(x, np.zeros(x.shape, np.uint8), np.zeros((*x.shape, 3), np.uint8)) for x in whole]
        calls: list[Callable[[], Any]] = [partial(self._programs.nearest, self._weights, ones, k=k) for k in self._ks]
        if self._routed is not None:
            calls += [partial(self._routed.choices, batch) for batch in whole]
        for one in self._networks:
            hidden = np.zeros((rows, one.network.architecture.width), np.float32)
            calls += [partial(one.programs.hidden, one.weights, batch) for batch in whole]
            for k in self._ks:
                for size in self._seen:
                    seen = np.ones((rows, size), np.int32)
                    calls.append(partial(one.programs.top_of_hidden, one.weights, hidden, seen, no_offsets, k=k))
        if self.sessions is not None:
            calls += self._advance.programs_of(rows)
        return calls


def _unpack(top: Any, ks: Sequence[int] | np.ndarray) -> list[TopItems]:
    """The first k of each row, without those that may not be recommended."""
    answers = []
    for k, scores, items in zip(ks, *fetched(top, len(ks), int(max(ks))), strict=True):
        possible = np.isfinite(scores[:k])
        answers.append(TopItems(items[:k][possible], scores[:k][possible], False))
    return answers
