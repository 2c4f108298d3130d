"""Several devices and processes compute what one device does, each with its part of the table and of the batch.

Eight virtual devices and two processes need processes of their own: `mesh_laws.py` and `mesh_pair.py`, started once for all tests.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from easrec_jax.config import Config, DistillConfig, MeshConfig
from easrec_jax.parallel.layout import make_mesh

HERE = Path(__file__).parent
MESHES = ("8x1", "1x8", "2x4")


@pytest.fixture(scope="module")
def measured(request, tmp_path_factory) -> SimpleNamespace:
    """What the processes print: `laws`, by name, and `pair`, of both processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    cache = str(request.config.cache.mkdir("jax_mesh"))

    def start(devices: int, name: str, *arguments: str) -> subprocess.Popen:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        paths = {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}", "JAX_COMPILATION_CACHE_DIR": cache}
        some = {"JAX_PLATFORMS": "cpu", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        return subprocess.Popen(
            [sys.executable, str(HERE / name), *arguments], env={**os.environ, **paths, **some, "XLA_FLAGS": flags},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    folder = str(tmp_path_factory.mktemp("pair"))
    started = [start(8, "mesh_laws.py"), *(start(2, "mesh_pair.py", port, number, folder) for number in "01")]
    found = []
    try:
        for process in started:
            out, err = process.communicate(timeout=900)
            assert process.returncode == 0, err[-4000:]
            found.append([json.loads(line) for line in out.splitlines() if line.startswith("{")])
    finally:
        for process in started:
            process.kill()
    laws = {name: value for line in found[0] for name, value in line.items()}
    return SimpleNamespace(laws=laws, pair=[lines[-1] for lines in found[1:]])


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_twenty_steps_on_any_mesh_are_those_of_one_device(measured, kind, mesh):
    """With dropout, a batch that no mesh divides and a table of a prime number of rows."""
    found = measured.laws["steps"][f"{kind} {mesh}"]
    assert found["loss"] <= 1e-5 and found["weights"] <= 1e-5
    assert found["filling"] == 0.0
    shards = int(mesh.split("x")[1])
    assert found["tables"] == 3 and found["shards"] == [
        found["rows"] // shards
    ]  # weights and both moments, after the steps too
    assert found["rows"] >= 1009 and found["rows"] - 1009 < shards


def test_no_collective_carries_the_table(measured):
    """What is dense, the gradient of the full loss, is summed up over copies of the table: by shards, where there are shards."""
    for name, found in measured.laws["steps"].items():
        if name != "full 8x1":
            assert max(found["carried"]) < 1009, name


@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_more_devices_have_less_to_compute_and_to_hold(measured, kind):
    sizes = {mesh: measured.laws["sizes"][f"{kind} {mesh}"] for mesh in ("1x1", "8x1", "1x8")}
    assert sizes["8x1"]["flops"] <= 0.25 * sizes["1x1"]["flops"]
    assert sizes["1x8"]["bytes"] <= 0.2 * sizes["1x1"]["bytes"]
    assert all(of["aliased"] >= of["state"] for of in sizes.values())  # the state is updated in place


def test_ranks_counted_by_shards_are_those_of_one_device_in_all_protocols(measured):
    found = measured.laws["counts"]
    assert found["ties"] > 100
    assert found["same"] and all(found["same"].values()), found["same"]


def test_the_best_items_by_shards_are_those_of_one_device_in_the_same_order_of_ties(measured):
    found = measured.laws["top"]
    assert found["tied"]
    assert all(same and apart <= 1e-5 for same, apart in found["found"].values()), found


def test_bulk_answers_on_a_mesh_are_those_of_one_device(measured):
    found = measured.laws["bulk"]
    assert set(found) == {"plain", "seen", "allow", "embed", "identity", "refused"} and all(found.values()), found


def test_a_search_on_a_mesh_steps_as_on_one_device(measured):
    for kind, found in measured.laws["search"].items():
        assert found["loss"] <= 1e-5 and found["weights"] <= 1e-5 and found["arch"] <= 1e-5, kind
        assert found["moved"] > 1e-4, kind


def test_a_checkpoint_is_read_on_any_number_of_devices_bit_for_bit(measured):
    found = measured.laws["checkpoints"]
    for name, (rows, places) in {"1x8": (1016, 8), "4": (1012, 4), "2x4": (1012, 8), "none": (1009, 0)}.items():
        assert found[name] == {"same": True, "rows": rows, "step": 3, "places": places}
    assert found["back"]
    assert "does not fit this network" in found["refused"]


def test_two_processes_train_as_one_device_and_stop_together_with_one_checkpoint(measured):
    for found in measured.pair:
        assert found["finished"] == [False, True]
        assert found["steps"] == [4]  # the second was told before its third step, they ask each other after the fourth
        assert found["apart"] <= 1e-5 and found["ndcg"][0] == pytest.approx(found["ndcg"][1], abs=1e-9)
        assert found["whole"] == measured.pair[0]["whole"]
        assert "nowhere" in found["error"]  # what fails in the first fails in all
    assert measured.pair[0]["losses"] == measured.pair[1]["losses"]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="--mesh.data 3 --mesh.items 5: expected at most the 1 devices"):
        make_mesh(3, 5)
    with pytest.raises(ValueError, match="mesh.coordinator: expected HOST:PORT"):
        MeshConfig(data=2, processes=2)
    with pytest.raises(ValueError, match="mesh.process: expected 0 to 1"):
        MeshConfig(data=2, coordinator="here:1", processes=2, process=2)
    with pytest.raises(ValueError, match="distill.share: expected 0 with --mesh.data 2"):
        Config(mesh=MeshConfig(data=2), distill=DistillConfig(share=0.5))


def test_the_manifests_are_whole_and_name_flags_that_there_are():
    page = (HERE.parent / "docs" / "scale.md").read_text()
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL))
    ast.parse(blocks["python"])
    assert subprocess.run(["bash", "-n"], input=blocks["bash"], text=True).returncode == 0
    job = pytest.importorskip("yaml").safe_load(blocks["yaml"])["spec"]["replicatedJobs"][0]["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert (
        f"--mesh.processes {job['completions']} " in container["args"][0] and "\n" not in container["args"][0].strip()
    )
    fields = {field.name for field in dataclasses.fields(MeshConfig)}
    assert set(re.findall(r"--mesh\.(\w+)", page)) == fields
