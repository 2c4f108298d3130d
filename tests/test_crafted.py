"""Crafted model folders are refused by name: they run nothing, read nothing outside, fill no memory."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from artifact import ARCHITECTURE, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from easrec_jax.files import file_digests, read_arrays, write_arrays
from easrec_jax.serving.artifact import load_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("artifact") / "model")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return shutil.copytree(saved, tmp_path / "model")


def sign(folder: Path) -> Path:
    """Make the checksums right again: what a forger would do."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": file_digests(folder)}))
    return folder


def change(folder: Path, name: str, **changes) -> Path:
    path = folder / name
    tree = {k: v for k, v in (json.loads(path.read_text()) | changes).items() if v != "REMOVED"}
    path.write_text(json.dumps(tree))
    return folder if name == "manifest.json" else sign(folder)


BAD_JSON = [
    ("manifest.json", {"sha256": "text"}, "manifest.json: expected checksums as an object"),
    ("manifest.json", {"sha256": {"weights.npz": 5}}, "manifest.json: expected checksums as an object"),
    ("manifest.json", {"sha256": {}}, "manifest.json: there is no checksum of weights.npz, items.json"),
    ("manifest.json", {"sha256": "REMOVED"}, "manifest.json: expected checksums"),
    ("manifest.json", {"format": ["x"] * 1000}, "manifest.json: expected 'easrec_jax model'"),
    ("items.json", {"ids": "REMOVED"}, "items.json: ids: expected a list"),
    ("items.json", {"ids": {"a": 1}}, "items.json: ids: expected a list"),
    ("items.json", {"ids": []}, "items.json: ids: expected a list"),
    ("items.json", {"ids": ["a", "b", "c", "d", "e", "e"]}, "items.json: ids: raw ids: expected distinct ids"),
    ("items.json", {"ids": ["a", "b", "c", "d", "e", 6]}, "items.json: ids: expected a list of raw item ids"),
    ("items.json", {"ids": ["a", "b", "c", "d", "e", "\ud800"]}, "items.json: ids: 'utf-8' codec"),
    ("items.json", {"interactions": "REMOVED"}, "items.json: interactions: expected 6 integers"),
    ("items.json", {"interactions": [1, 2]}, "items.json: interactions: expected 6 integers"),
    ("items.json", {"interactions": [1, 2, 3, 4, 5, float("nan")]}, "items.json: interactions: expected 6 integers"),
    ("items.json", {"interactions": [1, 2, 3, 4, 5, -1]}, "items.json: interactions: expected 6 integers"),
    ("items.json", {"interactions": [1, 2, 3, 4, 5, 10**30]}, "items.json: interactions: expected 6 integers"),
    ("items.json", {"titles": {"a": 5}}, "items.json: titles: expected"),
    ("architecture.json", {"width": "REMOVED"}, "architecture.json: missing fields"),
    ("architecture.json", {"width": "8"}, "architecture.json: architecture.width: expected int"),
    ("architecture.json", {"heads": True}, "architecture.json: architecture.heads: expected int"),
    ("architecture.json", {"conv_width": 10**9}, "architecture.json: architecture.conv_width: expected"),
    ("architecture.json", {"learn_decay": 1}, "architecture.json: architecture.learn_decay: expected bool"),
    ("architecture.json", {"attention": ["softmax"]}, "architecture.json: architecture.attention: expected"),
    ("architecture.json", {"depth": 10**9}, "weights.npz: expected weights of 1000000000 layers, got 2"),
    ("architecture.json", {"width": 10**9}, "weights.npz: "),
    ("architecture.json", {"inner": 16}, "expected float32 of shape (16, 8), got float32 of shape (8, 8)"),
    ("architecture.json", {"gate_layers": 2}, "weights.npz: "),
]


@pytest.mark.parametrize(("name", "changes", "message"), BAD_JSON)
def test_json_of_another_make_is_named(folder, name, changes, message):
    with pytest.raises(ValueError) as caught:
        load_model(change(folder, name, **changes))
    assert message in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["manifest.json", "items.json", "architecture.json", "results.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "9" * 10_000, "\xff", "", '{"a": 1'])
def test_what_is_no_json_object_is_named(folder, name, text):
    (folder / name).write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"{name}: (not valid JSON|expected a JSON object)"):
        load_model(folder if name == "manifest.json" else sign(folder))


