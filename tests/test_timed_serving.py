"""Times of events and of the request in what is served: Python, streams, files, sizes, saved models, whole runs."""

from __future__ import annotations

import dataclasses
import json
import pickle
import time

import numpy as np
import polars as pl
import pytest
from documents import block
from tiny import TINY

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, DistillConfig, MeshConfig, PlantedConfig
from easrec_jax.config_files import to_json
from easrec_jax.data.interactions import IdMap
from easrec_jax.data.load import load_data
from easrec_jax.data.read import read_interactions
from easrec_jax.http.engine import Engine, Recommend, Score, Selection
from easrec_jax.http.settings import Limits
from easrec_jax.models.network import Network
from easrec_jax.runs.pipeline import search_and_fit
from easrec_jax.serving.artifact import Model, load_model, save_model
from easrec_jax.serving.batch import recommend_file
from easrec_jax.serving.part_answers import Request
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.shapes import flat
from easrec_jax.serving.when import timed_histories

IDS = tuple(f"i{k}" for k in range(20))
ARCHITECTURE = Architecture(
    width=8,
    inner=8,
    depth=2,
    heads=2,
    max_length=6,
    attention="recent_linrec",
    gate_layers=0,
    conv_width=2,
    times="calendar",
)
HOUR = 3600.0


def model_of(draw, architecture: Architecture = ARCHITECTURE) -> Model:
    network = Network(architecture, len(IDS))
    return Model(architecture, draw(network.init), IdMap(IDS), np.arange(len(IDS) + 1)[::-1], {"test": {}})


@pytest.fixture(scope="module")
def recommender(draw_weights) -> Recommender:
    return Recommender(model_of(draw_weights))


@pytest.fixture(scope="module")
def clicks() -> tuple[list[list[str]], list[np.ndarray]]:
    """Histories of 1, 5 and 13 events, and their times."""
    rng = np.random.default_rng(2)
    sizes = (1, 5, 13)
    times = [1.6e9 + np.cumsum(np.floor(10.0 ** rng.uniform(0, 6, size))) for size in sizes]
    return [rng.choice(IDS, size).tolist() for size in sizes], times


def same(got, want):
    for a, b in zip(got, want, strict=True):
        assert [item for item, _ in a] == [item for item, _ in b]
        np.testing.assert_allclose([score for _, score in a], [score for _, score in b], rtol=1e-4, atol=1e-5)


def test_the_guides_lines(recommender, monkeypatch):
    monkeypatch.setattr(Recommender, "load", lambda folder: recommender)
    code = (
        block('recommender = Recommender.load("runs/timed', "docs/guide.md")
        .replace('"50"', '"i5"')
        .replace('"181"', '"i1"')
    )
    names = {"Recommender": Recommender, "time": time}
    exec(code, names)
    assert names["stream"].count.tolist() == [2]


def test_now_moves_the_answer_and_a_shift_of_all_times_only_the_hour(recommender, clicks):
    histories, times = clicks
    soon = [of[-1] + 5 for of in times]
    first = recommender.recommend(histories, 5, times=times, now=soon)
    assert first != recommender.recommend(histories, 5, times=times, now=[one + 1e6 for one in soon])
    assert first != recommender.recommend(histories, 5, times=[of - 1e6 * (of < of[-1]) for of in times], now=soon)
    week = 7 * 24 * HOUR
    same(
        recommender.recommend(histories, 5, times=[of + week for of in times], now=[one + week for one in soon]), first
    )
    assert first != recommender.recommend(
        histories, 5, times=[of + HOUR for of in times], now=[one + HOUR for one in soon]
    )


def test_what_is_not_given_is_not_known_and_costs_no_error(recommender, clicks):
    histories, times = clicks
    without = recommender.recommend(histories, 5)
    assert without != recommender.recommend(histories, 5, times=times)
    hidden = recommender.embed(histories, times=times)
    network, items = (
        recommender.network,
        flat(timed_histories(recommender, histories, encoded(histories), times, None))[0],
    )
    assert (items.request == [0, 34, 59]).all()
    one = recommender.score(histories[1], IDS[:3], times=times[1], now=times[1][-1] + 9)
    assert one != recommender.score(histories[1], IDS[:3], times=times[1])
    np.testing.assert_allclose(
        recommender.score(histories[1], IDS[:1], times=times[1])[0], hidden[1] @ vector(recommender), rtol=1e-4
    )
    assert network.architecture.reads_times


