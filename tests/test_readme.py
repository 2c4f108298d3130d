"""The recipes of README, tutorial and other pages, run as they are written (installations are left out, and trainings are cut short)."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import time
import urllib.request
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import polars as pl
import pytest
from documents import PAGES, ROOT, block

from easrec_jax.architecture import full_architecture
from easrec_jax.config import Config
from easrec_jax.config_files import load_config, to_json
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted
from easrec_jax.models.network import Network
from easrec_jax.serving.answer_table import answer_table
from easrec_jax.serving.artifact import Model, save_model
from easrec_jax.serving.recommend import Recommender

TUTORIAL = "docs/tutorial.md"
SHORT = [
    "--search.epochs=2",
    "--search.warmup_epochs=1",
    "--search.finalists=1",
    "--retrain.epochs=1",
    "--model.width=16",
    "--model.inner=16",
    "--model.layers=1",
    "--retrain.baselines",
    "popularity",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the demo's model, untrained, and the inputs that the recipes name."""
    path = tmp_path_factory.mktemp("readme")
    config = load_config(ROOT / "configs" / "demo.py")
    split = Split(planted(users=200, items=400, seed=0).data)
    architecture = full_architecture(config.model)
    weights = Network(architecture, split.data.num_items).init(jax.random.key(0))
    model = Model(architecture, weights, split.data.item_ids, split.popularity(), {"test": {}})
    save_model(path / "runs/demo/model", model, architecture=architecture.to_json(), config=to_json(config), metrics="")
    raw = np.array(split.data.item_ids.raw)[split.data.items - 1]
    users = np.repeat(split.data.user_ids.raw, split.data.lengths)
    events = pl.DataFrame({"user_id": users, "item_id": raw, "timestamp": np.arange(len(raw))})
    events.write_parquet(path / "users.parquet")
    events.with_columns(pl.col("item_id").str.replace("i", "shoe-")).write_csv(path / "clicks.csv")
    return path


def shell(line: str, folder: Path, *more: str) -> list[str]:
    """The words of a README line, its programs found in the repository."""
    words = shlex.split(line, comments=True)
    words = [str(ROOT / word) if word.startswith(("bin/", "configs/")) else word for word in words]
    return [sys.executable, *words[1:], *more] if words[0] == "python" else words


