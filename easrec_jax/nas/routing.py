"""A router over the networks of an elastic one, whose weights stay as they are.

Its labels are what each network is worth on a user's validation item: no network was trained on those, and a memorised
training item is no evidence that a user is easy. The router learns from most users', those of the others say what it is worth;
the test items are not looked at. What is left is the last epoch's router: a few hundred users order epochs no better than
chance. Or there are no epochs: one item a user says little, so that what networks are worth may as well be predicted by ridge
regression, in closed form. Then its scores get a price of FLOPs once more, so that the choices made of them, not only their
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
from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.evaluate.metrics import gains
from easrec_jax.models.corner import corner
from easrec_jax.models.cost import request_flops
from easrec_jax.models.encoder import Weights
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.router import Router
from easrec_jax.nas.route_step import Labelled, Menu, RouterState, menu_of, route_step
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

    features: np.ndarray  # float32 [users features], what the router sees
    gains: np.ndarray  # float64 [users networks], NDCG@10
    hits: np.ndarray  # bool [users], the cheapest network has the item among its first ten

    @property
    def losses(self) -> np.ndarray:
        """float32 [users networks]: the gains against the mean over networks, of variance one, so that settings know no unit."""
        beside = self.gains - self.gains.mean(1, keepdims=True)
        return (-beside / max(float(beside.std()), 1e-9)).astype(np.float32)


class Routed(NamedTuple):
    """A trained router and the networks that it chooses from, the cheapest first."""

    router: Router
    head: dict
    networks: tuple[Architecture, ...]
    price: float  # of FLOPs when training ended
    ndcg: float  # validation NDCG@10 of the users that it did not learn from
    finished: bool  # False: interrupted


def router_of(elastic: Elastic, settings: RouteConfig) -> Router:
    """The untrained router over all networks."""
    return Router.beside(elastic.largest, elastic.num_items, len(elastic.networks), width=settings.width)


def all_ranks(
    elastic: Elastic, evaluator: Evaluator, tell: Callable[[dict], Any] | None = None
) -> dict[str, np.ndarray]:
    """int64 [networks users 2] by protocol: `Evaluator.ranks` of every network; `tell` hears how many are done."""
    found = []
    for number, network in enumerate(elastic.networks, 1):
        alone = network_scores(Network(network, elastic.num_items)), corner(elastic.weights, network)
        found.append(evaluator.ranks(*alone))
        if tell is not None:
            tell({"measured": f"{number}/{len(elastic.networks)}"})
    return {name: np.stack([of[name] for of in found]) for name in evaluator.protocols}


def outcomes(
    elastic: Elastic, router: Router, evaluator: Evaluator, tell: Callable[[dict], Any] | None = None
) -> Outcomes:
    """Measure every network on every user of the evaluator's part, by its first protocol."""
    protocol = evaluator.protocols[0]
    both = dataclasses.replace(evaluator, protocols=tuple(dict.fromkeys((protocol, GUIDE))))
    ranks = all_ranks(elastic, both, tell)
    worth = np.stack([gains(of)["ndcg@10"] for of in ranks[protocol]], 1)
    guided = gains(ranks[GUIDE][0])
    hits = guided.get("hit@10", guided["recall@10"]) > 0.5
    return Outcomes(route_features(router, router.reader(elastic.weights), evaluator), worth, hits)


@partial(jax.jit, static_argnames="router")
def _features(reader: dict, items: Array, *, router: Router) -> Array:
    return router.features(reader, items)


def route_features(router: Router, reader: dict, evaluator: Evaluator) -> np.ndarray:
    """What the router's head sees of each user of the evaluator's part, float32 [users features]."""
    return evaluator.of_users(partial(_features, reader, router=router))


@in_float32
def train_router(
    elastic: Elastic,
    split: Split,
    found: Outcomes,
    *,
    settings: RouteConfig,
    seed: int,
    run: Run = QUIET,
) -> Routed:
    """Train the router of `router_of` on `found`, the outcomes on validation items. `ValueError`: no network keeps the budget."""
    router = router_of(elastic, settings)
    costs = elastic.flops(router)
    if costs.min() > settings.budget:
        expected = f"at least {costs.min():.3f}, the cheapest network and the router"
        raise ValueError(f"route.budget: expected {expected}, got {settings.budget}")
    learning, others = divided(len(found.gains), settings.held_out, seed)
    mean, scale = found.features.mean(0), found.features.std(0) + 1e-6
    features = (found.features - mean) / scale
    if settings.form == "ridge":
        head, price, finished = ridge_head(features[learning], found.gains[learning], settings.ridge), 0.0, True
    else:
        lesson = _Lesson(router, features, found, learning, others, costs, menu_of(elastic.networks, costs))
        head, price, finished = _descend(lesson, settings, seed, _named(run, elastic, split, settings, seed))
    head = _of_raw_features(head, mean, scale)
    kept, added = settle(route_scores(head, found.features), costs, settings)
    router, head = router.keep(head, kept, added)
    choice = np.array(kept)[choose(route_scores(head, found.features), costs[kept])]
    worth = float(np.mean(found.gains[others, choice[others]]))
    networks = tuple(elastic.networks[at] for at in kept)
    if settings.form == "ridge" and run.on_epoch is not None:
        run.on_epoch({"epoch": 0, "step": 0, "ndcg@10": worth, "cost": float(np.mean(costs[choice]))})
    return Routed(router, head, networks, price, worth, finished)


