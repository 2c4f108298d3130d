"""POST /model: the next model answers from one request to the next; nobody is refused, sessions go on, the last one is freed."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from dataclasses import replace

import pytest
from serving import ARCHITECTURE, IDS, LIMITS, bad, check, figure, good, running, save_small_model, warmed_up

from easrec_jax.http import swap
from easrec_jax.http.app import create_app
from easrec_jax.serving.recommend import Recommender

HISTORY = ["i1", "i2", "i3"]
AFTER = ("new", *reversed(IDS[:-1]))  # another order, one item more, one fewer: its programs are those of the first


@pytest.fixture
def link(tmp_path):
    """A name for the first of two models, as a nightly training leaves it."""
    save_small_model(tmp_path / "first")
    save_small_model(tmp_path / "second", ids=AFTER, seed=1)
    link = tmp_path / "model"
    link.symlink_to("first")
    return link


def point(link, to: str) -> None:
    link.unlink()
    link.symlink_to(to)


def test_the_next_model_answers_from_one_request_to_the_next(link, monkeypatch):
    monkeypatch.setattr(swap, "FREED_SECONDS", 0.1)
    first, second = Recommender.load(link), Recommender.load(link.parent / "second")
    expected = [one.recommend([HISTORY], 5)[0] for one in (first, second)]
    app = create_app(link, replace(LIMITS, batch=2), token="sesame")
    old = weakref.ref(app.default._app.current.service.engine)
    answers: list = []
    with running(app) as client:
        client.headers["Authorization"] = "Bearer sesame"
        warmed_up(client)
        session = good(client.post("/sessions", json={"history": [*HISTORY, IDS[-1]]}), 201)["session"]
        going = threading.Event()

        def ask() -> None:
            while not going.is_set():
                answers.append(client.post("/recommend", json={"histories": [HISTORY], "k": 5}))

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for one in askers:
            one.start()
        point(link, "second")
        told = good(client.post("/model"))
        begun = len(answers)
        time.sleep(0.3)
        going.set()
        for one in askers:
            one.join()
        assert told == {"weights_sha256": second.fingerprint, "before": first.fingerprint, "sessions": 1}
        assert good(client.get("/model"))["weights_sha256"] == second.fingerprint
        found = [good(answer)["results"][0] for answer in answers]
        items = [[row["item"] for row in answer] for answer in found]
        both = [[item for item, _ in one] for one in expected]
        assert both[0] in items and both[1] in items and all(one in both for one in items)
        check(found[-1], expected[1])
        # three of the answers after it may have been on their way
        assert all(one == both[1] for one in items[begun + len(askers) :])
        got = good(client.post(f"/sessions/{session}/events", json={"items": ["new"], "k": 5}))
        check(got["results"], second.recommend([[*HISTORY, "new"]], 5)[0])
        assert got["events"] == 4 and figure(client, "easrec_sessions") == 1
        del got, found, answers[:]
        for _ in range(300):
            if old() is None:
                break
            time.sleep(0.1)
        assert old() is None  # and its weights with it


def test_what_cannot_take_over_changes_nothing(link):
    app = create_app(link, replace(LIMITS, batch=1), token="sesame")
    cannot_stream = dataclasses.replace(ARCHITECTURE, attention="linrec", conv_width=0)
    save_small_model(link.parent / "bidirectional", cannot_stream)
    with running(app) as client:
        bad(client.post("/model"), 401, "header Authorization")
        client.headers["Authorization"] = "Bearer sesame"
        before = good(client.get("/model"))["weights_sha256"]
        point(link, "nothing")
        bad(client.post("/model"), 409, "the model's folder", "a model that can be served", str(link))
        point(link, "bidirectional")
        bad(client.post("/model"), 409, "the model's folder", "a model with sessions", "got one without")
        assert good(client.get("/model"))["weights_sha256"] == before
        check(
            good(client.post("/recommend", json={"histories": [HISTORY], "k": 3}))["results"][0],
            Recommender.load(link.parent / "first").recommend([HISTORY], 3)[0],
        )
