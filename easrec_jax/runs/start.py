"""What a retraining starts from: a search's pick, a trained model or nothing; rows of the item table follow their items by id."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from easrec_jax.architecture import Architecture, full_architecture, sasrec_architecture
from easrec_jax.cells import AnyArchitecture, CellArchitecture
from easrec_jax.config import Config
from easrec_jax.data.interactions import IdMap, Interactions
from easrec_jax.models.cost import request_flops
from easrec_jax.models.item_features import with_features
from easrec_jax.models.kinds import network_of
from easrec_jax.nas.finalists import Finalist
from easrec_jax.nas.front import front
from easrec_jax.precision import in_float32
from easrec_jax.runs.described import other_split
from easrec_jax.runs.search_folder import ELASTIC, check_times, load_cut, load_front, load_pick
from easrec_jax.serving.artifact import load_model
from easrec_jax.serving.sizes import short_cost
from easrec_jax.space import space_of
from easrec_jax.typed import check


class Rows(NamedTuple):
    """How many items had a row already, how many got a fresh one, and of how many the row is not needed any more."""

    copied: int
    fresh: int
    left_out: int


class Start(NamedTuple):
    """A network, the weights that it starts with, how it was chosen."""

    architecture: AnyArchitecture
    weights: dict
    chosen_by: dict
    source: str = ""  # checksum of what the weights, or the architecture, were read from
    rows: Rows | None = None  # None: all weights are fresh
    sizes: tuple[Architecture, ...] = ()  # of an elastic network, which is not trained: the networks of its front

    @property
    def goes_on(self) -> bool:
        """Whether a trained model's weights are trained further: they count as epoch 0."""
        return self.chosen_by["method"] == "continued" and self.rows is not None

    @property
    def searched(self) -> bool:
        """Whether it is the pick of a search."""
        return self.chosen_by["method"] not in ("continued", "fixed", "elastic")

    @property
    def row(self) -> str:
        """What the trained model is called in tables beside rivals."""
        found = "AdaRec" if isinstance(self.architecture, CellArchitecture) else "EASRec"
        return "largest size" if self.sizes else found if self.searched else "this model"

    def announce(self, described: dict) -> str:
        """What is about to be trained, in a line or two; `described` is the content of architecture.json."""
        size = f"{described['flops'] / 1e6:.1f} MFLOPs a request, {described['parameters']:,} parameters"
        verb = f"as it stands, with {len(self.sizes)} sizes up to" if self.sizes else "training"
        line = f"{verb} {self.architecture.describe()}: {size}"
        if self.rows is None:
            return line
        copied, fresh, left_out = self.rows
        items = f"{copied} copied by id, {fresh} fresh (new items), {left_out} left out (items that are gone)"
        return f"item rows: {items}\n{line}"


def check_target(config: Config, workdir: Path, asked: bool) -> None:
    """Raise `ValueError` where the model to go on from would be replaced by the one to be trained, unless that is `asked` for."""
    model, source = workdir / "model", config.retrain.from_model
    if source and Path(source).resolve() == model.resolve() and not asked:
        raise ValueError(f"{model} is the model to go on from: give another --workdir, or --overwrite to replace it")


def find_start(config: Config, workdir: Path, data: Interactions) -> Start:
    """What `config.retrain` asks for: of the search in `workdir`, of the model `from_model`, or a fresh full network.

    `FileNotFoundError` or `ValueError` name the file that is missing or does not fit.
    """
    source = Path(config.retrain.from_model or workdir / "search")
    fresh = not config.retrain.from_model and config.retrain.architecture == "full"
    if not fresh and (other := other_split(source, config.data)):
        warnings.warn(other, stacklevel=2)
    if config.retrain.from_model:
        return start_from_model(Path(config.retrain.from_model), config, data)
    if config.retrain.architecture == "elastic":
        return start_elastic(workdir / "search", config, data)
    if config.retrain.architecture != "full":
        return start_from_search(workdir / "search", config, data)
    architecture = full_architecture(config.model)
    return Start(architecture, fresh_weights(architecture, config, data), {"method": "fixed"})


def start_from_model(folder: Path, config: Config, data: Interactions) -> Start:
    """A trained model's network and weights for data whose users and items may have changed."""
    model = load_model(folder)
    architecture = model.architecture
    if architecture.max_length != config.model.max_length:
        raise ValueError(
            f"model.max_length: expected {architecture.max_length}, which the model in {folder} reads, "
            f"got {config.model.max_length}"
        )
    check_times(folder, architecture, config)
    if config.data.targets == "all" and isinstance(architecture, Architecture) and not architecture.causal:
        raise ValueError(
            f"data.targets: expected 'last' for the model in {folder}: its attention, {architecture.attention}, sees later "
            "items, a loss at every position would leak the target"
        )
    chosen_by = {"method": "continued", "model": str(folder), "weights": model.fingerprint}
    fresh = fresh_weights(architecture, config, data)
    if config.retrain.weights == "fresh":
        return Start(architecture, fresh, chosen_by, model.fingerprint)
    weights, rows = rows_by_id(model.weights, model.item_ids, data.item_ids, fresh, source=folder / "weights.npz")
    return Start(architecture, weights, chosen_by, model.fingerprint, rows)


