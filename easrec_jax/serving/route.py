"""What a router adds to the folder of an elastic model: route.json and router.npz.

route.json holds `networks`, those it chooses from, the cheapest first, each with its `cost` (FLOPs over the largest network's, the
router's included) and `share` (of users); `router` (the `width` it reads with, ...); `lengths` (shares by history length); `cost`,
`validation` and `test`: mean cost and figures by protocol. router.npz holds the head of `models.router.Router`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.cells import AnyArchitecture
from easrec_jax.files import read_arrays, read_json, write_arrays, write_text
from easrec_jax.models.corner import is_corner
from easrec_jax.models.router import Router
from easrec_jax.serving.routed import RoutedNetworks
from easrec_jax.typed import check

ROUTE, ROUTER = "route.json", "router.npz"
HOW_TO = "the command route adds one to an elastic model (docs/guide.md)"


class Route(NamedTuple):
    """A router and the networks that it chooses from."""

    networks: tuple[Architecture, ...]
    head: dict
    described: dict  # route.json

    def ready(self, weights: dict, largest: Architecture, num_items: int) -> RoutedNetworks:
        """What answers by it; `weights` are the elastic network's."""
        router = Router.beside(largest, num_items, len(self.networks), width=self.described["router"]["width"])
        return RoutedNetworks(weights, self.networks, router, self.head, num_items)

    def results(self, whole: dict) -> dict:
        """What results.json would say of it, the `whole` model's being this."""
        about = {name: value for name, value in self.described.items() if name not in ("validation", "test", "data")}
        figures = {name: self.described[name] for name in ("validation", "test")}
        return {"data": whole.get("data"), "architecture": whole.get("architecture"), "per_user": about} | figures

    def fingerprint(self, whole: str) -> str:
        """What answers by it is known by: other than the whole model, and than its sizes."""
        digest = hashlib.sha256(f"{whole} {json.dumps(self.described, sort_keys=True)}".encode())
        for name in sorted(self.head):
            digest.update(np.ascontiguousarray(self.head[name]).tobytes())
        return digest.hexdigest()


def write_route(folder: Path, route: Route) -> None:
    """Write both files."""
    write_arrays(folder / ROUTER, {name: np.asarray(part) for name, part in route.head.items()})
    write_text(folder / ROUTE, json.dumps(route.described, indent=2) + "\n")


def read_route(folder: Path, largest: AnyArchitecture, num_items: int) -> Route:
    """What `write_route` wrote. `ValueError` names what is no corner of the largest, no figure or no head."""
    described, networks = read_described(folder / ROUTE, largest)
    assert isinstance(largest, Architecture)
    wanted = Router.beside(largest, num_items, len(networks), width=described["router"]["width"]).init_head()
    head = read_arrays(folder / ROUTER)
    for name, want in wanted.items():
        got = head.get(name, np.zeros(0))
        good = got.shape == want.shape and got.dtype == np.float32 and bool(np.isfinite(got).all())
        shape = f"finite float32 of shape {want.shape}"
        check(good, f"{folder / ROUTER}: {name}", shape, f"{got.dtype} of shape {got.shape}")
    check(head.keys() == wanted.keys(), f"{folder / ROUTER}", f"{sorted(wanted)}", sorted(head))
    return Route(networks, head, described)


def read_described(path: Path, largest: AnyArchitecture) -> tuple[dict, tuple[Architecture, ...]]:
    """(route.json, the networks in it)."""
    described, networks = read_json(path), []
    entries, router = described.get("networks"), described.get("router")
    check(isinstance(entries, list) and len(entries) > 0, f"{path}: networks", "a list of at least one", entries)
    for number, entry in enumerate(entries or ()):
        where = f"{path}: networks[{number}]"
        check(isinstance(entry, dict), where, "an object", entry)
        network = Architecture.from_json(entry, source=where)
        fits = isinstance(largest, Architecture) and is_corner(network, largest)
        check(fits, where, f"a corner of {largest}", network)
        for name in ("cost", "share"):
            check(_is_number(entry.get(name)), f"{where}: {name}", "a number of 0 or more", entry.get(name))
        networks.append(network)
    width = router.get("width") if isinstance(router, dict) else None
    check(type(width) is int and width >= 1, f"{path}: router: width", "an integer of at least 1", width)
    mean = described.get("cost")
    known = isinstance(mean, dict) and all(_is_number(mean.get(part)) for part in ("validation", "test"))
    check(known, f"{path}: cost", "a number for validation and for test", mean)
    for part in ("validation", "test"):
        check(isinstance(described.get(part), dict), f"{path}: {part}", "figures by protocol", described.get(part))
    lengths = described.get("lengths")
    good = isinstance(lengths, list) and all(_is_quarter(one, len(networks)) for one in lengths)
    check(good, f"{path}: lengths", "a list of from, to, users and a share for each network", lengths)
    return described, tuple(networks)


def _is_quarter(one: Any, networks: int) -> bool:
    shares = one.get("shares") if isinstance(one, dict) else None
    known = isinstance(shares, list) and len(shares) == networks and all(map(_is_number, shares))
    return known and all(_is_number(one.get(name)) for name in ("from", "to", "users"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 <= value < np.inf