class _Lesson(NamedTuple):
    """What a router learns from, and by whom it is judged."""

    router: Router
    features: np.ndarray  # float32 [users features], of mean 0 and variance 1
    found: Outcomes
    learning: np.ndarray  # users
    others: np.ndarray  # the other users
    costs: np.ndarray  # float64 [networks]
    menu: Menu


def _descend(lesson: _Lesson, settings: RouteConfig, seed: int, run: Run) -> tuple[dict, float, bool]:
    """(the head after the last epoch, the price of FLOPs, whether that is the end: False if interrupted)."""
    router, features, found, learning, others, costs, menu = lesson
    steps = -(-len(learning) // settings.batch_size)
    tx = optimizer(settings.learning_rate, "cosine", steps, steps * settings.epochs, settings.weight_decay)
    key, losses = jax.random.fold_in(jax.random.key(seed), 3), found.losses

    def step(state: RouterState, batch: Labelled, _: int) -> tuple[RouterState, dict]:
        return route_step(state, batch, key, menu, router=router, tx=tx, settings=settings)

    def batches(epoch: int, skip: int) -> Iterator[Labelled]:
        order = np.random.default_rng((seed, epoch)).permutation(learning)
        for users in np.array_split(order, steps)[skip:]:
            yield Labelled(features[users], losses[users], found.hits[users])

    def evaluate(state: RouterState) -> dict:
        scores = route_scores(state.head, features)
        choice = choose(scores, costs, price_at(scores, costs, spending(scores, costs, settings.budget)))
        worth = float(np.mean(found.gains[others, choice[others]]))
        return {"ndcg@10": worth, "cost": float(np.mean(costs[choice])), "price": float(state.price)}

    head = router.init_head()
    loop = run_epochs(
        LoopState.start(RouterState(jnp.int32(0), head, tx.init(head), jnp.float32(0.0)), keep=()),
        Procedure(step, batches, evaluate, lambda state: (), lambda _: "lower route.learning_rate"),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        patience=settings.epochs,
        run=run,
    )
    return loop.state.head, float(loop.state.price), bool(loop.finished)


def ridge_head(features: np.ndarray, gains: np.ndarray, strength: float) -> dict:
    """The head that predicts gains [users networks] from features [users features] of variance one, by ridge regression."""
    centre, worth = features.mean(0, np.float64), gains.mean(0)
    beside = features - centre
    shrunk = beside.T @ beside + strength * len(features) * np.eye(features.shape[1])
    kernel = np.linalg.solve(shrunk, beside.T @ (gains - worth))
    return {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(worth - centre @ kernel, jnp.float32)}


def _of_raw_features(head: dict, mean: np.ndarray, scale: np.ndarray) -> dict:
    """The head that reads features as they are, of one that was trained on (features - mean) / scale."""
    kernel = head["kernel"] / jnp.asarray(scale)[:, None]
    return {"kernel": kernel, "bias": head["bias"] - jnp.asarray(mean) @ kernel}


def divided(users: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(users that a router learns from, all others), indices in order. Raises `ValueError` where one part is empty."""
    order = np.random.default_rng((seed, 4)).permutation(users)
    others = round(held_out * users)
    if not 0 < others < users:
        raise ValueError(f"route.held_out: expected a share that leaves users on both sides, got {held_out} of {users}")
    return np.sort(order[others:]), np.sort(order[:others])


def route_scores(head: dict, features: np.ndarray) -> np.ndarray:
    """What a router's head scores each network for each user, float64 [users choices]."""
    return features.astype(np.float64) @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"], np.float64)


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
    kept, ridge = np.arange(len(costs)), settings.form == "ridge"
    # scores of a ridge are gains: nobody gets more than what is best for them
    spend, least = (settings.budget, 0.0) if ridge else (spending(scores, costs, settings.budget), -np.inf)
    while True:
        price = max(price_at(scores[:, kept], costs[kept], spend), least)
        share = np.bincount(choose(scores[:, kept], costs[kept], price), minlength=len(kept)) / len(scores)
        stays = share >= settings.least_share
        if not (costs[kept[stays]] <= spend).any():
            stays[0] = True  # the cheapest, without which no price keeps the budget
        if stays.all():
            return kept.tolist(), jnp.asarray(-price * costs, jnp.float32)
        kept = kept[stays]


def _named(run: Run, elastic: Elastic, split: Split, settings: RouteConfig, seed: int) -> Run:
    """The run whose checkpoints know what they are of."""
    if run.checkpoints is None:
        return run
    known = dataclasses.asdict(settings) | {"seed": seed, "largest": elastic.largest.to_json()}
    known |= {"networks": [network.to_json() for network in elastic.networks]}
    return run._replace(checkpoints=run.checkpoints.of_run(known | split.data.identity()))
