"""From an elastic search to a model of any size: the guide's commands on tiny data, and what chooses the sizes."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from documents import block
from tiny import SPLIT, TINY, poisoned

from easrec_jax.config import RetrainConfig, SearchConfig
from easrec_jax.config_files import from_json
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.split import Split
from easrec_jax.models.corner import corner
from easrec_jax.models.network import network_scores
from easrec_jax.runs.elastic import as_it_stands, measure_sizes
from easrec_jax.runs.evaluation import evaluate_models
from easrec_jax.runs.retrain import evaluate_both
from easrec_jax.runs.start import find_start
from easrec_jax.serving.recommend import Recommender

GUIDE = (Path(__file__).parent.parent / "docs" / "guide.md").read_text()
SECTION = GUIDE.partition("## One network, any size\n")[2].partition("\n## ")[0]
LINES = [shlex.split(line) for line in re.findall("^    (python bin/.*)", SECTION, re.MULTILINE)]
PLANTED = ("--data.planted.users", TINY.data.planted.users, "--data.planted.items", TINY.data.planted.items)
DEMO = Path(__file__).parent.parent / "configs" / "elastic_demo.py"


CONFIG = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, max_length=40))


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "demo.py"
    path.write_text(
        "from dataclasses import replace\nfrom tiny import TINY\n"
        "from easrec_jax.config_files import load_config\n"
        f"elastic = load_config({str(DEMO)!r}).search\n"
        "search = replace(elastic, epochs=2, warmup_epochs=1, batch_size=16, buckets=1, prune=TINY.search.prune)\n"
        "config = replace(TINY, model=replace(TINY.model, max_length=40), search=search)\n"  # a length that planted data need
    )
    return path


def words(line: list[str], config: Path, **changed: str) -> tuple[str, list[str]]:
    """(name, arguments) of a line of the guide, on tiny data."""
    name, arguments = (
        Path(line[1]).stem,
        [str(config) if word == "configs/elastic_demo.py" else word for word in line[2:]],
    )
    new = {f"--{flag}": value for flag, value in changed.items()}
    for place, word in enumerate(arguments[:-1]):
        arguments[place + 1] = new.get(word, arguments[place + 1])
    return name, arguments


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def elastic(work, config, call_here, monkeypatch) -> Path:
    """The work directory after the guide's first two lines, which the first test runs."""
    monkeypatch.chdir(work)
    if not (work / "runs/elastic/model").is_dir():
        for line in LINES[:2]:
            name, arguments = words(line, config)
            call_here(name, *arguments)
    return work / "runs/elastic"


def entries(folder: Path) -> list[dict]:
    return json.loads((folder / "model" / "front.json").read_text())["networks"]


def test_a_search_becomes_a_model_of_all_sizes(elastic):
    front, largest = entries(elastic), json.loads((elastic / "model" / "architecture.json").read_text())
    assert (largest["width"], largest["depth"]) == (8, 2) and largest["chosen_by"]["method"] == "elastic"
    known = {
        (n["width"], n["depth"]): n for n in json.loads((elastic / "search" / "front.json").read_text())["networks"]
    }
    assert len(known) == 4
    on_front = [(n["width"], n["depth"]) for n in known.values() if n["front"]]
    assert [(n["width"], n["depth"]) for n in front] == on_front
    whole = Recommender.load(elastic / "model")
    for entry in front:  # on the search's own data its figures are those of the cut network here
        before = known[entry["width"], entry["depth"]]
        assert entry["ndcg@10"] == entry["validation"]["full"]["ndcg@10"] == pytest.approx(before["ndcg@10"], abs=1e-9)
        assert (
            entry["cost"] == pytest.approx(before["flops_over_largest"]) and entry["parameters"] == before["parameters"]
        )
        assert entry["ms"] > 0 and entry["ms_over_sasrec"] > 0
        one = whole.with_budget(entry["cost"])
        validation, test, _ = evaluate_both(CONFIG, SPLIT, network_scores(one.network), one.weights)
        assert (validation, test) == (entry["validation"], entry["test"])
    results = json.loads((elastic / "model" / "results.json").read_text())
    validation, test, _ = evaluate_both(CONFIG, SPLIT, network_scores(whole.network), whole.weights)
    assert (results["validation"], results["test"], results["best_epoch"]) == (validation, test, 0)


