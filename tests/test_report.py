"""One page says all about a run, loads nothing, and shows text as text."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import jax
import numpy as np
import pytest

from easrec_jax.architecture import full_architecture
from easrec_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig
from easrec_jax.config_files import to_json
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.runs.page import write_page
from easrec_jax.runs.records import read_runs
from easrec_jax.serving.artifact import Model, save_model
from easrec_jax.space import space_of

ROOT = Path(__file__).parent.parent
HOSTILE = "<script>alert(1)</script>$\\foo$\"'&"
CONFIG = Config(
    data=DataConfig(path=HOSTILE),
    model=ModelConfig(width=8, inner=8, layers=2, heads=2, max_length=4),
    evaluate=EvaluateConfig(select_by="full"),
)


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


def figures(value: float) -> dict:
    return {"full": {"recall@10": value + 0.1, "mrr@10": value - 0.1, "ndcg@10": value}}


def make_run(folder: Path) -> Path:
    """A run as the commands leave it, with hostile text wherever text comes from data."""
    space, pick = space_of(CONFIG), {"candidate": 0, "depth": 1, "cost": 0.5}
    chosen = {"method": HOSTILE, "finalists": [{"candidate": 1, "ndcg@10": 0.2}]}
    described = space.largest.to_json() | {"flops": 123_456_789, "parameters": 4321, "chosen_by": chosen}
    searched = [
        {"epoch": e, "p": [0.2] * 3, "q": [0.5] * 2, "expected_cost": 0.6, "pick": pick, "ndcg@10": 0.1 * e}
        for e in (1, 2)
    ]
    trained = [{"epoch": e, "loss": 3.0 / e, "ndcg@10": 0.1 * e} for e in (1, 2, 3)]
    for part, records in (("search", searched), ("retrain", trained)):
        (folder / part).mkdir(parents=True)
        (folder / part / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
        (folder / part / "config.json").write_text(to_json(CONFIG))
    (folder / "search" / "architecture.json").write_text(json.dumps(described))
    results = {
        "data": {"source": HOSTILE, "users": 77_777}, "architecture": described, "device": HOSTILE, "seconds": 12.0,
        "test": figures(0.3), "validation": figures(0.4),
        "baselines": {"popularity": {"test": figures(0.15)}, HOSTILE: {"test": {HOSTILE: {"ndcg@10": "many"}}}},
    }  # fmt: skip
    network = Network(full_architecture(CONFIG.model), 12)
    ids = IdMap(tuple(f"i{k}" for k in range(12)))
    model = Model(network.architecture, network.init(jax.random.key(0)), ids, np.zeros(13, np.int64), results)
    save_model(folder / "model", model, architecture=described, config=to_json(CONFIG), metrics="")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "<b>&run")


def page_of(runs: list[Path], path: Path, **options) -> Page:
    write_page(read_runs(runs, latency=options.pop("latency", False)), path, **options)
    return Page(path.read_text())


def test_the_page_shows_everything_of_a_run_and_loads_nothing(run, tmp_path):
    page = page_of([run], tmp_path / "report.html", latency=True)
    assert page.tags.count("img") == 3 and len(page.sources) == 3  # comparison, search, training
    for source in page.sources:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64" and base64.b64decode(data).startswith(b"\x89PNG")
    for shown in (
        "0.4000 / 0.2000 / 0.3000",
        "0.2500 / 0.0500 / 0.1500",
        "123.5",
        "4,321",
        "77,777",
        '"learning_rate": 0.001',
    ):
        assert shown in page.text, shown
    assert re.search(r"\d+\.\d\d / \d+\.\d\d", page.text) and "measured when this page was made on: CPU" in page.text
    assert "0.5000 / 0.3000 / 0.4000" in page_of([run], tmp_path / "v.html", part="validation").text


def test_text_of_a_run_stays_text(run, tmp_path):
    page = page_of([run], tmp_path / "report.html")
    assert "script" not in page.tags and "b" not in page.tags
    assert page.text.count(HOSTILE) >= 4 and "<b>&run" in page.text and "Latency was not measured" in page.text


def test_runs_stand_beside_each_other_by_distinct_names(run, tmp_path):
    other = make_run(tmp_path / run.name)
    page = page_of([run, other], tmp_path / "report.html")
    assert page.tags.count("img") == 5
    assert run.as_posix() in page.text and other.as_posix() in page.text


def test_runs_on_different_data_stand_in_different_tables(run, tmp_path):
    """The best of each table is marked in it."""
    others = [make_run(tmp_path / name) for name in ("same", "other", "regrown")]
    for folder, data in zip(others, ({}, {"users": 5}, {"fingerprint": "a" * 64}), strict=True):
        path = folder / "model" / "results.json"
        results = json.loads(path.read_text())
        path.write_text(json.dumps(results | {"data": results["data"] | data}))
    page = page_of([run, *others], tmp_path / "report.html")
    tables = page.text.split("Accuracy and cost, test items of ")[1:]
    assert (
        len(tables) == 3 and tables[1].startswith(f"{HOSTILE}: 5 users") and "fingerprint aaaaaaaa" in tables[2][:200]
    )
    assert "<b>&run" in tables[0] and "same: popularity" in tables[0] and "other: popularity" not in tables[0]
    assert "other: popularity" in tables[1] and "regrown: popularity" in tables[2] and "same" not in tables[1]
    marked = re.findall(r"<td class='best'>([^<]*)</td>", (tmp_path / "report.html").read_text())
    assert marked == ["0.4000 / 0.2000 / 0.3000"] * 4  # the first table has two of equal figures


def test_one_table_of_data_sets_apart_in_markdown_too(run, tmp_path):
    other = make_run(tmp_path / "other")
    results = json.loads((other / "model" / "results.json").read_text())
    results["data"]["users"], results["baselines"] = 5, {}
    (other / "model" / "results.json").write_text(json.dumps(results))
    path = tmp_path / "first" / "model"
    path.mkdir(parents=True)
    (path / "results.json").write_text(json.dumps(results | {"data": {"source": "x.csv", "users": 6}}))
    done = subprocess.run(
        [sys.executable, str(ROOT / "bin" / "report.py"), str(other), str(path.parent), "--markdown"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count("\n| --- |") == 2 and "\nx.csv: 6 users\n" in done.stdout


def test_what_is_not_there_yet_is_left_out_and_what_is_wrong_is_named(run, tmp_path):
    young = tmp_path / "young"
    (young / "search").mkdir(parents=True)
    (young / "search" / "config.json").write_text(to_json(dataclasses.replace(CONFIG, seed=3)))
    (young / "search" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    page = page_of([young], tmp_path / "report.html")
    assert "search trajectories cannot be drawn: KeyError" in page.text and "img" not in page.tags
    (young / "search" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: not valid JSON"):
        read_runs([young], latency=False)
    (young / "search" / "config.json").unlink()
    with pytest.raises(ValueError, match="young: no run here"):
        read_runs([young], latency=False)