def start_from_search(folder: Path, config: Config, data: Interactions) -> Start:
    """The pick of a finished search, or the best it measured within `front:X`; weights cut out of a supernet if that is asked for."""
    architecture, chosen_by, source = load_pick(folder, config)
    if config.retrain.front_cost is not None:
        measured, digest = load_front(folder, space_of(config))
        architecture = best_within(measured, config, data.num_items, source=folder / "front.json")
        chosen_by, source = chosen_by | {"front": config.retrain.front_cost}, source + digest
    if config.retrain.weights == "fresh":
        return Start(architecture, fresh_weights(architecture, config, data), chosen_by, source)
    return _with_cut(Start(architecture, {}, chosen_by, source), folder, config, data)


def best_within(measured: Sequence[Finalist], config: Config, num_items: int, *, source: Path) -> Architecture:
    """The most accurate network of at most `retrain.front_cost` times SASRec's FLOPs; `ValueError` where all cost more."""
    most, sasrec = config.retrain.front_cost, request_flops(sasrec_architecture(config.model), num_items)
    assert most is not None
    costs = [request_flops(one.architecture, num_items) / sasrec for one in measured]
    within = [one for one, cost in zip(measured, costs, strict=True) if cost <= most]
    expected = f"front:X with X of at least {short_cost(min(costs))}, what the cheapest network of {source} costs over SASRec's FLOPs"
    check(bool(within), "retrain.architecture", expected, config.retrain.architecture)
    return max(within, key=lambda one: one.ndcg or 0.0).architecture


def start_elastic(folder: Path, config: Config, data: Interactions) -> Start:
    """All networks of an elastic search's front in the weights of the space's largest network, as they stand."""
    space = space_of(config)
    _, how, source = load_pick(folder, config)
    if space.inner_of != "width" or how.get("sharing") != "corners":
        kind = (
            "a wide space, whose networks are masks"
            if space.inner_of != "width"
            else "weights of its own for each network"
        )
        raise ValueError(
            f"retrain.architecture: elastic: expected a search of the paper's space whose networks are corners of the largest, "
            f"{folder} is of {kind}: search again with {ELASTIC}"
        )
    measured, digest = load_front(folder, space)
    sizes = tuple(one.architecture for one in front(measured))
    networks = [space.architecture(number) for number in range(len(space.networks))]
    largest = max(networks, key=lambda one: request_flops(one, data.num_items))
    chosen_by = {"method": "elastic"} | {
        name: how[name] for name in ("training", "sharing", "epochs", "seed") if name in how
    }
    start = _with_cut(Start(largest, {}, chosen_by, source + digest, sizes=sizes), folder, config, data)
    if start.rows is None:
        raise FileNotFoundError(
            f"{folder / 'supernet.npz'}: missing, the weights of the search's networks: search again"
        )
    return start


def _with_cut(start: Start, folder: Path, config: Config, data: Interactions) -> Start:
    """The start with its weights cut out of the search's supernet; fresh ones where none was trained."""
    fresh = fresh_weights(start.architecture, config, data)
    supernet = load_cut(folder, config, start.architecture, start.chosen_by.get("sharing", ""), data.features)
    if supernet is None:
        return start._replace(weights=fresh)
    cut, ids, digest = supernet
    weights, rows = rows_by_id(cut, ids, data.item_ids, fresh, source=folder / "supernet.npz")
    return start._replace(weights=weights, source=start.source + digest, rows=rows)


def fresh_weights(architecture: AnyArchitecture, config: Config, data: Interactions) -> dict:
    """The weights that a training from scratch starts with."""
    network = network_of(architecture, data.num_items, config.model.dropout)
    return with_features(network.init(jax.random.fold_in(jax.random.key(config.seed), 2)), data.features)


@in_float32
def rows_by_id(weights: dict, there: IdMap, here: IdMap, fresh: dict, *, source: Path | str) -> tuple[dict, Rows]:
    """`weights` of a network for the items `there` as the same network's for the items `here`; new items have the rows of `fresh`.

    `ValueError` names `source` where the two are not the same network.
    """
    got: dict[str, Any] = flatten_dict(weights, sep="/")
    want: dict[str, Any] = flatten_dict(fresh, sep="/")
    shapes = {name: np.shape(value) for name, value in want.items()}
    shapes["tables/items"] = (len(there) + 1, *shapes["tables/items"][1:])
    for name in sorted(got.keys() | shapes.keys()):
        shape = np.shape(got[name]) if name in got else None
        if shape != shapes.get(name):
            raise ValueError(
                f"{source}: {name}: expected shape {shapes.get(name)} of this config's network, got {shape}: "
                "it is of another config or of other data; search again, or use --retrain.weights fresh"
            )
    inner = there.encode(here.raw)
    table, old = np.array(fresh["tables"]["items"]), np.asarray(weights["tables"]["items"])
    known = np.flatnonzero(inner)
    table[known + 1] = old[inner[known]]
    rows = Rows(len(known), len(here) - len(known), len(there) - len(known))
    return weights | {"tables": weights["tables"] | {"items": jnp.asarray(table)}}, rows