def test_the_guides_other_lines(elastic, config, call_here):
    cheap, other = entries(elastic)[0], LINES[2:6]
    assert [line[1] for line in other] == ["bin/recommend.py", "bin/evaluate.py", "bin/report.py", "bin/retrain.py"]
    out = {}
    for line in other[:3]:
        name, arguments = words(line, config, budget=str(cheap["cost"]), history="m3 i17")
        out[name] = call_here(name, *arguments, *(PLANTED if name == "evaluate" else ()))
    small = Recommender.load("runs/elastic/model").with_budget(cheap["cost"])
    ((best, _),) = small.recommend([["i17"]], k=1)[0:1][0]
    assert best in call_here("recommend", "runs/elastic/model", "--history", "i17", "--budget", cheap["cost"])
    names: dict = {"Recommender": Recommender}
    *lines, last = block('recommender = Recommender.load("runs/elastic/model")', "docs/guide.md").splitlines()
    exec("\n".join(lines).replace("0.1", str(cheap["cost"])), names)
    answers, results, cost, front = eval(last, names)
    assert (
        len(answers[0]) == 5
        and results == cheap["test"]
        and cost == cheap["cost"]
        and len(front) == len(entries(elastic))
    )
    assert f"{cheap['test']['full']['ndcg@10']:.4f}" in out["evaluate"]
    page = Path("report.html").read_text()
    assert 'type="range"' in page and page.count("<circle") == len(entries(elastic))
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "") and "slide(at" in page
    done = evaluate_models([elastic / "model"], [], CONFIG.data, CONFIG.evaluate, budget=cheap["cost"])
    assert done.figures == {name: pytest.approx(of) for name, of in cheap["test"].items()}


def test_the_guides_lines_of_a_size_for_each_user(elastic, config, call_here, tmp_path):
    assert [line[1] for line in LINES[6:]] == ["bin/route.py", "bin/recommend.py"]
    shutil.copytree(elastic / "model", tmp_path / "model")
    name, arguments = words(LINES[6], config, workdir=str(tmp_path))
    assert "of the largest network's FLOPs" in call_here(name, *arguments, "--route.epochs=2", "--route.budget=1.0")
    name, arguments = words(LINES[7], config, history="m3 i17")
    arguments[arguments.index("runs/elastic/model")] = str(tmp_path / "model")
    per_user = Recommender.load(tmp_path / "model", per_user=True)
    assert per_user.recommend([["m3", "i17"]], k=1)[0][0][0] in call_here(name, *arguments)


def test_one_of_the_front_is_trained_alone(elastic, config, call_here, tmp_path):
    name, arguments = words(LINES[5], config, **{"workdir": str(tmp_path), "retrain.architecture": "front:0.9"})
    (tmp_path / "search").symlink_to(elastic / "search")
    call_here(name, *arguments)
    found = json.loads((tmp_path / "model" / "architecture.json").read_text())
    measured = json.loads((elastic / "search" / "front.json").read_text())["networks"]
    within = [n for n in measured if n["flops_over_sasrec"] <= 0.9]
    assert 0 < len(within) < len(measured)
    best = max(within, key=lambda n: n["ndcg@10"])
    assert (found["width"], found["depth"]) == (best["width"], best["depth"]) and found["chosen_by"]["front"] == 0.9
    assert not (tmp_path / "model" / "front.json").exists()
    assert json.loads((tmp_path / "model" / "results.json").read_text())["best_epoch"] >= 1


def with_retrain(**changes):
    return dataclasses.replace(CONFIG, retrain=dataclasses.replace(CONFIG.retrain, **changes))


