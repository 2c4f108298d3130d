"""The sizes of an elastic model: networks that are corners of its largest one, each with what it costs and how good it is.

front.json, {"networks": [...]}, the cheapest first; of each the fields of `Architecture` and
flops, flops_over_sasrec, ... parameters    as in architecture.json
cost                  FLOPs of a request over the largest network's
ndcg@10, select_by    of the validation items, and by which protocol: what the sizes were chosen by
validation, test      figures by protocol
ms, ms_over_sasrec    measured milliseconds a user in batches of 16, and over SASRec's in the same run
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, SupportsFloat

import jax

from easrec_jax.architecture import Architecture
from easrec_jax.cells import AnyArchitecture
from easrec_jax.files import read_json
from easrec_jax.models.corner import corner, is_corner
from easrec_jax.typed import check

NUMBERS = ("cost", "flops", "flops_over_sasrec", "parameters", "ms", "ms_over_sasrec")
HOW_TO = "the commands search and retrain --retrain.architecture elastic make one that has (docs/guide.md)"


class Size(NamedTuple):
    """One network of an elastic model."""

    architecture: Architecture
    entry: dict  # of front.json

    @property
    def cost(self) -> float:
        """FLOPs over the largest network's."""
        return self.entry["cost"]

    @property
    def ndcg(self) -> float:
        """Validation NDCG@10."""
        return self.entry["ndcg@10"]

    def results(self, whole: dict) -> dict:
        """What results.json would say of it, the `whole` model's being this; figures are its own."""
        figures = ("validation", "test")
        described = {name: value for name, value in self.entry.items() if name not in figures}
        described["chosen_by"] = {"method": "elastic"}
        return {"data": whole.get("data"), "architecture": described} | {name: self.entry[name] for name in figures}


def sizes_to_json(sizes: Sequence[Size]) -> str:
    """The text of front.json."""
    return json.dumps({"networks": [size.entry for size in sizes]}, indent=2) + "\n"


def read_sizes(path: Path, largest: AnyArchitecture) -> tuple[Size, ...]:
    """What front.json says, the cheapest first. `ValueError` names what is no corner of the largest, or no figure."""
    entries, sizes = read_json(path).get("networks"), []
    check(isinstance(entries, list) and len(entries) > 0, f"{path}: networks", "a list of at least one", entries)
    for number, entry in enumerate(entries or ()):
        where = f"{path}: networks[{number}]"
        check(isinstance(entry, dict), where, "an object", entry)
        size = Size(Architecture.from_json(entry, source=where), entry)
        fits = isinstance(largest, Architecture) and is_corner(size.architecture, largest)
        check(fits, where, f"a corner of {largest}", size.architecture)
        for name in NUMBERS:
            value = entry.get(name)
            known = isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
            check(known and value > 0, f"{where}: {name}", "a number above 0", value)
        ndcg = entry.get("ndcg@10")
        check(isinstance(ndcg, float) and 0 <= ndcg <= 1, f"{where}: ndcg@10", "a number in [0, 1]", ndcg)
        check(0 < size.cost <= 1, f"{where}: cost", "a number in (0, 1]", size.cost)
        select_by = entry.get("select_by")
        check(isinstance(select_by, str), f"{where}: select_by", "the name of a protocol", select_by)
        for part in ("validation", "test"):
            figures = entry.get(part)
            of = figures.get(select_by) if isinstance(figures, dict) else None
            good = isinstance(of, dict) and isinstance(of.get("ndcg@10"), float)
            check(good, f"{where}: {part}", f"figures by protocol, an NDCG@10 of {select_by} among them", figures)
        sizes.append(size)
    costs = [size.cost for size in sizes]
    check(costs == sorted(set(costs)), f"{path}: networks", "rising costs", costs)
    return tuple(sizes)


def size_within(sizes: Sequence[Size], budget: SupportsFloat) -> Size:
    """The most accurate size of at most that cost. `ValueError` where there is none, and on a budget that is no share."""
    good = isinstance(budget, Real) and not isinstance(budget, bool) and 0 < float(budget) <= 1
    check(good, "budget", "a number in (0, 1], FLOPs over the largest network's", budget)
    if not sizes:
        raise ValueError(f"budget: expected none, this model has one size; {HOW_TO}; got {budget!r}")
    within = [size for size in sizes if size.cost <= float(budget)]
    check(bool(within), "budget", f"at least {short_cost(sizes[0].cost)}, the cost of the smallest network", budget)
    return max(within, key=lambda size: size.ndcg)


def short_cost(cost: float) -> float:
    """A number of four places that is not below the cost: good as a budget for it."""
    return math.ceil(cost * 1e4) / 1e4


def fingerprint_of(whole: str, architecture: Architecture) -> str:
    """What a size is known by: other than the whole model, and than the other sizes."""
    return hashlib.sha256(f"{whole} {json.dumps(architecture.to_json())}".encode()).hexdigest()


@partial(jax.jit, static_argnames="architecture")
def cut(weights: dict, architecture: Architecture) -> Any:
    """A size's weights, sliced on the device."""
    return corner(weights, architecture)
