"""Search, retraining, baselines and evaluation from end to end with several targets a user; test_splits has every split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

DEMO = Path(__file__).parent.parent / "configs" / "demo.py"
SMALL = (
    "--model.width=8", "--model.inner=8", "--model.layers=1", "--model.heads=2", "--model.max_length=8", "--search.prune", "0.0", "0.5",
    "--search.epochs=1", "--search.warmup_epochs=0", "--search.buckets=1", "--search.finalists=1", "--search.budget=0.9",
    "--retrain.epochs=1", "--retrain.buckets=1", "--evaluate.protocols", "full", "full_unseen",
)  # fmt: skip


@pytest.fixture(scope="module")
def events() -> list[tuple[str, str, int]]:
    rng = np.random.default_rng(0)
    return [
        (f"u{u}", f"i{rng.integers(40)}", int(begin + t))
        for u, begin in enumerate(rng.integers(0, 500, 50))
        for t in np.sort(rng.integers(0, 400, 14))
    ]


def write(path: Path, rows: list) -> Path:
    path.write_text("user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows))
    return path


@pytest.fixture(params=["time:0.7/0.15/0.15", "files"])
def data(request, events, tmp_path) -> list:
    """Flags of data with several targets a user."""
    if request.param != "files":
        return ["--data.path", write(tmp_path / "all.csv", events), "--data.split", request.param]
    times = [events[k::14] for k in range(14)]
    parts = {"path": sum(times[:10], []), "valid": sum(times[10:12], []), "test": sum(times[12:], [])}
    return [x for name, rows in parts.items() for x in (f"--data.{name}", write(tmp_path / f"{name}.csv", rows))]


def test_search_retrain_evaluate_and_go_on(call_here, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = data[-1] if "--data.split" in data else "files"
    call_here("search", DEMO, *data, *SMALL, "--workdir", "run", "--evaluate.users", "20")
    names = ("popularity", "markov", "sasrec")
    printed = call_here("retrain", DEMO, *data, *SMALL, "--workdir", "run", "--retrain.baselines", *names)
    assert f"data: split {split}: " in printed and "validation targets of" in printed
    results = json.loads((tmp_path / "run/model/results.json").read_text())
    known = results["data"]
    assert (
        known["settings"]["split"] == split
        and known["held_out"]["test"]["targets"] > known["held_out"]["test"]["users"]
    )
    assert "/" not in known["settings"]["valid"] + known["settings"]["test"]
    metrics = {f"{name}@10" for name in ("recall", "hit", "mrr", "map", "ndcg")}
    for row in (results, *(results["baselines"][name] for name in names)):
        assert all(set(row[part][protocol]) == metrics for part in ("validation", "test") for protocol in row[part])

    flags = ["--evaluate.protocols", "full", "full_unseen", "--json"]
    again = json.loads(call_here("evaluate", "run/model", *data, *flags))
    for protocol, figures in results["test"].items():
        assert again["figures"][protocol] == pytest.approx(figures, rel=1e-5)
    assert again["users"] == known["held_out"]["test"]["evaluated"]
    other = ["--data.path", data[1]]
    assert "run/model was trained with data.split" in call_here("evaluate", "run/model", *other)
    assert "was trained with" not in call_here("evaluate", "run/model", *data)

    doubt, refusal = "run/search was trained with data.split", "another config .*data.(split|valid): '"
    with pytest.warns(UserWarning, match=doubt), pytest.raises(ValueError, match=refusal):
        call_here("retrain", DEMO, *other, *SMALL, "--workdir", "run", "--resume")
    call_here("retrain", DEMO, *data, *SMALL, "--workdir", "run", "--resume", "--retrain.baselines", *names)
    resumed = json.loads((tmp_path / "run/model/results.json").read_text())
    assert (resumed["test"], resumed["baselines"]) == (results["test"], results["baselines"])

    more = ("--workdir", "on", "--retrain.from", "run/model", "--retrain.baselines", "popularity")
    call_here("retrain", DEMO, *data, *SMALL, *more)
    on = json.loads((tmp_path / "on/model/results.json").read_text())
    assert on["data"]["held_out"] == known["held_out"]
    assert on["baselines"]["popularity"] == results["baselines"]["popularity"]
    with pytest.warns(
        UserWarning, match="was trained with data.split .*: it may have been trained on items held out here"
    ):
        call_here("retrain", DEMO, *other, *SMALL, *more, "--overwrite")