def test_weights_go_by_id_and_a_slice_is_where_front_starts(elastic):
    data = SPLIT.data
    start = find_start(with_retrain(architecture="elastic"), elastic, data)
    assert start.rows is not None and start.rows.copied == data.num_items and start.sizes
    order = np.random.default_rng(0).permutation(data.num_items)
    inner = np.argsort(order)
    renamed = dataclasses.replace(
        data,
        items=(inner[data.items - 1] + 1).astype(np.int32),
        item_ids=IdMap(tuple(data.item_ids.raw[k] for k in order)),
    )
    moved = find_start(with_retrain(architecture="elastic"), elastic, renamed)
    np.testing.assert_array_equal(moved.weights["tables"]["items"][1:], start.weights["tables"]["items"][1:][order])
    alone = find_start(with_retrain(architecture="front:0.9"), elastic, data)
    slice_ = corner(start.weights, alone.architecture)
    assert jax.tree.all(jax.tree.map(np.array_equal, alone.weights, slice_))
    fresh = find_start(with_retrain(architecture="front:0.9", weights="fresh"), elastic, data)
    assert fresh.rows is None and fresh.architecture == alone.architecture


def test_test_items_choose_no_size(elastic):
    config = with_retrain(architecture="elastic")

    def sizes(split: Split):
        start = find_start(config, elastic, split.data)
        whole = as_it_stands(start.architecture, start.weights, config, split)
        return measure_sizes(whole, start.sizes, config, split, tell=lambda _: None)

    clean, other = sizes(SPLIT), sizes(poisoned(SPLIT))
    assert [(size.architecture, size.ndcg) for size in clean] == [(size.architecture, size.ndcg) for size in other]
    assert [size.entry["test"] for size in clean] != [size.entry["test"] for size in other]


# --------------------------------------------------------------------------------------------------------------- mistakes


def test_what_no_search_can_give_is_told(elastic, tmp_path):
    data = SPLIT.data

    def refused(match: str, *, kind: str = "elastic", folder: Path = tmp_path, config=CONFIG, error=ValueError):
        config = dataclasses.replace(config, retrain=dataclasses.replace(config.retrain, architecture=kind))
        with pytest.raises(error, match=match):
            find_start(config, folder, data)

    refused("no finished search here", error=FileNotFoundError)
    refused(r"front:X with X of at least 0\.\d+.*got 'front:0\.0001'", kind="front:0.0001", folder=elastic)
    search = tmp_path / "search"
    search.mkdir()
    found = json.loads((elastic / "search" / "architecture.json").read_text())
    (search / "architecture.json").write_text(json.dumps(found))
    refused(r"front\.json: missing.*--search\.ranking measured", error=FileNotFoundError)
    refused(r"front\.json: missing.*--search\.ranking measured", kind="front:0.5", error=FileNotFoundError)
    (search / "front.json").write_text((elastic / "search" / "front.json").read_text())
    refused(r"supernet\.npz: missing", error=FileNotFoundError)
    (search / "architecture.json").write_text(
        json.dumps(found | {"chosen_by": found["chosen_by"] | {"sharing": "own"}})
    )
    refused(r"weights of its own for each network: search again with .*--search\.sharing corners")
    (search / "architecture.json").write_text(json.dumps(found))
    wide = dataclasses.replace(CONFIG, search=SearchConfig(prune=(0.0, 0.5), inner_prune=(0.0, 0.5)))
    refused("a wide space, whose networks are masks: search again with", config=wide)
    for broken in (
        {},
        {"networks": []},
        {"networks": [found | {"width": 5}]},
        {"networks": [found | {"ndcg@10": "x"}]},
    ):
        (search / "front.json").write_text(json.dumps(broken))
        refused(r"front\.json: networks|not in the search space|architecture\.width")


def test_settings_that_mean_nothing_are_refused():
    for name in ("elastc", "front", "front:", "front:x", "front:0", "front:-1", "front:nan", "full:0.1"):
        with pytest.raises(ValueError, match=r"retrain\.architecture: expected searched, full, elastic, or front:X"):
            RetrainConfig(architecture=name)
    with pytest.raises(ValueError, match=r"retrain\.weights: expected copied.*trains nothing"):
        RetrainConfig(architecture="elastic", weights="fresh")
    for name in ("elastic", "full", "front:0.1"):
        with pytest.raises(ValueError, match=r"retrain\.from: expected none"):
            RetrainConfig(architecture=name, from_model="runs/x/model")
    assert RetrainConfig(architecture="front:0.1").front_cost == 0.1 and RetrainConfig().front_cost is None


def test_the_run_says_what_it_was(elastic):
    config = from_json((elastic / "model" / "config.json").read_text())
    assert config.retrain.architecture == "elastic"
