"""The commands as a user types them: the whole path on a tiny run, and one clear line for every mistake."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = [
    "--data.planted.users=60", "--data.planted.items=100", "--model.width=16", "--model.inner=16", "--model.layers=2",
    "--search.prune", "0.0", "0.5", "--search.epochs=2", "--retrain.epochs=2", "--search.buckets=1",
    "--search.finalists=2", "--retrain.buckets=1", "--retrain.baselines", "popularity",
]  # fmt: skip


@pytest.fixture
def call(tmp_path):
    """Run `bin/NAME.py arguments` in an empty folder, in a process of its own."""

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(command(name, *arguments), cwd=tmp_path, capture_output=True, text=True)

    return run


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "bin" / f"{name}.py"), *map(str, arguments)]


DEMO = str(ROOT / "configs" / "demo.py")


def good(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bad(done: subprocess.CompletedProcess, *parts: str) -> None:
    """Exit status 2, no traceback, all of `parts` in the message."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    if not line.startswith("error: "):  # a flag's own check, in a box that wraps its text
        line = " ".join(text.strip("│ ") for text in done.stderr.splitlines())
        assert "For full helptext" in line, done.stderr
    for part in parts:
        assert part in line, line


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with `runs/demo`, searched and retrained, and `table.txt`, what the retraining printed."""
    folder = tmp_path_factory.mktemp("finished")
    for name in ("search", "retrain"):
        done = subprocess.run(command(name, DEMO, *TINY), cwd=folder, capture_output=True, text=True)
        (folder / "table.txt").write_text(good(done))
    return folder


@pytest.fixture
def demo(finished, tmp_path) -> Path:
    """That run, copied to where `call` runs commands."""
    return Path(shutil.copytree(finished / "runs" / "demo", tmp_path / "runs" / "demo"))


def test_search_and_retrain_write_what_they_found(finished, demo):
    lines = [json.loads(line) for line in (demo / "search" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"loss", "shares", "expected_cost", "pick", "ndcg@10"} <= set(lines[0])
    assert {factor: len(shares) for factor, shares in lines[0]["shares"].items()} == {"width": 2, "depth": 2}
    chosen = json.loads((demo / "search" / "architecture.json").read_text())
    assert {"width", "inner", "depth", "heads", "attention", "gate_layers", "flops", "parameters"} <= set(chosen)
    assert (demo / "search" / "search.png").read_bytes().startswith(b"\x89PNG")
    table = (finished / "table.txt").read_text()
    assert all(name in table for name in ("popularity", "EASRec", "ceiling"))
    results = json.loads((demo / "model" / "results.json").read_text())
    assert set(results["test"]) == {"pop100", "pop100_unseen", "full", "full_unseen"}
    assert set(results["test"]["full"]) == {"recall@10", "mrr@10", "ndcg@10"}
    assert results["data"]["users"] == 60 and results["architecture"]["flops"] == chosen["flops"]


def test_the_model_recommends_and_unknown_items_are_told(call, demo):
    out = good(call("recommend", demo / "model", "--history", "m0 i3 i4", "--k", "4"))
    assert len(out.splitlines()) == 5
    partly = call("recommend", demo / "model", "--history", "m0 nonsense", "--k", "4")
    assert partly.returncode == 0 and "warning: skipped 1 unknown items: 'nonsense'" in partly.stderr
    bad(call("recommend", demo / "model", "--history", "nonsense"), "no known item", "nonsense")
    damaged = demo / "model" / "weights.npz"
    damaged.write_bytes(damaged.read_bytes()[:500])
    bad(call("recommend", demo / "model", "--history", "i3"), "weights.npz: damaged")


def test_evaluated_against_itself_a_model_ties_at_the_same_cost(call, demo):
    results = json.loads((demo / "model" / "results.json").read_text())
    planted = ("--data.planted.users=60", "--data.planted.items=100")
    same = json.loads(good(call("evaluate", demo / "model", "--against", demo / "model", *planted, "--json")))
    assert same["figures"] == results["test"]
    assert same["against"]["full"]["ndcg@10"]["difference"] == 0.0 and same["against"]["full"]["ndcg@10"]["p"] == 1.0
    costs = same["costs"]
    assert all(of["mine"] == of["theirs"] > 0 for of in costs.values())
    assert costs["mflops"]["mine"] == results["architecture"]["flops"] / 1e6
    assert set(costs) == {"mflops", "ms", "temporary_mb"}


def test_what_is_there_is_not_touched_by_accident(call, refused, demo):
    bad(refused("search", DEMO, *TINY), "holds a run already", "--resume", "--overwrite")
    bad(
        refused("search", DEMO, *TINY, "--model.layers=1", "--resume"),
        "another config",
        "model.layers: 2 there, 1 here",
    )
    good(call("search", DEMO, *TINY, "--resume"))  # finished: nothing left to do, nothing lost
    bad(refused("retrain", DEMO, *TINY, "--search.prune", "0.25", "0.75", "--overwrite"), "not in the search space")


def test_a_wide_search_goes_the_same_way(call, tmp_path):
    """Half a minute: four commands, the first two of which compile a supernet and the networks of its finalists."""
    wide = ["--search.heads", "2", "4", "--search.inner_prune", "0.0", "0.5", "--search.gate_layers", "0", "1"]
    wide += ["--search.finalist_epochs=1", "--search.finalists=2", "--workdir=run"]
    found = good(call("search", DEMO, *TINY, *wide))
    assert "found" in found and "MFLOPs a request" in found
    lines = [json.loads(line) for line in (tmp_path / "run" / "search" / "metrics.jsonl").read_text().splitlines()]
    assert set(lines[0]["shares"]) == {"width", "depth", "heads", "gate_layers", "inner"}
    assert (tmp_path / "run" / "search" / "search.png").read_bytes().startswith(b"\x89PNG")
    good(call("retrain", DEMO, *TINY, *wide))
    chosen = json.loads((tmp_path / "run" / "model" / "architecture.json").read_text())
    assert chosen["heads"] in (2, 4) and chosen["gate_layers"] in (0, 1) and len(chosen["chosen_by"]["finalists"]) == 2
    assert len(good(call("recommend", tmp_path / "run" / "model", "--history", "i3 i4", "--k", "3")).splitlines()) == 4
    good(call("report", tmp_path / "run", "--out", "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png") >= 3 and "cannot be drawn" not in page


def test_interrupt_leaves_a_checkpoint_that_resumes(tmp_path):
    arguments = [DEMO, *TINY, "--search.epochs=200", "--search.patience=200"]
    process = subprocess.Popen(command("search", *arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "runs" / "demo" / "search" / "metrics.jsonl"
    for _ in range(1200):
        if metrics.is_file() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2 and "interrupted" in stderr and "--resume continues" in stderr
    done = len(metrics.read_text().splitlines())
    assert done < 200
    again = subprocess.Popen(
        command("search", *arguments, "--resume"),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(1200):
        if len(metrics.read_text().splitlines()) > done or again.poll() is not None:
            break
        time.sleep(0.1)
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == list(range(1, len(epochs) + 1)) and len(epochs) > done


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--data.path=nowhere.txt"], ["nowhere.txt", "no such file"]),
        (["--model.width=20"], ["search.prune", "multiple of model.heads = 4"]),
        (["--model.width=18"], ["model.width", "multiple of model.heads = 4", "18"]),
        (["--search.prune", "0", "1.0"], ["search.prune", "[0, 1)"]),
        (["--search.budget=0.0001"], ["search.budget", "smallest network's cost"]),
        (["--search.budget=1.5"], ["search.budget", "(0, 1]"]),
        (["--model.attention=linrec"], ["model.attention", "data.targets"]),
        (["--evaluate.select_by=best"], ["unknown protocol 'best'", "popN"]),
        (["--resume", "--overwrite"], ["--resume", "--overwrite"]),
        (
            ["--search.tau_start", "1"],
            ["expected --search.easrec.tau_start or --search.recnas.tau_start, got --search.tau_start"],
        ),
        (["--search.no-dynamic"], ["expected --search.easrec.no_dynamic, got --search.no-dynamic"]),
        (["--data.planted_users=60"], ["expected --data.planted.users, got --data.planted_users"]),
        (["--search.recnas.tau_min=0"], ["search.recnas.tau_min: expected a number above 0"]),
    ],
)
def test_a_mistake_is_one_line(refused, arguments, parts):
    bad(refused("search", DEMO, *arguments), *parts)


@pytest.mark.parametrize(("flag", "word"), [("--search.epoch=3", "search.epoch"), ("--search.epochs=many", "many")])
def test_a_misspelt_or_mistyped_flag_fails_at_once(refused, tmp_path, flag, word):
    done = refused("search", DEMO, flag)
    assert done.returncode == 2 and word in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_config_no_run(refused, tmp_path):
    bad(refused("search"), "expected a config first")
    bad(refused("search", "nowhere.py"), "nowhere.py", "no such config file")
    (tmp_path / "empty.py").write_text("")
    bad(refused("search", "empty.py"), "empty.py", "expected a variable `config`")
    bad(refused("retrain", DEMO), "architecture.json", "run the command search")
    assert not (tmp_path / "runs").exists()


def test_data_mistakes_leave_nothing_half_written(refused, tmp_path):
    (tmp_path / "short.txt").write_text("1 1\n1 2\n2 1\n")
    bad(refused("search", DEMO, "--data.path=short.txt"), "short.txt", "every history is shorter than 3")
    (tmp_path / "torn.txt").write_text("1 1\n1\n")
    bad(refused("search", DEMO, "--data.path=torn.txt"), "torn.txt", "line 2")
    assert not (tmp_path / "runs").exists()


def test_help_lists_every_field_with_its_default(refused):
    text = good(refused("search", DEMO, "--help"))
    for flag in ("--search.epochs", "--model.width", "--data.path", "--evaluate.ks", "--retrain.schedule", "--seed"):
        assert flag in text
    assert "--search.easrec.tau_decay" in text and "Temperature lost a step. (default: 0.001)" in text
    assert "default: 64" in text  # the config file's, not the dataclass's