def run(line: str, folder: Path, *more: str) -> str:
    done = subprocess.run(shell(line, folder, *more), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_own_data_and_the_next_night(folder):
    """Half a minute: a search, two trainings and a recommendation, each the process that the README says."""
    out = ""
    for line in block("head -3 clicks.csv", TUTORIAL).splitlines():
        if not line.startswith("pip"):
            out = run(line, folder, *(SHORT if "configs/" in line else ()))
    assert len(out.splitlines()) == 11
    (report,) = [x for x in block("python bin/search.py    configs/demo.py").splitlines() if "report.py" in x]
    run(report, folder)
    assert (folder / "report.html").stat().st_size > 10_000
    assert "0 fresh" in run(
        block("python bin/retrain.py configs/demo.py --workdir runs/tonight", TUTORIAL), folder, *SHORT
    )


def test_the_commands_of_the_front_page():
    """They are those of the tutorial's own data, at the demo's length."""
    lines = block("python bin/search.py    configs/demo.py").splitlines()
    longer = [
        re.sub(r" --model.max_length 100", "", line) for line in block("head -3 clicks.csv", TUTORIAL).splitlines()
    ]
    assert [line.split("#")[0].split() for line in lines[:3]] == [line.split() for line in longer[2:]]
    assert "bin/serve.py" in lines[3] and "bin/report.py" in lines[4]


def test_the_demo_is_three_commands_of_the_tutorial():
    told = run("python bin/demo.py --help", ROOT)
    steps = [shlex.split(line, comments=True) for line in told.splitlines() if line.startswith("  python bin/")]
    (chain,) = block("python bin/search.py configs/demo.py &&", TUTORIAL).splitlines()
    assert steps == [shlex.split(part) for part in chain.split("&&")]


def test_reading_in_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(block("from easrec_jax import read_interactions", "docs/guide.md"), names)
    assert names["data"].num_users == 200


@pytest.mark.parametrize("first", ["recommender = Recommender.load", "stream = recommender.start"])
def test_recommending_in_python(folder, monkeypatch, first):
    monkeypatch.chdir(folder)
    code = block("recommender = Recommender.load", TUTORIAL)
    names: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unknown ids and empty histories are part of the recipe
        exec(code, names)
        if first != "recommender = Recommender.load":
            *lines, last = block(first, TUTORIAL).splitlines()
            exec("\n".join(lines), names)
            (answer, _) = eval(last.partition("#")[0], names)
            assert len(answer) == 10


def test_all_of_it_in_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("easrec_jax.config_files.load_config", lambda path: short(load_config(ROOT / path)))
    names: dict = {}
    *lines, last = block("from easrec_jax import load_config").splitlines()
    exec("\n".join(lines), names)
    (best,) = eval(last, names)
    assert len(best) == 10 and best[0][0].startswith("shoe-")
    assert names["recommender"].results["test"]["full"]["ndcg@10"] > 0


def short(config: Config) -> Config:
    """The same, small."""
    return replace(
        config,
        model=replace(config.model, width=16, inner=16, layers=1),
        search=replace(config.search, epochs=2, warmup_epochs=1, finalists=1),
        retrain=replace(config.retrain, epochs=1),
    )


def test_one_file(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict = {}
    exec("from easrec_jax import Recommender\nRecommender.load('runs/demo/model').export('model.jax')", names)
    exec(block("model = jax.export.deserialize", "docs/guide.md"), names)
    assert names["items"].shape == (1, 10) and np.isfinite(names["scores"]).all()
    assert len(set(names["best"]) - {None, "m3", "i17"}) == 10


def test_blocks_of_users_on_an_engine(folder, monkeypatch):
    """On a stand-in of each engine, which hands its blocks over as Ray and Spark do."""
    model = Recommender.load(folder / "runs/demo/model")
    users = pl.DataFrame({"user": ["a", "b"], "history": [["i1"], ["i2", "i3"]]})
    wanted = [answer_table(model, block)["items"].to_list() for block in users.iter_slices(1)]
    done = []

    def map_batches(kind, *, fn_constructor_args, **_):
        answer = kind(*fn_constructor_args)
        done.extend(answer(block).to_batches()[0] for block in users.iter_slices(1))
        return SimpleNamespace(write_parquet=lambda address: None)

    def map_in_arrow(function, schema):
        assert schema == "user string, items array<string>, scores array<float>"
        done.extend(function(users.iter_slices(1)))
        return SimpleNamespace(write=SimpleNamespace(parquet=lambda address: None))

    data = SimpleNamespace(read_parquet=lambda *_, **__: SimpleNamespace(map_batches=map_batches))
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(data=data))
    monkeypatch.setattr(pl.DataFrame, "to_arrow", lambda self: SimpleNamespace(to_batches=lambda: [self]))
    monkeypatch.setattr(Recommender, "load", lambda name: model)
    names = {"users": SimpleNamespace(mapInArrow=map_in_arrow)}
    for first in ("import ray", "def answer(blocks)"):
        done.clear()
        exec(block(first, "docs/scale.md"), names | {"Recommender": Recommender, "answer_table": answer_table})
        assert [answers["items"].to_list() for answers in done] == wanted


class Spawned:
    """A pool of workers that get pickles, in this process."""

    def __init__(self, method: str) -> None:
        assert method == "spawn"

    def Pool(self, workers: int) -> contextlib.nullcontext:
        return contextlib.nullcontext(self)

    def map(self, function, jobs: list) -> list:
        return [function(pickle.loads(pickle.dumps(job))) for job in jobs]


def test_workers_that_are_spawned(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("multiprocessing.get_context", Spawned)
    exec(block("import multiprocessing", "docs/troubleshooting.md"), {"__name__": "__main__"})
    (best,) = eval(capsys.readouterr().out)
    assert len(best) == 3


def test_compiled_programs_are_kept(folder, monkeypatch):
    """Where the page says; that a recommender compiles beforehand is known elsewhere."""
    monkeypatch.chdir(folder)
    warmed = []
    monkeypatch.setattr(Recommender, "warm_up", lambda self, k: warmed.append(k))
    before = jax.config.jax_compilation_cache_dir
    try:
        exec(block("import jax", "docs/troubleshooting.md"), {})
        assert jax.config.jax_compilation_cache_dir == "programs" and warmed == [10]
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_everyone_an_index_a_report(folder):
    for line in block("python bin/serve.py runs/demo/model", TUTORIAL).splitlines():
        if "serve.py" not in line and "report.py" not in line:
            run(line, folder)
    assert len(pl.read_parquet(folder / "recs.parquet")) == 200
    assert list((folder / "recs").glob("part-*.parquet")) and (folder / "runs/demo/index").is_dir()


def test_a_server(folder):
    (line,) = [x for x in block("python bin/serve.py runs/demo/model", TUTORIAL).splitlines() if "serve.py" in x]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    log = folder / "serve.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            shell(line, folder, "--port", "0", "--limits.batch", "2", "--limits.k", "16", "--limits.history", "40"),
            cwd=folder, env=environment, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        for _ in range(1800):
            address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
            if server.poll() is not None or (address and ready(address[0])):
                break
            time.sleep(0.1)
        assert address, log.read_text()
        body = json.dumps({"histories": [["i1", "i2"]], "k": 10}).encode()
        request = urllib.request.Request(f"{address[0]}/recommend", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            (best,) = json.load(answer)["results"]
        assert len(best) == 10 and set(best[0]) == {"item", "score"}
    finally:
        server.terminate()
        server.wait(timeout=30)


def ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_the_document_of_results_is_made_from_the_files_beside_it():
    """docs/results.md shows the commands that its JSON files name, each of known commits."""
    document = (ROOT / "docs" / "results.md").read_text().splitlines()
    files = re.findall(r"\]\((results/[^)]+)\)", "\n".join(document))
    assert files and not [name for name in files if not (ROOT / "docs" / name).is_file()]
    for name in files:
        if name.endswith(".json"):
            about = json.loads((ROOT / "docs" / name).read_text())["about"]
            assert f"    {about['command']}" in document and about["commits"] != ["not recorded"]


def test_the_front_page_is_short_and_its_table_stands_in_the_pages_behind_it():
    text = (ROOT / "README.md").read_text()
    lines = text.splitlines()
    assert len(lines) <= 120 and len(re.findall(r"\.\d{4}\b", text)) <= 20 and "p <" not in text
    prose = re.sub(r"(?m)^(    |#|!).*$|\]\(\S+\)|\*", "", text)  # no code, headings and pictures
    sentences = re.split(r"[.:?!](?:\s|$)|\n\n|\||\n- ", prose)
    assert not [one for one in sentences if len(one.split()) > 20]
    behind = (ROOT / "docs" / "results" / "movielens-1m.md").read_text().splitlines()
    figures = [line for line in lines if re.match(r"\|.* \.\d{4} ", line)]
    assert figures and not [line for line in figures if line not in behind]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_headings(name):
    path = ROOT / name
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        there = path.parent / target if target else path
        assert there.exists(), f"{target} in {name}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], heading
