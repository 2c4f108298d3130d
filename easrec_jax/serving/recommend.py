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
from easrec_jax.precision import check_values, methods_in_float32
from easrec_jax.serving.answer import Answers, by_popularity, most_popular, named, offsets_of_ids
from easrec_jax.serving.arguments import whole_k
from easrec_jax.serving.artifact import Model, load_model
from easrec_jax.serving.explain import Effect, effects_of, largest_first
from easrec_jax.serving.export import export_file
from easrec_jax.serving.forks import refuse_fork
from easrec_jax.serving.ids import OnUnknown, encode_histories, encode_ids, is_lost
from easrec_jax.serving.one import OneNetwork
from easrec_jax.serving.route import HOW_TO
from easrec_jax.serving.routed import RoutedNetworks
from easrec_jax.serving.shapes import flat, padded_ids, rounded_up, row_counts
from easrec_jax.serving.sizes import Size, cut, fingerprint_of, size_within
from easrec_jax.serving.stepwise import Stepwise
from easrec_jax.serving.when import timed_histories


@methods_in_float32
class Recommender(Stepwise):
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
            model = whole._model()
            routed = whole.route.ready(model.weights, whole.architecture, len(model.item_ids))
            about = {
                "results": whole.route.results(model.results),
                "fingerprint": whole.route.fingerprint(model.fingerprint),
            }
            whole._per_user = Recommender(model._replace(**about), whole, routed)
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
            weights, results = cut(self.weights, size.architecture), size.results(self.results)
            about = {
                "results": results,
                "fingerprint": fingerprint_of(self.fingerprint, size.architecture),
                "route": None,
            }
            model = self._model()._replace(architecture=size.architecture, weights=weights, **about)
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
        return Recommender, (self._model()._replace(weights=jax.tree.map(np.asarray, self.weights)),)

    def _model(self) -> Model:
        about = (self.popularity, self.results, self.titles, self.fingerprint, self.front, self.route)
        return Model(self.architecture, self.weights, self.item_ids, *about)

    def __repr__(self) -> str:
        last = self.architecture.max_length
        network = self.architecture.describe()
        return f"<Recommender of {len(self.item_ids)} items: {network}, reads the last {last} events>"

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
        if empty := [n for n in nobody if not is_lost(0, len(histories[n]), on_unknown)]:
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
            one = self._network_of(known)
            vectors = np.asarray(one.programs.vectors(one.weights, padded_ids(inner)))[: len(inner)]
            scores = vectors @ one.hidden(*flat(known))[0]
        elif is_lost(0, len(history), on_unknown):
            return [None] * len(inner)
        else:
            warnings.warn("a history without a known item: scored by popularity", stacklevel=2)
            scores = self.popularity[inner]
        return [float(score) if item else None for score, item in zip(scores, inner, strict=True)]

    def explain(self, history: Sequence[Any], item: Any, *, on_unknown: OnUnknown = "skip") -> list[Effect]:
        """The events of a history that the network reads, those first that raise the score of `item` most.

        An effect is the score less that without the event, all computed at once. That is true of any network; effects do not
        add up to the score. Unknown ids in the history are skipped, with a warning. Raises `ValueError` on an unknown item
        and where the history has fewer than two known events.
        """
        (inner,) = encode_ids(self.item_ids, [item], "error", "item")
        (known,) = encoded = encode_histories(self.item_ids, [history], on_unknown)
        effects = effects_of(self._network_of(encoded), known, int(inner))
        return largest_first(self.item_ids, self.item_ids.encode(history), effects)

    def _network_of(self, history: list[Any]) -> OneNetwork:
        """What answers the one history, of inner ids, with times or without."""
        return self.one if self.routed is None else self.routed.networks[self.routed.choose(*flat(history))[0]]

    def similar(self, items: Sequence[Any], k: SupportsIndex = 10) -> Answers:
        """The k items nearest to each item, as (raw item id, cosine of the item vectors). Raises `ValueError` on unknown ids."""
        inner = encode_ids(self.item_ids, items, "error", "items")
        k = min(whole_k(k, len(self.item_ids)), len(self.item_ids) - 1)
        return named(self.item_ids, *self.one.nearest(inner, k)) if len(inner) and k else [[] for _ in inner]

    def export(self, path: str | Path, k: SupportsIndex = 10, *, exclude_seen: bool = True) -> None:
        """Write one `jax.export` file that answers without this library, and the item ids beside it (see `easrec_jax.serving.export`)."""
        k = whole_k(k, len(self.item_ids))
        export_file(self.network, self.weights, self.item_ids, Path(path), k=k, exclude_seen=exclude_seen)

    def warm_up(self, k: int = 10, rows: int = 1) -> None:
        """Compile what requests of up to `rows` users will need, before the first one comes."""
        item = self.item_ids.raw[0]
        for length in self.lengths:
            for count in row_counts(rounded_up(rows)):
                self.recommend([[item] * length] * count, k)

    def _popular(self, k: int, offsets: np.ndarray | None) -> list[tuple[str, float]]:
        best = most_popular(self.ranking, k, offsets)
        return list(zip(self.item_ids.decode(best), self.popularity[best].astype(float).tolist(), strict=True))
