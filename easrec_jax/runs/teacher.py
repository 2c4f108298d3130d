"""WORKDIR/teacher/: the network that students learn from, trained once, before anything that needs it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config
from easrec_jax.data.split import Split
from easrec_jax.files import check_digests, file_digest, file_digests, read_json, whole_folder, write_text
from easrec_jax.models.encoder import Layered
from easrec_jax.models.rival import find_rival
from easrec_jax.runs.cli import Progress, fail
from easrec_jax.runs.retrain import train_and_evaluate
from easrec_jax.serving.artifact import load_tree, save_tree
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.distillation import Taught
from easrec_jax.train.loop import QUIET, Run

FOLDER, UNFINISHED = "teacher", "teacher_checkpoints"  # in a work directory


def teacher_network(config: Config, num_items: int) -> Layered:
    """The teacher that `distill.*` describes."""
    settings, model = config.distill, config.model
    architecture = Architecture(
        width=settings.width, inner=settings.width, depth=settings.layers, heads=model.heads,
        max_length=model.max_length, attention="softmax", gate_layers=0,
    )  # fmt: skip
    make = find_rival(settings.teacher)[0].network
    assert make is not None
    network: Any = make(architecture, None, num_items, _dropout(config))
    return network


def teacher_flops(config: Config, num_items: int) -> int:
    """Of a request to it."""
    return find_rival(config.distill.teacher)[0].flops(teacher_network(config, num_items))


def train_teacher(config: Config, split: Split, *, run: Run = QUIET) -> tuple[Taught, dict] | None:
    """(the teacher, trained, without dropout; its figures); None if interrupted. `retrain.*` has what `distill.*` leaves open."""
    settings = dataclasses.replace(
        config.retrain, epochs=config.distill.epochs, learning_rate=config.distill.learning_rate
    )
    network = teacher_network(config, split.data.num_items)
    weights = network.init(jax.random.fold_in(jax.random.key(config.seed), 3))
    done = train_and_evaluate(network, weights, dataclasses.replace(config, retrain=settings), split, run=run)
    if done is None:
        return None
    figures = {
        "flops": teacher_flops(config, split.data.num_items), "parameters": sum(x.size for x in jax.tree.leaves(weights)),
        "best_epoch": done.fitted.epoch, "validation": done.validation, "test": done.test,
    }  # fmt: skip
    return _taught(config, split, done.fitted.weights), figures


def _taught(config: Config, split: Split, weights: dict, digest: str = "") -> Taught:
    network: Any = teacher_network(config, split.data.num_items).clone(dropout=0.0)
    return Taught(network, weights, config.distill, digest)


def find_teacher(config: Config, workdir: Path, split: Split, *, run: Run = QUIET) -> Taught | None:
    """The teacher of a work directory, trained first if there is none, from its newest checkpoint; None if interrupted.

    Raises `ValueError` where the one that is there is of other settings or data.
    """
    folder, unfinished = workdir / FOLDER, workdir / UNFINISHED
    if not (folder / "teacher.json").is_file():
        trained = train_teacher(config, split, run=run._replace(checkpoints=Checkpoints(unfinished), resume=True))
        if trained is None:
            return None
        with whole_folder(folder) as aside:
            save_tree(aside / "weights.npz", trained[0].weights)
            described = {"made_of": _made_of(config, split), "sha256": file_digests(aside)} | trained[1]
            write_text(aside / "teacher.json", json.dumps(described, indent=2) + "\n")
        shutil.rmtree(unfinished, ignore_errors=True)
    check_teacher(config, workdir, split)
    path = folder / "weights.npz"
    return _taught(config, split, load_tree(path), file_digest(path))


def check_teacher(config: Config, workdir: Path, split: Split) -> None:
    """Raise `ValueError` where the teacher of a work directory is asked for and of other settings or data, or damaged."""
    folder = workdir / FOLDER
    if not config.distill.share or not (folder / "teacher.json").is_file():
        return
    tree, here = read_json(folder / "teacher.json"), json.loads(json.dumps(_made_of(config, split)))
    there = tree.get("made_of")
    if there != here:
        differ = [name for name in here if not isinstance(there, dict) or there.get(name) != here[name]]
        raise ValueError(
            f"{folder}: the teacher there was made otherwise ({', '.join(differ)}): delete the folder, or use another --workdir"
        )
    check_digests(folder, tree.get("sha256"), source=folder / "teacher.json", needed=("weights.npz",))


def teach(config: Config, workdir: Path, split: Split) -> Taught | None:
    """`find_teacher` for a command that shows how far its training is, or that it stands already; None where `distill.*` asks for
    none.

    Ends the command where Ctrl-C ended it: the next one goes on.
    """
    if not config.distill.share:
        return None
    if (workdir / FOLDER / "teacher.json").is_file():
        print(f"teacher: {workdir / FOLDER}, as it was trained before", flush=True)
    with Progress("teacher") as progress:
        taught = find_teacher(config, workdir, split, run=Run(on_step=progress.step, on_epoch=progress.epoch))
    if taught is None:
        fail(
            f"interrupted while training the teacher; its checkpoint in {workdir / UNFINISHED} is good: --resume continues"
        )
    return taught


def _dropout(config: Config) -> float:
    """Of the teacher's training."""
    return config.model.dropout if config.distill.dropout is None else config.distill.dropout


def _made_of(config: Config, split: Split) -> dict:
    """What a teacher depends on; not on what its students make of it."""
    distill = {k: v for k, v in dataclasses.asdict(config.distill).items() if k not in ("share", "terms", "mapping")}
    model = {name: getattr(config.model, name) for name in ("heads", "max_length")} | {"dropout": _dropout(config)}
    of = {name: getattr(config.data, name) for name in ("targets", "windows")} | {"seed": config.seed}
    return distill | model | of | {"select_by": config.evaluate.select_by} | split.data.identity()
