"""From interactions to a recommender in memory: what the commands search and retrain do, without their folders."""

from __future__ import annotations

import json
from pathlib import Path

from easrec_jax.architecture import full_architecture
from easrec_jax.config import ADAREC, Config
from easrec_jax.config_files import to_json
from easrec_jax.data.interactions import Interactions
from easrec_jax.data.split import Split
from easrec_jax.evaluate.latency import space_latency
from easrec_jax.nas.adarec import FoundCell, search_cells, students_of
from easrec_jax.nas.search import Found
from easrec_jax.nas.search import search as search_space
from easrec_jax.runs.described import data_counts, describe_architecture
from easrec_jax.runs.retrain import Retrained, retrain
from easrec_jax.runs.search_folder import chosen_by
from easrec_jax.runs.start import fresh_weights, rows_by_id
from easrec_jax.runs.teacher import train_teacher
from easrec_jax.serving.artifact import Model, save_model
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.sizes import Size
from easrec_jax.space import space_of
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.distillation import Taught
from easrec_jax.train.loop import QUIET, Run
from easrec_jax.train.task import task_of


def search_and_fit(config: Config, data: Interactions, *, run: Run = QUIET) -> Recommender:
    """`search` a network for these interactions, `fit` it, and answer with it; `results["test"]` has its figures.

    Checkpoints, if asked for, are kept in search/ and retrain/ below the folder that `run` names.
    """
    taught = taught_by(config, data, run=_below(run, "teacher"))
    found = search(config, data, taught=taught, run=_below(run, "search"))
    return Recommender(fit(config, data, found, taught=taught, run=_below(run, "retrain")))


def _below(run: Run, name: str) -> Run:
    """Two procedures never share checkpoints."""
    if run.checkpoints is None:
        return run
    return run._replace(checkpoints=Checkpoints(run.checkpoints.folder / name, keep=run.checkpoints.keep))


def taught_by(config: Config, data: Interactions, *, run: Run = QUIET) -> Taught | None:
    """The teacher that `distill.*` asks for, trained; None where it asks for none. Raises `KeyboardInterrupt` where Ctrl-C ended it."""
    if not config.distill.share:
        return None
    trained = train_teacher(config, Split(data), run=run)
    if trained is None:
        raise KeyboardInterrupt
    return trained[0]


def search(config: Config, data: Interactions, *, taught: Taught | None = None, run: Run = QUIET) -> Found | FoundCell:
    """Search the config's space on these interactions. Raises `KeyboardInterrupt` where Ctrl-C ended it, and what `nas.search` raises.

    `taught` is whom it learns from beside the labels, of `taught_by`.
    """
    task = task_of(config, Split(data))
    if config.search.strategy == ADAREC:
        found = search_cells(students_of(config, task.num_items), task, taught, settings=config.search, run=run)
    else:
        space, costs = space_of(config), None
        if config.search.cost == "latency":
            seconds = space_latency(space, task.num_items)
            costs = seconds / seconds.max()
        found = search_space(space, task, settings=config.search, costs=costs, taught=taught, run=run)
    if not found.finished:
        raise KeyboardInterrupt
    return found


def fit(
    config: Config, data: Interactions, found: Found | FoundCell | None = None, *, taught: Taught | None = None,
    run: Run = QUIET,
) -> Model:  # fmt: skip
    """Retrain the pick of a search (None: the network of the config's own sizes) and evaluate it once on the test items.

    It starts from the supernet's weights if there are any and `config.retrain.weights` is "copied"; their item rows follow the
    items by id. It learns from the teacher of `taught_by` too, if one is given. Raises `KeyboardInterrupt` where Ctrl-C ended it.
    """
    split = Split(data)
    architecture = found.architecture if found else full_architecture(config.model)
    weights = fresh_weights(architecture, config, data)
    copied = found.cut() if found and config.retrain.weights == "copied" else None
    if found and copied is not None:
        weights, _ = rows_by_id(copied, found.item_ids, data.item_ids, weights, source="the supernet")
    done = retrain(architecture, weights, config, split, taught=taught, run=run)
    if done is None:
        raise KeyboardInterrupt
    how = chosen_by(found, config) if found else {"method": "fixed"}
    described = describe_architecture(architecture, config, data.num_items, how)
    return Model(
        architecture, done.fitted.weights, data.item_ids, split.popularity(), results_of(done, described, config, split),
        features=done.fitted.features,
    )  # fmt: skip


def results_of(done: Retrained, described: dict, config: Config, split: Split) -> dict:
    """The content of results.json: data, architecture, best epoch, figures by protocol."""
    return {
        "data": data_counts(config, split), "architecture": described, "best_epoch": done.fitted.epoch,
        "validation": done.validation, "test": done.test,
    }  # fmt: skip


def write_model(
    folder: Path,
    done: Retrained,
    results: dict,
    config: Config,
    data: Interactions,
    *,
    titles: dict[str, str],
    records: list[dict],
    front: tuple[Size, ...] = (),
) -> None:
    """Save a trained network as a model folder; `titles` of items that are not in the data are left out."""
    known = {raw: titles[raw] for raw in data.item_ids.raw if raw in titles}
    weights, popularity = done.fitted.weights, Split(data).popularity()
    about = (results, known)
    model = Model(
        done.architecture, weights, data.item_ids, popularity, *about, front=front, features=done.fitted.features
    )
    metrics = "".join(json.dumps(record) + "\n" for record in records)
    save_model(folder, model, architecture=results["architecture"], config=to_json(config), metrics=metrics)
