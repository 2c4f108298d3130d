"""A router over the networks of an elastic one, whose weights stay as they are.

Its labels are what each network loses on a user's validation item: no network was trained on those, and a memorised training
item is no evidence that a user is easy. The router learns from most users' and is chosen by the others'; the test items are
not looked at. After training the scores get a price of FLOPs once more, so that the choices made of them, not only their
expectation, keep the budget; and networks that hardly anyone gets are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.architecture import Architecture
from easrec_jax.config import RouteConfig
from easrec_jax.data.batches import Samples, bucketed, scoring_samples
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.evaluate.likelihood import likelihood
from easrec_jax.evaluate.metrics import gains
from easrec_jax.models.corner import corner
from easrec_jax.models.cost import request_flops
from easrec_jax.models.encoder import Weights
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.router import Router
from easrec_jax.nas.route_step import Labelled, RouterState, menu_of, route_step
from easrec_jax.precision import in_float32
from easrec_jax.train.loop import QUIET, LoopState, Procedure, Run, run_epochs
from easrec_jax.train.step import optimizer

GUIDE = "full_unseen"  # the protocol of the guide's hits, as in CANet


class Elastic(NamedTuple):
    """One set of weights and the networks that are corners of it, the cheapest first."""

    largest: Architecture
    weights: Weights  # of `largest`
    networks: tuple[Architecture, ...]
    num_items: int

    def flops(self, router: Router | None = None) -> np.ndarray:
        """FLOPs of each network over the largest one's, the router's included; float64 [networks]."""
        more = router.flops if router is not None else 0
        each = [request_flops(network, self.num_items) + more for network in self.networks]
        return np.array(each, np.float64) / request_flops(self.largest, self.num_items)


class Outcomes(NamedTuple):
    """What every network is worth to each user on the held-out items of a part."""

    losses: np.ndarray  # float32 [users networks], cross entropy
    confidence: np.ndarray  # float32 [users networks], the highest probability of any item
    ranks: dict[str, np.ndarray]  # int64 [networks users 2] by protocol

    def gains(self, protocol: str) -> np.ndarray:
        """NDCG@10, float64 [users networks]."""
        return np.stack([gains(ranks)["ndcg@10"] for ranks in self.ranks[protocol]], 1)

    @property
    def hits(self) -> np.ndarray:
        """bool [users]: the cheapest network has the item among its first ten."""
        return gains(self.ranks[GUIDE][0])["recall@10"] > 0.5


class Routed(NamedTuple):
    """A trained router and the networks that it chooses from, the cheapest first."""

    router: Router
    weights: dict  # of the router
    networks: tuple[Architecture, ...]
    epoch: int
    price: float  # of FLOPs when training ended, in nats
    finished: bool  # False: interrupted


@in_float32
def outcomes(elastic: Elastic, evaluator: Evaluator, tell: Callable[[dict], Any] | None = None) -> Outcomes:
    """Measure every network on every user of the evaluator's part; `tell` hears how many are done."""
    evaluator = dataclasses.replace(evaluator, protocols=tuple(dict.fromkeys((*evaluator.protocols, GUIDE))))
    losses, confidence, ranks = [], [], []
    for number, network in enumerate(elastic.networks, 1):
        alone = network_scores(Network(network, elastic.num_items)), corner(elastic.weights, network)
        ranks.append(evaluator.ranks(*alone))
        for kept, values in zip((losses, confidence), likelihood(*alone, evaluator), strict=True):
            kept.append(values)
        if tell is not None:
            tell({"measured": f"{number}/{len(elastic.networks)}"})
    by_protocol = {name: np.stack([of[name] for of in ranks]) for name in evaluator.protocols}
    return Outcomes(np.stack(losses, 1), np.stack(confidence, 1), by_protocol)


@in_float32
def train_router(
    elastic: Elastic,
    evaluator: Evaluator,
    found: Outcomes,
    *,
    settings: RouteConfig,
    seed: int,
    run: Run = QUIET,
) -> Routed:
    """Train a router on `found`, the outcomes on the evaluator's part. Raises `ValueError` where no network keeps the budget."""
    router = Router.beside(
        elastic.largest, elastic.num_items, len(elastic.networks), width=settings.width, dropout=settings.dropout
    )
    costs = elastic.flops(router)
    if costs.min() > settings.budget:
        raise ValueError(
            f"route.budget: expected at least {costs.min():.3f}, the cheapest network and the router's, got {settings.budget}"
        )
    samples = scoring_samples(evaluator.split, evaluator.part, max_length=evaluator.max_length)
    learning, choosing = divided(len(samples), settings.held_out, seed)
    plan = {"max_length": evaluator.max_length, "batch_size": settings.batch_size, "buckets": evaluator.buckets}
    steps = len(bucketed(_only(samples, learning), **plan))
    tx = optimizer(settings.learning_rate, "cosine", steps, steps * settings.epochs, 0.0)
    key = jax.random.fold_in(jax.random.key(seed), 3)
    weights = router.with_head(jax.tree.map(jnp.array, corner(elastic.weights, router.network.architecture)))
    worth, hits, menu = found.gains(evaluator.protocols[0]), found.hits, menu_of(elastic.networks, costs)

    def step(state: RouterState, batch: Labelled, _: int) -> tuple[RouterState, dict]:
        return route_step(state, batch, key, menu, router=router, tx=tx, settings=settings)

    def batches(epoch: int, skip: int) -> Iterator[Labelled]:
        rng = np.random.default_rng((seed, epoch))
        mine = _only(samples, learning)
        for index, length, rows in bucketed(mine, **plan, rng=rng)[skip:]:
            yield labelled(mine, found.losses[learning], hits[learning], (index, length, rows))

    def evaluate(state: RouterState) -> dict:
        scores = route_scores(router, state.weights, _only(samples, choosing), evaluator)
        choice = choose(scores, costs, price_at(scores, costs, spending(scores, costs, settings.budget)))
        mean = float(np.mean(worth[choosing, choice]))
        return {"ndcg@10": mean, "cost": float(np.mean(costs[choice])), "price": float(state.price)}

    start = RouterState(jnp.int32(0), weights, tx.init(weights), jnp.float32(0.0))
    loop = run_epochs(
        LoopState.start(start, keep=(weights, start.price)),
        Procedure(
            step, batches, evaluate, lambda state: (state.weights, state.price), lambda _: "lower route.learning_rate"
        ),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        patience=settings.patience,
        run=_named(run, elastic, evaluator, settings, seed),
    )
    kept, price = loop.kept
    scores = route_scores(router, kept, _only(samples, choosing), evaluator)
    settled = settle(scores, costs, settings)
    router, weights = router.keep(kept, *settled)
    networks = tuple(elastic.networks[at] for at in settled[0])
    return Routed(router, weights, networks, int(loop.best_epoch), float(price), bool(loop.finished))


