"""What a network is and what it was measured on, as the files of a run say it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from easrec_jax.architecture import full_architecture, sasrec_architecture
from easrec_jax.cells import AnyArchitecture
from easrec_jax.config import Config, DataConfig
from easrec_jax.config.splits import LEAVE_ONE_OUT
from easrec_jax.data.split import Split
from easrec_jax.files import read_json
from easrec_jax.models.cost import all_positions_flops, parameter_count, request_flops


def describe_architecture(architecture: AnyArchitecture, config: Config, num_items: int, chosen_by: dict) -> dict:
    """The content of architecture.json: sizes, FLOPs of a request, parameters, how it was chosen."""
    flops = describe_flops(request_flops(architecture, num_items), architecture, config, num_items)
    size = {"parameters": parameter_count(architecture, num_items), "chosen_by": chosen_by}
    return architecture.to_json() | flops | size


def describe_flops(
    flops: int, architecture: AnyArchitecture, config: Config, num_items: int, *, stacks: int = 1
) -> dict[str, Any]:
    """FLOPs of a request, those with all layers at all positions, and what fraction of the space's largest network's and of
    SASRec's each is. A baseline may have several `stacks` of the architecture's layers."""
    rest = all_positions_flops(architecture, num_items) - request_flops(architecture, num_items)
    others = {"largest": full_architecture(config.model), "sasrec": sasrec_architecture(config.model)}
    found: dict[str, Any] = {}
    for name, mine, count in (
        ("flops", flops, request_flops), ("flops_all", flops + stacks * rest, all_positions_flops),
    ):  # fmt: skip
        found[name] = mine
        found |= {f"{name}_over_{other}": mine / count(theirs, num_items) for other, theirs in others.items()}
    return found


def data_counts(config: Config, split: Split) -> dict:
    """What the figures were measured on: counts, and how targets are made."""
    source = Path(config.data.path).name or "planted"
    settings = dataclasses.asdict(config.data) | {"path": source, "titles": Path(config.data.titles).name}
    settings |= {name: Path(getattr(config.data, name)).name for name in ("features", "item_vectors", "valid", "test")}
    known = split.data.counts() | {"fingerprint": split.data.fingerprint()}
    if config.data.split != LEAVE_ONE_OUT:
        known |= {"held_out": split.counts()}
    return {"source": source} | known | {"settings": settings}


def other_split(folder: Path, data: DataConfig) -> str:
    """Words on a search or model in `folder` that was trained with another split than `data` has; empty where it was not."""
    path = folder / "config.json"
    there = read_json(path).get("data", {}) if path.is_file() else {}
    theirs, mine = there.get("split", LEAVE_ONE_OUT), data.split
    names = ("valid", "test")
    if theirs == mine and all(Path(there.get(name, "")).name == Path(getattr(data, name)).name for name in names):
        return ""
    here = mine if theirs != mine else "other files"
    return f"{folder} was trained with data.split {theirs}, this is {here}: it may have been trained on items held out here"
