"""Law 4 for the library's user: one event at a time gives what the whole history gives."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.data.interactions import IdMap
from easrec_jax.models.network import Network
from easrec_jax.serving.artifact import Model
from easrec_jax.serving.recommend import Recommender

IDS = tuple(f"i{k}" for k in range(30))


def make(attention: str, fingerprint: str = "x") -> Recommender:
    architecture = Architecture(
        width=8, inner=16, depth=2, heads=2, max_length=6, attention=attention, gate_layers=2,
        conv_width=4 if attention == "recent_linrec" else 0,
    )  # fmt: skip
    weights = Network(architecture, len(IDS)).init(jax.random.key(3))
    popularity = np.arange(len(IDS) + 1)[::-1]
    return Recommender(Model(architecture, weights, IdMap(IDS), popularity, {}, fingerprint=fingerprint))


def same(got, want):
    for a, b in zip(got, want, strict=True):
        assert [i for i, _ in a] == [i for i, _ in b]
        np.testing.assert_allclose([s for _, s in a], [s for _, s in b], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["softmax", "causal_linrec", "recent_linrec"])
def test_a_stream_answers_as_the_history_does_even_beyond_n(attention):
    recommender = make(attention)
    rng = np.random.default_rng(0)
    clicks = rng.choice(IDS, (2, 17)).tolist()
    stream = recommender.start([clicks[0][:2], clicks[1][:1]])
    for step in range(2, 17):
        stream = recommender.update(stream, [clicks[0][step], clicks[1][step]])
        histories = [clicks[0][: step + 1], [clicks[1][0], *clicks[1][2 : step + 1]]]
        counted = [h[-int(n) :] for h, n in zip(histories, stream.count, strict=True)]
        assert all(min(len(h), 6 // 2 + 1) <= n <= 6 for h, n in zip(histories, stream.count, strict=True))
        same(recommender.recommend_from(stream, 5), recommender.recommend(counted, 5))


def test_who_does_not_click_stays_and_unknown_clicks_are_skipped():
    recommender = make("recent_linrec")
    stream = recommender.start([["i1"], ["i2"], []])
    with pytest.warns(UserWarning, match="skipped 1 unknown items: 'zzz'"):
        after = recommender.update(stream, [None, "zzz", "i3"])
    same(recommender.recommend_from(after, 5), recommender.recommend([["i1"], ["i2"], ["i3"]], 5))
    assert [i for i, _ in recommender.recommend_from(stream, 3)[2]] == ["i0", "i1", "i2"]  # nobody yet: popular


def test_an_old_state_stays_as_it_was():
    recommender = make("recent_linrec")
    stream = recommender.start([["i1", "i2"]])
    before = recommender.recommend_from(stream, 5)
    recommender.update(stream, ["i3"])
    assert recommender.recommend_from(stream, 5) == before


@pytest.mark.parametrize("attention", ["softmax", "recent_linrec"])
def test_saved_and_restored_streams_go_on_bit_for_bit(attention, tmp_path):
    recommender = make(attention)
    stream = recommender.start([["i1", "i2"], ["i5"]])
    recommender.save_stream(tmp_path / "stream.npz", stream)
    restored = recommender.load_stream(tmp_path / "stream.npz")
    for clicks in (["i3", "i4"], ["i7", None]):
        stream, restored = recommender.update(stream, clicks), recommender.update(restored, clicks)
        assert recommender.recommend_from(stream, 5) == recommender.recommend_from(restored, 5)


def test_damaged_and_foreign_streams_are_named(tmp_path):
    recommender = make("recent_linrec")
    path = tmp_path / "stream.npz"
    recommender.save_stream(path, recommender.start([["i1"]]))
    with pytest.raises(ValueError, match=r"stream\.npz: another model's stream"):
        make("recent_linrec", "other").load_stream(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"stream\.npz: damaged"):
        recommender.load_stream(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        recommender.load_stream(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="cannot stream"):
        make("linrec").start([["i1"]])


def test_nothing_recompiles_while_users_click(monkeypatch):
    traces = []

    def counted(name):
        original = getattr(Network, name)

        def method(*args):
            traces.append(name)
            return original(*args)

        monkeypatch.setattr(Network, name, method)

    counted("start")
    counted("step")
    jax.clear_caches()
    recommender = make("recent_linrec")
    stream = recommender.start([["i1"]])
    for number in range(30):
        stream = recommender.update(stream, [IDS[number]])
        recommender.recommend_from(stream, 5)
    assert sorted(traces) == ["start", "step"]  # the cut to N/2 reuses the program of the start