def encoded(histories):
    return [IdMap(IDS).encode(history) for history in histories]


def vector(recommender):
    return recommender.item_vectors()[1][0]


def test_a_stream_answers_as_the_history_does_beyond_n_and_is_saved(recommender, clicks, tmp_path):
    histories, times = clicks
    stream = recommender.start([h[:1] for h in histories], times=[of[:1] for of in times])
    fresh = recommender.start([[] for _ in histories])  # a user's first event may come with the first update
    now = times[2][-1] + 1e7
    for step in range(13):
        event = [h[step] if step < len(h) else None for h in histories]
        at = [of[step] if step < len(of) else None for of in times]
        fresh = recommender.update(fresh, event, times=at)
        stream = recommender.update(stream, event, times=at) if step else stream
        if step == 7:
            recommender.save_stream(tmp_path / "stream.npz", stream)
            stream = recommender.load_stream(tmp_path / "stream.npz")
    counted = [(h[-int(n) :], of) for h, of, n in zip(histories, times, stream.count, strict=True)]
    assert stream.count.tolist() == fresh.count.tolist() == [1, 5, 4] and len(counted[2][0]) == 4
    whole = recommender.recommend(histories[:2], 5, times=times[:2], now=now)
    for one in (stream, fresh):
        same(recommender.recommend_from(one, 5, now=now)[:2], whole)
    # the gap before the first event that still counts is known as well, which the events that count alone do not tell
    codes = [flat(timed_histories(recommender, histories, encoded(histories), times, now))[0].before[-5:-1]]
    assert np.array_equal(stream.clock.before[2, :4], codes[0])
    same(recommender.recommend_from(stream, 5), recommender.recommend_from(fresh, 5))
    assert recommender.recommend_from(stream, 5) != recommender.recommend_from(stream, 5, now=now)