def raw_array(declared: str, data: bytes) -> bytes:
    header = f"{{'descr': {declared}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def members(folder: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(folder / "weights.npz") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def crafted(case: str, folder: Path) -> str:
    """Write weights.npz of that kind; the words expected in the error."""
    path, arrays, raw = folder / "weights.npz", read_arrays(folder / "weights.npz"), members(folder)
    table, compression, message = "tables/items", zipfile.ZIP_STORED, "weights.npz: tables/items: expected float32"
    if case == "nan":
        arrays[table][2, 3], message = np.nan, "weights.npz: tables/items: expected finite numbers, got NaN or infinity"
    elif case == "infinity":
        arrays[table][2, 3], message = np.inf, "weights.npz: tables/items: expected finite numbers, got NaN or infinity"
    elif case == "shape":
        arrays[table] = arrays[table][:-1]
    elif case == "dtype":
        arrays[table] = arrays[table].astype(np.float64)
    elif case == "missing":
        del arrays[table]
        message = "weights.npz: tables/items: missing"
    elif case == "more":
        arrays["backdoor"], message = np.zeros(3), "weights.npz: backdoor: not a weight of this architecture"
    if case in ("nan", "infinity", "shape", "dtype", "missing", "more"):
        write_arrays(path, arrays)
        return message
    message = "weights.npz: damaged, or not a file of arrays: "
    if case == "bomb":  # 1 GB of zeros in 1 MB
        compression, raw[f"{table}.npy"] = zipfile.ZIP_DEFLATED, bytes(50_000_000)
        message += "expected arrays without compression"
    elif case == "huge":
        raw[f"{table}.npy"] = raw_array("'<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000)", b"1234")
        message += "tables/items.npy: float32 of shape (1000000000, 1000000000) is not what 4 bytes can be"
    elif case == "endless nothing":
        raw[f"{table}.npy"] = raw_array("'<U0', 'fortran_order': False, 'shape': (1000000000000,)", b"")
    elif case == "object":
        file = io.BytesIO()
        np.save(file, np.array([os.system, {}], object), allow_pickle=True)
        raw[f"{table}.npy"] = file.getvalue()
    elif case == "code":
        raw[f"{table}.npy"] = raw_array("__import__('os').system('touch owned')", b"")
    elif case == "brackets":
        raw[f"{table}.npy"] = raw_array("(" * 5000 + ")" * 5000, b"")
    elif case == "no array":
        raw[f"{table}.npy"] = b"hello"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in raw.items():
            archive.writestr(name, data)
        if case == "twice":
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(f"{table}.npy", raw[f"{table}.npy"])
            message += "an array is there twice"
    return message


CASES = ["nan", "infinity", "shape", "dtype", "missing", "more", "bomb", "huge", "endless nothing", "object", "code"]


@pytest.mark.parametrize("case", [*CASES, "brackets", "no array", "twice"])
def test_crafted_weights_are_refused_and_run_nothing(folder, case, monkeypatch):
    monkeypatch.chdir(folder.parent)
    message = crafted(case, folder)
    with pytest.raises(ValueError) as caught:
        load_model(sign(folder))
    assert message in str(caught.value) and sorted(p.name for p in folder.parent.iterdir()) == ["model"]


@pytest.mark.parametrize("name", ["weights.npz", "items.json", "manifest.json"])
def test_nothing_outside_the_folder_is_read(folder, name):
    shutil.move(folder / name, folder.parent / "secret")
    (folder / name).symlink_to(folder.parent / "secret")
    with pytest.raises((ValueError, FileNotFoundError), match="names a file outside|no model here"):
        load_model(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a\0b", "../" * 50])
def test_checksums_of_files_outside_are_refused(folder, name):
    listed = json.loads((folder / "manifest.json").read_text())["sha256"]
    with pytest.raises(ValueError, match=r"manifest.json: the list of checksums names a file outside"):
        load_model(change(folder, "manifest.json", sha256=listed | {name: "0"}))


def test_a_pipe_in_place_of_a_file_does_not_hang(folder):
    (folder / "weights.npz").unlink()
    os.mkfifo(folder / "weights.npz")
    with pytest.raises(ValueError, match="weights.npz: missing"):
        load_model(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


KEYS = {
    "manifest.json": ["format", "version", "sha256"],
    "items.json": ["ids", "interactions", "titles"],
    "architecture.json": [*ARCHITECTURE.to_json()],
}


@given(st.sampled_from([(n, k) for n, keys in KEYS.items() for k in keys]), JSON)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_loads_or_is_named(saved, tmp_path_factory, where, value):
    name, key = where
    folder = shutil.copytree(saved, tmp_path_factory.mktemp("fuzz") / "model")
    try:
        load_model(change(folder, name, **{key: value}))
    except ValueError as error:
        assert str(folder) in str(error)
    finally:
        shutil.rmtree(folder.parent)


@given(st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_byte_of_the_weights_changed_loads_or_is_named(saved, tmp_path_factory, data):
    folder = shutil.copytree(saved, tmp_path_factory.mktemp("fuzz") / "model")
    raw = bytearray((folder / "weights.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (folder / "weights.npz").write_bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))])
    try:
        load_model(sign(folder))
    except ValueError as error:
        assert "weights.npz: " in str(error)
    finally:
        shutil.rmtree(folder.parent)
