"""WORKDIR/search/ on disk: what a search writes, and what a retraining reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flax.traverse_util import unflatten_dict

from easrec_jax.architecture import Architecture
from easrec_jax.cells import AnyArchitecture, CellArchitecture, architecture_from_json
from easrec_jax.config import ADAREC, Config, SearchConfig
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.data.item_inputs import ItemInputs
from easrec_jax.files import file_digest, read_arrays, read_json, write_text
from easrec_jax.models.cost import parameter_count, request_flops
from easrec_jax.models.encoder import Weights
from easrec_jax.models.item_features import with_columns
from easrec_jax.nas.adarec import FoundCell, students_of
from easrec_jax.nas.finalists import Finalist
from easrec_jax.nas.front import front
from easrec_jax.nas.search import Found, supernet_of
from easrec_jax.runs.described import describe_architecture, describe_flops
from easrec_jax.serving.artifact import check_arrays, save_tree
from easrec_jax.space import Space, space_of
from easrec_jax.typed import check

MEASURED = "--search.ranking measured"  # what writes front.json
ELASTIC = f"--search.strategy untrained --search.sharing corners --search.training sandwich {MEASURED}"


def chosen_by(found: Found | FoundCell, config: Config) -> dict:
    """How the pick of a search was chosen, for architecture.json."""
    settings = config.search
    how = {
        "method": settings.strategy, "epochs": found.epochs, "cost": settings.cost, "budget": settings.budget,
        "cost_weight": _cost_weight(settings), "seed": config.seed, "sharing": settings.sharing,
        "training": settings.training, "ranking": settings.ranking,
    }  # fmt: skip
    if found.shares is not None:
        how |= {"shares": found.shares, "expected_cost": found.expected_cost}
    return how | {"finalists": [one.to_json() for one in found.finalists]}


def _cost_weight(settings: SearchConfig) -> float | None:
    """lambda of the strategy; None where it has none."""
    priced = {
        "easrec": settings.easrec,
        "untrained": settings.easrec,
        "proxyless": settings.proxyless,
        ADAREC: settings.adarec,
    }
    return priced[settings.strategy].cost_weight if settings.strategy in priced else None


def write_search(folder: Path, found: Found | FoundCell, config: Config, data: Interactions) -> dict:
    """Write architecture.json and, where one was trained, supernet.npz with the ids of its item rows; what the first holds."""
    described = describe_architecture(found.architecture, config, data.num_items, chosen_by(found, config))
    if found.weights is not None:
        save_tree(folder / "supernet.npz", found.weights)
        items: dict[str, Any] = {"ids": found.item_ids.to_json()}  # of the rows of its item table
        if data.features is not None:
            items["features"] = data.features.coding.digest  # of the rows of its arrays of features
        write_text(folder / "items.json", json.dumps(items))
    write_text(folder / "architecture.json", json.dumps(described, indent=2) + "\n")
    if isinstance(found, Found) and found.measured:
        write_text(folder / "front.json", json.dumps(describe_front(found, config, data.num_items), indent=2) + "\n")
    return described


def describe_front(found: Found, config: Config, num_items: int) -> dict:
    """The content of front.json: every network that was measured as it stands in the supernet, the cheapest first.

    `cost` is the search's, over the largest network's; `ndcg@10` that of the validation items; `front`: no cheaper one is as good.
    """
    best = {one.network for one in front(found.measured)}
    networks = [
        one.architecture.to_json()
        | describe_flops(request_flops(one.architecture, num_items), one.architecture, config, num_items)
        | {"parameters": parameter_count(one.architecture, num_items), "cost": one.cost}
        | {"ndcg@10": one.ndcg, "front": one.network in best}
        for one in found.measured
    ]
    return {"cost": config.search.cost, "select_by": config.evaluate.select_by, "networks": networks}


def load_front(folder: Path, space: Space) -> tuple[tuple[Finalist, ...], str]:
    """(the networks that a finished search measured, at their FLOPs over the largest network's; the file's checksum). Errors name it."""
    path = folder / "front.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing, the search measured no networks: search again with {MEASURED}")
    entries, found = read_json(path).get("networks"), []
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        source = f"{path}: networks[{number}]"
        tree: dict[str, Any] = entry if isinstance(entry, dict) else {}
        network = space.network(Architecture.from_json(tree, source=source))
        for name in ("flops_over_largest", "ndcg@10"):
            check(isinstance(tree.get(name), float), f"{source}: {name}", "a number", tree.get(name))
        found.append(Finalist(network, space.architecture(network), tree["flops_over_largest"], ndcg=tree["ndcg@10"]))
    check(bool(found), f"{path}: networks", "at least one", entries)
    return tuple(found), file_digest(path)


def check_times(source: Path, architecture: AnyArchitecture, config: Config) -> None:
    """Raise `ValueError` where a network reads other times than the config's do."""
    there, got = architecture.times, config.model.times
    check(got == there, "model.times", f"{there}, as the network of {source} reads them", got)


def load_pick(folder: Path, config: Config) -> tuple[AnyArchitecture, dict, str]:
    """(the pick of a finished search, how it was chosen, the file's checksum). Errors name files."""
    path = folder / "architecture.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no finished search here (run the command search with the same config first)")
    tree = read_json(path)
    architecture = architecture_from_json(tree, source=str(path))
    if architecture.max_length != config.model.max_length:
        raise ValueError(
            f"model.max_length: expected {architecture.max_length} as in the search ({path}), "
            f"got {config.model.max_length}: search again, or use its length"
        )
    check_times(path, architecture, config)
    if isinstance(architecture, Architecture):
        space_of(config).network(architecture)
    else:
        for name, there in (("width", architecture.width), ("layers", architecture.depth)):
            check(
                there == getattr(config.model, name),
                f"model.{name}",
                f"{there} as in the search ({path})",
                getattr(config.model, name),
            )
    return architecture, tree["chosen_by"], file_digest(path)


def load_cut(
    folder: Path, config: Config, architecture: AnyArchitecture, sharing: str, features: ItemInputs | None = None
) -> tuple[Weights, IdMap, str] | None:
    """(the pick's weights cut out of the supernet, the ids of its item rows, its checksum); None if none was trained.

    `sharing` is that of the search that trained it, `features` are those of the items, where networks read them.
    """
    path, named = folder / "supernet.npz", folder / "items.json"
    if not path.is_file():
        return None
    arrays = read_arrays(path)
    if "tables/items" not in arrays:
        raise ValueError(f"{path}: tables/items: missing, so this is no supernet")
    num_items = len(arrays["tables/items"]) - 1
    supernet: Any = (
        students_of(config, num_items)
        if isinstance(architecture, CellArchitecture)
        else supernet_of(space_of(config), num_items, 0.0, sharing)
    )
    coding = features.coding if features else None
    init = lambda key: with_columns(supernet.init(key), coding)  # noqa: E731
    check_arrays(path, arrays, init, " (the search was of another config: use that one, or search again)")
    cut = supernet.cut(unflatten_dict(arrays, sep="/"), architecture)
    if not named.is_file():
        raise ValueError(
            f"{named}: missing, so nobody knows which items the rows of supernet.npz belong to (an older version's search): "
            "search again, or use --retrain.weights fresh"
        )
    items = read_json(named)
    ids = items.get("ids")
    if coding is not None and items.get("features") != coding.digest:
        raise ValueError(
            f"{named}: features: the values of the items' features are others than in the search: search again, or use "
            "--retrain.weights fresh"
        )
    if not isinstance(ids, list):
        raise ValueError(f"{named}: ids: expected a list of raw item ids")
    return cut, IdMap.from_json(ids), file_digest(path)