def test_wrong_times_are_refused_where_they_are(recommender, clicks, draw_weights):
    histories, times = clicks
    wrong = [
        ({"now": 1.7e9}, "times: expected those of the histories beside now"),
        ({"times": times[:2]}, "times: expected those of 3 histories, got 2"),
        ({"times": [times[0], times[1][:-1], times[2]]}, r"times\[1\]: expected 5, one for each event, got 4"),
        ({"times": [times[0], times[1][::-1], times[2]]}, r"times\[1\]: expected times in order"),
        ({"times": [of * 1000 for of in times]}, r"times\[0\]: expected seconds since 1970 .* got 1.6e\+12 at place 0"),
        ({"times": [["noon"], *times[1:]]}, r"times\[0\]: expected numbers"),
        ({"times": times, "now": 1.6e9}, "now: expected 160.* or later, the last time of history 0"),
        ({"times": times, "now": [2e9]}, "now: expected one time, or 3, one for each user, got 1"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            recommender.recommend(histories, 3, **options)
    stream = recommender.start(histories, times=times)
    with pytest.raises(ValueError, match="times: expected .* or later, the last time of user 0"):
        recommender.update(stream, ["i1", None, None], times=[1.6e9, None, None])
    plain = Recommender(model_of(draw_weights, dataclasses.replace(ARCHITECTURE, times="no")))
    with pytest.raises(ValueError, match="expected none, this model reads no times"):
        plain.recommend(histories, 3, times=times)
    with pytest.raises(ValueError, match="export: expected a model that reads no times"):
        recommender.export("model.jax")


def test_a_saved_model_and_a_pickled_one_answer_alike(recommender, clicks, draw_weights, tmp_path):
    histories, times = clicks
    save_model(
        tmp_path / "model",
        model_of(draw_weights),
        architecture=ARCHITECTURE.to_json(),
        config=to_json(Config()),
        metrics="",
    )
    assert load_model(tmp_path / "model").architecture == ARCHITECTURE
    want = recommender.recommend(histories, 5, times=times, now=2e9)
    for other in (Recommender.load(tmp_path / "model"), pickle.loads(pickle.dumps(recommender))):
        assert other.recommend(histories, 5, times=times, now=2e9) == want


def test_files_and_data_bring_their_times(recommender, clicks, tmp_path, call_here):
    histories, times = clicks
    rows = [
        (f"u{n}", item, at)
        for n, pair in enumerate(zip(histories, times, strict=True))
        for item, at in zip(*pair, strict=True)
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row").sample(
        fraction=1.0, shuffle=True, seed=1
    )
    path, now = tmp_path / "log.parquet", 2e9
    frame.with_columns(pl.from_epoch("timestamp", "s")).write_parquet(path)  # another unit, of the same moments
    want = recommender.recommend(histories, 3, times=times, now=now)
    users = [f"u{n}" for n in range(3)]
    same(recommender.recommend_users(read_interactions(path, times=True, min_history=1), users, 3, now=now), want)
    recommend_file(recommender, path, tmp_path / "out.jsonl", Request(k=3, now=now))
    found = {row["user"]: row for row in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    same([list(zip(found[user]["items"], found[user]["scores"], strict=True)) for user in users], want)
    with pytest.raises(ValueError, match="expected events until 1600000001, when --now is"):
        recommend_file(recommender, path, tmp_path / "early.jsonl", Request(k=3, now=1.6e9 + 1))
    (tmp_path / "plain.csv").write_text("user,item\nu,i1\nu,i2\n")
    with pytest.warns(UserWarning, match="no column of times: to this model"):
        recommend_file(recommender, tmp_path / "plain.csv", tmp_path / "plain.jsonl", Request(k=3))


def test_the_service_answers_as_the_library_and_keeps_no_sessions(recommender, clicks):
    histories, times = clicks
    engine = Engine(recommender, Limits(batch=4))
    assert engine.sessions is None
    known = encoded(histories)
    timed = timed_histories(recommender, histories, known, times, 2e9)
    answers = engine.run(
        [Recommend(timed, Selection(3)), Recommend(known[:1], Selection(3)), Score(timed[1], known[2][:2])]
    )
    names = [[IDS[item - 1] for item in top.items] for top in (*answers[0], *answers[1])]
    want = [*recommender.recommend(histories, 3, times=times, now=2e9), *recommender.recommend(histories[:1], 3)]
    assert names == [[item for item, _ in of] for of in want]
    np.testing.assert_allclose(
        answers[2], recommender.score(histories[1], histories[2][:2], times=times[1], now=2e9), rtol=1e-4
    )


def test_an_elastic_search_and_a_training_with_times_from_end_to_end():
    config = dataclasses.replace(
        TINY,
        data=dataclasses.replace(TINY.data, planted=PlantedConfig(users=60, items=100, timed=True)),
        model=dataclasses.replace(TINY.model, times="gaps"),
        search=dataclasses.replace(TINY.search, finalists=1, epochs=1, sharing="corners", training="sandwich"),
        retrain=dataclasses.replace(TINY.retrain, epochs=1, loss="sampled", negatives=8),
    )
    data, _ = load_data(config.data, seed=0, times=True)
    found = search_and_fit(config, data)
    tables = found.weights["tables"]
    assert found.architecture.times == "gaps" and {"gaps", "scale", "shift"} <= tables.keys()
    learned = {name: np.flatnonzero(np.abs(np.asarray(tables[name])).sum(1)) for name in ("gaps", "scale", "shift")}
    assert all(0 in rows and len(rows) > 3 for rows in learned.values())  # 0: the mean of the others
    assert 1 in learned["gaps"] and 1 not in learned["shift"]  # no request comes before the first event
    with pytest.raises(ValueError, match="data.planted.timed: expected true with model.times"):
        load_data(TINY.data, seed=0, times=True)


def test_what_reads_no_times_is_refused_at_the_start():
    timed = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, times="gaps"))
    for part, message in (
        ({"distill": DistillConfig(share=0.5)}, "distill.share: expected 0 with model.times"),
        ({"mesh": MeshConfig(data=2)}, "--mesh.data, --mesh.items: expected 1 and 1 with model.times"),
        (
            {"search": dataclasses.replace(TINY.search, strategy="adarec", budget=None)},
            "search.strategy: expected none of cells",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(timed, **part)
