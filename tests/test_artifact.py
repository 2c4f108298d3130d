"""A model folder is whole, or the old one, or refused by name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from artifact import ARCHITECTURE, IDS, save

from easrec_jax import files
from easrec_jax.data.interactions import IdMap
from easrec_jax.files import read_json
from easrec_jax.serving.artifact import load_model, save_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("artifact") / "model")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return shutil.copytree(saved, tmp_path / "model")


def test_ids_of_any_text_survive(saved):
    model = load_model(saved)
    assert (
        model.item_ids.raw == IDS and model.titles == {IDS[0]: "<b>title"} and model.popularity.tolist() == [*range(7)]
    )


class Killed(BaseException):
    """What SIGKILL leaves behind, at a chosen place: nothing after it runs that would tidy up."""


@pytest.mark.parametrize("moment", range(12))
def test_wherever_the_writer_dies_a_whole_model_is_found(tmp_path, monkeypatch, moment):
    """The old one or the new one, and the next writer leaves nothing lying about."""
    target, other = save(tmp_path / "model", IDS[4:]), tuple(reversed(IDS[4:]))
    calls = []

    def dying(call):
        def wrapped(*args, **options):
            if len(calls) >= moment:
                raise Killed
            calls.append(call)
            return call(*args, **options)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", dying(os.replace))
        patch.setattr(files, "_remove", lambda path: None if calls else files.shutil.rmtree(path, ignore_errors=True))
        patch.setattr(files.os, "getpid", lambda: 2**22 + 7)  # no living process
        try:
            save(target, other)
        except Killed:
            pass
        else:
            assert moment >= 9  # seven files, two renames
    assert load_model(target).item_ids.raw in (IDS[4:], other)
    assert moment < 9 or load_model(target).item_ids.raw == other
    save(target, other)
    assert load_model(target).item_ids.raw == other
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_leaves_the_old_model_and_one_line(tmp_path, monkeypatch):
    target = save(tmp_path / "model", IDS[4:])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        save(target, tuple(reversed(IDS[4:])))
    assert load_model(target).item_ids.raw == IDS[4:]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_model_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    target, other = save(tmp_path / "model", IDS[4:]), tuple(reversed(IDS[4:]))
    reads = []

    def slow(path):
        if path.name == "items.json" and not reads:
            reads.append(1)
            save(target, other)
        return read_json(path)

    monkeypatch.setattr("easrec_jax.serving.artifact.read_json", slow)
    model = load_model(target)
    assert model.item_ids.raw == other and reads


@pytest.mark.parametrize("name", ["weights.npz", "items.json", "architecture.json", "config.json", "results.json"])
@pytest.mark.parametrize("how", ["truncated", "missing"])
def test_a_damaged_folder_names_the_file(folder, name, how):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    if how == "missing":
        (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{name}: (damaged|missing)"):
        load_model(folder)


def test_a_manifest_of_another_version_or_pointing_outside_is_refused(folder, tmp_path):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(ValueError, match="expected 'easrec_jax model' version 1, got .* version 99"):
        load_model(folder)
    outside = manifest["sha256"] | {"../../secret": "0"}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": outside}))
    with pytest.raises(ValueError, match="names a file outside"):
        load_model(folder)
    with pytest.raises(FileNotFoundError, match="no model here"):
        load_model(tmp_path / "nowhere")


def test_saving_over_a_model_replaces_it_whole(folder, tmp_path):
    target = tmp_path / "model"
    model = load_model(folder)
    for ids in (IDS, tuple(reversed(IDS))):
        save_model(
            target, model._replace(item_ids=IdMap(ids)), architecture=ARCHITECTURE.to_json(), config="{}", metrics=""
        )
        assert load_model(target).item_ids.raw == ids
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
