"""A network for each user (CANet, Liu et al., ICDM 2022), over the slices of one elastic network: is routing worth its price?

One cell a seed: an elastic network is trained as `bin/search.py` does it, a router over all its slices, and every slice is
measured on every user. What the router is set against costs as much on average as its choices, the router included: the best
static slice, its own histogram at random, choices by the length of the history alone, and the widest network left as soon as it
is sure of an item. Validation items choose all of them; the test items are looked at once.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

from easrec_jax.config import Config
from easrec_jax.data.split import Part, Split
from easrec_jax.evaluate.metrics import gains
from easrec_jax.models.cost import parameter_count
from easrec_jax.nas.routing import (
    Elastic,
    Routed,
    all_ranks,
    choose,
    outcomes,
    route_features,
    route_scores,
    router_of,
    train_router,
)
from easrec_jax.space import space_of
from easrec_jax.train.loop import Run
from easrec_jax.train.task import make_evaluator
from experiments.canet_rivals import PARTS, Measured, exit_costs, exits_of, oracle, rival_choices, sureness
from experiments.canet_tables import canet_tables
from experiments.cells import Cells, Job
from experiments.elastic import elastic_config, trained_elastic
from experiments.slices_alone import beside_alone
from experiments.throughput import users_per_second


def run_canet(cells: Cells, *, seeds: int, dataset: str, rows: tuple[str, ...] = ()) -> str:
    """A cell for each seed, then canet.json, .csv, .md; the Markdown is returned. There are no rows to choose from."""
    cells.shown_rows((), rows, lambda row: [])
    jobs = {}
    for seed in range(seeds):
        config = dataclasses.replace(elastic_config(cells.config, dataset), seed=seed)
        jobs[f"canet-seed{seed}"] = Job(partial(canet_cell, cells), config)
    found = list(zip(cells.run_all(jobs), [cells.ranks(name) or {} for name in jobs], strict=True))
    results, lines, text = canet_tables(found, cells.config, cells.split, dataset)
    more, beside = beside_alone(cells, elastic_config(cells.config, dataset), found)
    return cells.write("canet", results | more, lines, "\n\n".join([text, *([beside] if beside else [])]), seeds=seeds)


def canet_cell(cells: Cells, config: Config, run: Run) -> dict | None:
    """The elastic network, the router, and what each slice and each way to choose is worth to every user."""
    space, split = space_of(config), cells.split
    found, _ = trained_elastic(cells, "elastic", config, run)
    if not found.finished:
        return None
    networks = tuple(one.architecture for one in found.measured)
    elastic = Elastic(space.largest, found.weights, networks, split.data.num_items)
    evaluator = make_evaluator(config, split, "validation", (config.evaluate.select_by,))
    worth = outcomes(elastic, router_of(elastic, config.route), evaluator)
    routed = train_router(elastic, split, worth, settings=config.route, seed=config.seed)
    if not routed.finished:
        return None
    kept = _measured(elastic, routed, config, split)
    return {
        "networks": [network.to_json() for network in networks],
        "parameters": [parameter_count(network, elastic.num_items) for network in networks],
        "costs": elastic.flops().tolist(), "exit_costs": exit_costs(elastic).tolist(), "exits": exits_of(elastic),
        "router": {
            "cost": float((elastic.flops(routed.router) - elastic.flops())[0]), "parameters": routed.router.parameters,
            "price": routed.price, "held-out ndcg@10": routed.ndcg,
        },
        "users_per_second": users_per_second(elastic, routed, split), "ranks": kept,
    }  # fmt: skip


def _measured(elastic: Elastic, routed: Routed, config: Config, split: Split) -> dict[str, np.ndarray]:
    """int64 by name: `PART/ranks` [networks users 2], `PART/choice/NAME` [users], the network of each user."""
    at = np.array([elastic.networks.index(network) for network in routed.networks])
    found, measured = {}, {}
    for part in PARTS:
        evaluator = make_evaluator(config, split, part, (config.evaluate.select_by,))
        ranks = all_ranks(elastic, evaluator)[config.evaluate.select_by]
        reader = routed.router.reader(elastic.weights)
        scores = route_scores(routed.head, route_features(routed.router, reader, evaluator))
        found |= {f"{part}/ranks": ranks, f"{part}/choice/router": at[choose(scores, np.zeros(len(at)))]}
        worth = np.stack([gains(of)["ndcg@10"] for of in ranks], 1)
        measured[part] = Measured(worth, _lengths(config, split, part), sureness(elastic, evaluator))
    spend = float(np.mean(elastic.flops(routed.router)[found["validation/choice/router"]]))
    for name, choices in rival_choices(elastic, measured, spend).items():
        found |= {f"{part}/choice/{name}": choices[part] for part in PARTS}
    return found | {"validation/choice/oracle": oracle(elastic, measured["validation"], spend)}


def _lengths(config: Config, split: Split, part: Part) -> np.ndarray:
    """How many events of each user count."""
    return np.minimum(split.history_lengths(part), config.model.max_length)