def divided(users: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(users that a router learns from, users that choose it), indices in order. Raises `ValueError` where one part is empty."""
    order = np.random.default_rng((seed, 4)).permutation(users)
    choosing = round(held_out * users)
    if not 0 < choosing < users:
        raise ValueError(f"route.held_out: expected a share that leaves users on both sides, got {held_out} of {users}")
    return np.sort(order[choosing:]), np.sort(order[:choosing])


def _only(samples: Samples, users: np.ndarray) -> Samples:
    return dataclasses.replace(samples, start=samples.start[users], stop=samples.stop[users])


def labelled(samples: Samples, losses: np.ndarray, hits: np.ndarray, plan: tuple[np.ndarray, int, int]) -> Labelled:
    """The samples of `plan`, (indices, length, rows), with their labels."""
    index, length, rows = plan
    filled = np.zeros((rows, losses.shape[1]), np.float32)
    filled[: len(index)] = losses[index]
    found = np.zeros(rows, bool)
    found[: len(index)] = hits[index]
    return Labelled(samples.batch(index, length, rows).items, filled, found)


@partial(jax.jit, static_argnames="router")
def _logits(weights: dict, items: Array, *, router: Router) -> Array:
    return router.logits(weights, items)


@in_float32
def route_scores(router: Router, weights: dict, samples: Samples, evaluator: Evaluator) -> np.ndarray:
    """What the router scores each network for each sample, float64 [samples choices]."""
    found = np.zeros((len(samples), router.choices))
    for index, length, rows in bucketed(
        samples, max_length=evaluator.max_length, batch_size=evaluator.batch_size, buckets=evaluator.buckets
    ):
        batch = samples.batch(index, length, rows)
        found[index] = np.asarray(_logits(weights, batch.items, router=router))[: len(index)]
    return found


def choose(scores: np.ndarray, costs: np.ndarray, price: float = 0.0) -> np.ndarray:
    """int64 [users]: the network of the highest score less its price, of equal ones the cheapest."""
    return np.argmax(scores - price * costs[None, :], 1)


def spending(scores: np.ndarray, costs: np.ndarray, budget: float) -> float:
    """What the choices shall cost on average: as much as the distributions that these scores stand for, `budget` at most."""
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return min(budget, float(np.mean(shares @ costs / shares.sum(1))))


def price_at(scores: np.ndarray, costs: np.ndarray, spend: float) -> float:
    """The least price of FLOPs, below 0 too, at which the choices cost `spend` at most on average; 0 if it does the same.

    `costs` ascend, the first is `spend` at most. By halving: what choices cost falls with the price.
    """

    def cost(price: float) -> float:
        return float(np.mean(costs[choose(scores, costs, price)]))

    gaps = np.diff(costs)
    high = 1.0 + float(np.ptp(scores)) / float(gaps[gaps > 0].min(initial=1.0))
    low = -high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= spend else (middle, high)
    return 0.0 if cost(0.0) == cost(high) else high


def settle(scores: np.ndarray, costs: np.ndarray, settings: RouteConfig) -> tuple[list[int], Array]:
    """(networks that stay, what is added to all scores): within the budget, and none that less than `least_share` get.

    Whose network is left out gets the one that scores next.
    """
    kept, spend = np.arange(len(costs)), spending(scores, costs, settings.budget)
    while True:
        price = price_at(scores[:, kept], costs[kept], spend)
        share = np.bincount(choose(scores[:, kept], costs[kept], price), minlength=len(kept)) / len(scores)
        stays = share >= settings.least_share
        if not (costs[kept[stays]] <= spend).any():
            stays[0] = True  # the cheapest, without which no price keeps the budget
        if stays.all():
            return kept.tolist(), jnp.asarray(-price * costs, jnp.float32)
        kept = kept[stays]


def _named(run: Run, elastic: Elastic, evaluator: Evaluator, settings: RouteConfig, seed: int) -> Run:
    """The run whose checkpoints know what they are of."""
    if run.checkpoints is None:
        return run
    known = dataclasses.asdict(settings) | {"seed": seed, "largest": elastic.largest.to_json()}
    known |= {"networks": [network.to_json() for network in elastic.networks]}
    return run._replace(checkpoints=run.checkpoints.of_run(known | evaluator.split.data.identity()))
