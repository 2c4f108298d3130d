"""Recommending from a saved model: raw ids in, raw ids and scores out. Needs no training code and no optimiser."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex

import jax
import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.data.clock import Events, items_of
from easrec_jax.data.interactions import Interactions
from easrec_jax.models.kinds import network_of
from easrec_jax.models.network import item_table
from easrec_jax.precision import methods_in_float32
from easrec_jax.serving.answer import Answers, by_popularity, fetched, most_popular, named, offsets_of_ids
from easrec_jax.serving.arguments import check_ids, whole_k
from easrec_jax.serving.artifact import Model, load_model
from easrec_jax.serving.export import export_file
from easrec_jax.serving.forks import refuse_fork
from easrec_jax.serving.ids import OnUnknown, encode_histories, encode_ids, is_lost
from easrec_jax.serving.one import OneNetwork, check_values
from easrec_jax.serving.route import HOW_TO
from easrec_jax.serving.routed import RoutedNetworks, RoutedStream
from easrec_jax.serving.shapes import flat, padded_ids, rounded_up, row_counts
from easrec_jax.serving.sizes import Size, cut, fingerprint_of, size_within
from easrec_jax.serving.streaming import Stream
from easrec_jax.serving.when import stamps_of, timed_histories

AnyStream = Stream | RoutedStream


@methods_in_float32
class Recommender:
    """A trained network with its ids. Shapes are bucketed, so requests of any size compile a few programs once.

    Attributes: `architecture`, `item_ids` (raw ids and inner ids), `results` (figures with their protocol), `titles`
    (raw id -> text to show, may be empty), `popularity` (interactions by inner id), `front` (the sizes of an elastic model,
    the cheapest first), `cost` (FLOPs over the largest size's), `route` (what chooses a size for each user, if there is one) and
    `routed` (that, where it answers). It pickles; in a process forked after JAX had started it
    raises `RuntimeError`.
    """

    def __init__(self, model: Model, whole: Recommender | None = None, routed: RoutedNetworks | None = None) -> None:
        """`whole`: that of the largest size, of which the model is another. `routed`: what answers, a network for each user."""
        refuse_fork()
        if whole is None:
            check_values(model.weights)
        self._whole = whole or self
        self._sizes: dict[Architecture, Recommender] = {}  # of the whole: its others, once asked for
        self._per_user: Recommender | None = None  # the same
        self.front = model.front
        self.route = model.route
        self.routed = routed
        self.architecture = model.architecture
        self.item_ids = model.item_ids.in_memory()
        self.results = model.results
        self.titles = model.titles
        self.popularity = model.popularity
        self.fingerprint = model.fingerprint
        self.network = network_of(model.architecture, len(model.item_ids))
        self.one = self._one(model.weights)
        self.programs, self.lengths, self.no_offsets = self.one.programs, self.one.lengths, self.one.no_offsets

    @classmethod
    def load(cls, folder: str | Path, budget: SupportsFloat | None = None, *, per_user: bool = False) -> Recommender:
        """Read a model folder that `bin/retrain.py` wrote, and take `with_budget` of it, or `per_user`; errors name the file."""
        refuse_fork()
        if per_user and budget is not None:
            raise ValueError(f"budget: expected none with per_user, whose router has one of its own, got {budget!r}")
        whole = cls(load_model(folder))
        return whole.per_user() if per_user else whole.with_budget(budget)

    def per_user(self) -> Recommender:
        """An elastic model that answers each history by the size that its router chooses, of `bin/route.py`.

        It shares ids, titles and popularity, `results` are its own ("per_user": who gets what), and it is the same object each
        time. `recommend`, `score` and streams go by the router; `embed`, `item_vectors`, `similar` and `export` are the largest
        network's. Raises `ValueError` where the model has no router.
        """
        whole = self._whole
        if whole.route is None:
            raise ValueError(f"per_user: this model has no router; {HOW_TO}")
        if whole._per_user is None:
            assert isinstance(whole.architecture, Architecture)
            routed = whole.route.ready(whole.weights, whole.architecture, len(whole.item_ids))
            about = whole.route.results(whole.results), whole.titles, whole.route.fingerprint(whole.fingerprint)
            shared = (whole.item_ids, whole.popularity, *about, whole.front, whole.route)
            whole._per_user = Recommender(Model(whole.architecture, whole.weights, *shared), whole, routed)
        return whole._per_user

    def with_budget(self, budget: SupportsFloat | None) -> Recommender:
        """The most accurate network of an elastic model that costs at most `budget` of the largest one's FLOPs; None: the largest.

        It shares ids, titles and popularity, `results` are its own, and it is the same object each time, with its compiled
        programs. Raises `ValueError` where the budget is not in (0, 1], below the smallest network's cost, or the model is not
        elastic.
        """
        return self._whole if budget is None else self._whole._of_size(size_within(self.front, budget))

    def _of_size(self, size: Size) -> Recommender:
        if size.architecture == self.architecture:
            return self
        if size.architecture not in self._sizes:
            weights, about = cut(self.weights, size.architecture), size.results(self.results)
            shared = (self.item_ids, self.popularity, about, self.titles)
            name = fingerprint_of(self.fingerprint, size.architecture)
            model = Model(size.architecture, weights, *shared, name, self.front)
            self._sizes[size.architecture] = Recommender(model, self)
        return self._sizes[size.architecture]

    @property
    def cost(self) -> float:
        """FLOPs of a request over those of the largest network of its model; the mean of the test's users where a router chooses."""
        if self.routed is not None and self.route is not None:
            return self.route.described["cost"]["test"]
        return next((size.cost for size in self.front if size.architecture == self.architecture), 1.0)

    def _one(self, weights: dict) -> OneNetwork:
        return OneNetwork(self.network, weights)

    @property
    def weights(self) -> dict:
        """The parameters, on the device."""
        return self.one.weights

    @property
    def answering(self) -> Any:
        """What answers by the network, or by each user's: `OneNetwork` or `RoutedNetworks`."""
        return self.routed or self.one

    @cached_property
    def ranking(self) -> np.ndarray:
        """Inner ids, int32 [items], the most popular first."""
        return by_popularity(self.popularity)

    def __reduce__(self) -> tuple:
        if self.routed is not None:
            return Recommender.per_user, (self._whole,)
        if self._whole is not self:
            return Recommender.with_budget, (self._whole, self.cost)
        weights = jax.tree.map(np.asarray, self.weights)
        about = (self.popularity, self.results, self.titles, self.fingerprint, self.front, self.route)
        return Recommender, (Model(self.architecture, weights, self.item_ids, *about),)

    def __repr__(self) -> str:
        last = self.architecture.max_length
        network = self.architecture.describe()
        return f"<Recommender of {len(self.item_ids)} items: {network}, reads the last {last} events>"

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
        times: Any = None,
        now: Any = None,
    ) -> Answers:
        """The k best next items of each history, as (raw item id, score), best first.

        A history is a time-ordered sequence of raw item ids, of any user, known or new; its last N events are read.
        `exclude_seen` leaves out the items of the whole history, `deny` those items, `allow` all but those items; what
        is left may be fewer than k. An empty history is answered by popularity, with a warning (scores: interactions).
        Unknown ids, those of `allow` too: "skip" warns and uses the rest, "error" raises; a history of unknown ids alone is
        answered by an empty list and a warning, with "popular" by popularity. Unknown ids in `deny` change nothing. `times` and
        `now`, of a model that reads them: `when.timed_histories`; what is not given is taken for what it was in training, on average.
        Raises `ValueError` on a k that is not 1 to the number of items, and on tables and arrays of more axes than one.
        """
        k = whole_k(k, len(self.item_ids))
        offsets = offsets_of_ids(self.item_ids, allow, deny, on_unknown)
        encoded = encode_histories(self.item_ids, histories, on_unknown)
        items, ends = flat(timed_histories(self, histories, encoded, times, now))
        answers = named(self.item_ids, *self.top_items(items, ends, k, exclude_seen=exclude_seen, offsets=offsets))
        nobody = np.flatnonzero(np.diff(ends) == 0).tolist()
        empty = [n for n in nobody if not is_lost(0, len(histories[n]), on_unknown)]
        if empty:
            warnings.warn(f"{len(empty)} histories without a known item: answered by popularity", stacklevel=2)
        for number in empty:
            answers[number] = self._popular(k, offsets)
        return answers

    def recommend_users(
        self, data: Interactions, users: Sequence[Any], k: SupportsIndex = 10, **options: Any
    ) -> Answers:
        """As `recommend`, with its options, for users of `data` by raw user id, with its times if the model reads them and it has any.

        Raises `ValueError` naming those it has not.
        """
        if self.architecture.reads_times and data.times is not None:
            options = {"times": data.times_of(users)} | options
        return self.recommend(data.histories_of(users), k, **options)

    def top_items(
        self, items: Events, ends: np.ndarray, k: int, *, exclude_seen: bool = True, offsets: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(scores, inner ids), [users k] each, of many users in arrays: user u's history is `items[ends[u]:ends[u + 1]]`.

        Inner ids in, inner ids out; score -inf where nothing is left or the history is empty. `offsets` [items + 1] are
        added to all scores.
        """
        return self.answering.top_items(items, ends, k, exclude_seen=exclude_seen, offsets=offsets)

    def hidden(self, items: Events, ends: np.ndarray) -> np.ndarray:
        """As `embed`, float32 [users width], with the arguments of `top_items`."""
        return self.one.hidden(items, ends)

    def embed(
        self, histories: Sequence[Sequence[Any]], *, on_unknown: OnUnknown = "skip", times: Any = None, now: Any = None
    ) -> np.ndarray:
        """float32 [histories width]: what each history is to the model; its inner product with an item vector is a score.

        A history without a known item is a row of zeros, with a warning unless it is empty.
        """
        encoded = encode_histories(self.item_ids, histories, on_unknown)
        return self.hidden(*flat(timed_histories(self, histories, encoded, times, now)))

    def item_vectors(self) -> tuple[tuple[str, ...], np.ndarray]:
        """(raw ids, float32 [items width]): the vectors that score, for an index outside."""
        return tuple(self.item_ids.raw), np.asarray(item_table(self.weights))[1:]

    def score(
        self,
        history: Sequence[Any],
        candidates: Sequence[Any],
        *,
        on_unknown: OnUnknown = "skip",
        times: Any = None,
        now: Any = None,
    ) -> list[float | None]:
        """The score of each candidate as the next item of one history, for re-ranking; None for an unknown candidate.

        An empty history scores by popularity, with a warning (scores: interactions), as in `recommend`; one of unknown ids
        alone scores nothing (None for every candidate), with on_unknown "popular" by popularity.
        """
        inner = encode_ids(self.item_ids, candidates, on_unknown, "candidates")
        known: Any = encode_histories(self.item_ids, [history], on_unknown)
        known = timed_histories(self, [history], known, None if times is None else [times], now)
        if len(items_of(known[0])):
            one = self.one if self.routed is None else self.routed.networks[self.routed.choose(*flat(known))[0]]
            vectors = np.asarray(one.programs.vectors(one.weights, padded_ids(inner)))[: len(inner)]
            scores = vectors @ one.hidden(*flat(known))[0]
        elif is_lost(0, len(history), on_unknown):
            return [None] * len(inner)
        else:
            warnings.warn("a history without a known item: scored by popularity", stacklevel=2)
            scores = self.popularity[inner]
        return [float(score) if item else None for score, item in zip(scores, inner, strict=True)]

    def similar(self, items: Sequence[Any], k: SupportsIndex = 10) -> Answers:
        """The k items nearest to each item, as (raw item id, cosine of the item vectors). Raises `ValueError` on unknown ids."""
        inner = encode_ids(self.item_ids, items, "error", "items")
        k = min(whole_k(k, len(self.item_ids)), len(self.item_ids) - 1)
        if not len(inner) or not k:
            return [[] for _ in inner]
        size = rounded_up(k, len(self.item_ids))
        top = self.programs.nearest(self.weights, padded_ids(inner), k=size)
        return named(self.item_ids, *fetched(top, len(inner), k))

    # --------------------------------------------------------------------------------------------------- one event at a time

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

    def export(self, path: str | Path, k: SupportsIndex = 10, *, exclude_seen: bool = True) -> None:
        """Write one `jax.export` file that answers without this library, and the item ids beside it (see `easrec_jax.serving.export`)."""
        k = whole_k(k, len(self.item_ids))
        export_file(self.network, self.weights, self.item_ids, Path(path), k=k, exclude_seen=exclude_seen)

    # -------------------------------------------------------------------------------------------------------------- the pieces

    def warm_up(self, k: int = 10, rows: int = 1) -> None:
        """Compile what requests of up to `rows` users will need, before the first one comes."""
        item = self.item_ids.raw[0]
        for length in self.lengths:
            for count in row_counts(rounded_up(rows)):
                self.recommend([[item] * length] * count, k)

    def _popular(self, k: int, offsets: np.ndarray | None) -> list[tuple[str, float]]:
        best = most_popular(self.ranking, k, offsets)
        return list(zip(self.item_ids.decode(best), self.popularity[best].astype(float).tolist(), strict=True))
