"""The slices of an elastic network beside the same networks trained alone for as many epochs, on both parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.evaluate.metrics import gains
from easrec_jax.files import read_json
from easrec_jax.models.cost import request_flops
from easrec_jax.space import space_of
from experiments.cells import Cells
from experiments.effort import alone_flops, elastic_flops
from experiments.elastic import alone_names, kendall
from experiments.show import markdown
from experiments.training import epoch_shapes

PARTS = ("validation", "test")


def beside_alone(cells: Cells, config: Config, found: list[tuple[dict, dict[str, np.ndarray]]]) -> tuple[dict, str]:
    """(fields for the JSON, Markdown) of the finished cells of canet, a seed each; nothing where networks alone are not kept.

    Networks alone are the cells of elastic, or those of space where these have as many epochs.
    """
    space, protocol = space_of(config), config.evaluate.select_by
    kinds = ["equal", *(["network"] if cells.config.retrain.epochs == config.retrain.epochs else [])]
    names: list[dict[str, int]] = []
    for seed in range(len(found)):
        kept = [of for of in (alone_names(space, seed, kind) for kind in kinds) if _kept(cells, of)]
        if not kept:
            return {}, ""
        names.append(kept[0])
    scores: dict[str, dict[str, np.ndarray]] = {}
    for part in PARTS:
        alone = [[read_json(cells.path(name))[part][protocol]["ndcg@10"] for name in of] for of in names]
        slices = np.zeros((len(found), len(space.networks)))
        for row, (cell, arrays) in zip(slices, found, strict=True):
            at = [space.network(Architecture.from_json(tree, source="a cell")) for tree in cell["networks"]]
            row[at] = [gains(ranks)["ndcg@10"].mean() for ranks in arrays[f"{part}/ranks"]]
        scores[part] = {"slices": slices.mean(0), "alone": np.mean(alone, 0)}
    results = {"networks": [space.architecture(n).describe() for n in range(len(space.networks))]}
    results |= {part: _compared(of) for part, of in scores.items()} | _price(
        cells, config, scores["validation"]["slices"]
    )
    for kind in ("slices", "alone"):
        results[f"tau of {kind} between parts"] = kendall(*(scores[part][kind] for part in PARTS))
    return {"alone": results}, _text(results)


def _kept(cells: Cells, names: dict[str, int]) -> bool:
    return all(cells.path(name).is_file() for name in names)


def _compared(of: dict[str, np.ndarray]) -> dict[str, Any]:
    gap = of["slices"] / of["alone"] - 1
    lists = {name: values.tolist() for name, values in (of | {"gap": gap}).items()}
    return lists | {
        "mean gap": float(gap.mean()),
        "worst gap": float(gap.min()),
        "tau": kendall(of["slices"], of["alone"]),
    }


def _price(cells: Cells, config: Config, slices: np.ndarray) -> dict[str, float]:
    """FLOPs of the elastic training over those of the largest network's, of all alone, of those on the slices' front."""
    space, items = space_of(config), cells.split.data.num_items
    shapes, epochs = epoch_shapes(config, cells.split, config.retrain), config.search.epochs
    elastic = elastic_flops(space, items, shapes, config.search, epochs)
    networks = [space.architecture(n) for n in range(len(slices))]
    alone = np.array([epochs * alone_flops(one, items, shapes, every_position=True) for one in networks])
    cost = np.array([request_flops(one, items) for one in networks])
    best = [n for n in range(len(slices)) if not (slices[cost < cost[n]] >= slices[n]).any()]
    front = {"over the front": elastic / alone[best].sum(), "front": len(best)}
    return {"over the largest": elastic / alone.max(), "over all": elastic / alone.sum()} | front


def _text(results: dict) -> str:
    head = ["network", *(f"{part}, {name}" for part in PARTS for name in ("slice", "alone", "over alone"))]
    rows = [
        [name, *(x for part in PARTS for x in _shown(results[part], n))] for n, name in enumerate(results["networks"])
    ]
    told = [
        f"{part}: mean {results[part]['mean gap']:+.1%}, worst {results[part]['worst gap']:+.1%}, tau {results[part]['tau']:.2f}"
        for part in PARTS
    ]
    between = ", ".join(f"{results[f'tau of {kind} between parts']:.2f} of {kind}" for kind in ("slices", "alone"))
    price = (
        f"The elastic training is {results['over the largest']:.2f} of the largest network's, {results['over all']:.0%} of all alone, "
        f"{results['over the front']:.0%} of the {results['front']} on the front (FLOPs)."
    )
    return f"{markdown(head, rows)}\n\n{'; '.join(told)}. Tau between both parts: {between}. {price}"


def _shown(of: dict, number: int) -> list[str]:
    return [f"{of['slices'][number]:.4f}", f"{of['alone'][number]:.4f}", f"{of['gap'][number]:+.1%}"]
