"""Training one network: learning, resume, one trace, a clean stop."""

from __future__ import annotations

import itertools
import os
import signal
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import RetrainConfig
from easrec_jax.data.batches import training_samples
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.rivals.popularity import popularity_scores
from easrec_jax.train import loop
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.fit import fit
from easrec_jax.train.loop import Run
from easrec_jax.train.objective import FULL, Objective
from easrec_jax.train.step import optimizer, softmax_loss, train_step
from easrec_jax.train.task import Task

LENGTH = 40


@pytest.fixture(scope="module")
def split() -> Split:
    return Split(planted(users=300, items=100, seed=0).data)


def architecture(attention: str = "recent_linrec", **changes) -> Architecture:
    sizes = {"width": 16, "inner": 32, "depth": 1, "heads": 4, "max_length": LENGTH, "gate_layers": 2, "conv_width": 4}
    if attention != "recent_linrec":
        sizes["conv_width"] = 0
    return Architecture(attention=attention, **(sizes | changes))


def run(split: Split, arch: Architecture, *, targets: str = "all", dropout: float = 0.2, seed: int = 0, **options):
    """`fit` with the fields of `RetrainConfig` and of `Run`, and `fit`'s objective, mixed in `options`."""
    told = Run(**{name: options.pop(name) for name in Run._fields if name in options})
    objective = options.pop("objective", None)
    network = Network(arch, split.data.num_items, dropout)
    settings = RetrainConfig(**({"epochs": 2, "batch_size": 16, "buckets": 1, "learning_rate": 0.01} | options))
    samples = training_samples(split, max_length=LENGTH, targets=targets, windows="all")
    task = Task(samples, Evaluator(split, "validation", LENGTH, ("full",)), dropout, seed)
    weights = network.init(jax.random.key(seed))
    return fit(network, weights, task, settings=settings, objective=objective, run=told)


def around(before=None, after=None) -> Objective:
    """The full objective whose step calls `before(number, state)` and `after(number, state)`; what they return is the state."""
    steps = itertools.count(1)

    def step(state, batch, key, data, **options):
        number = next(steps)
        state = before(number, state) if before else state
        state, figures = FULL.step(state, batch, key, data, **options)
        return (after(number, state) if after else state), figures

    return Objective(step)


def broken_at(broken: int):
    """The weights are no numbers any more at that step."""
    return lambda number, state: (
        state._replace(weights=jax.tree.map(lambda x: x * np.nan, state.weights)) if number == broken else state
    )


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize(
    ("attention", "targets"),
    [("softmax", "all"), ("causal_linrec", "all"), ("recent_linrec", "all"), ("linrec", "last")],
)
def test_every_attention_beats_popularity_on_planted_data_by_a_half(split, attention, targets):
    popularity = Evaluator(split, "validation", LENGTH)(popularity_scores, jnp.asarray(split.popularity(), jnp.float32))
    epochs = 8 if targets == "all" else 2
    fitted = run(split, architecture(attention), targets=targets, epochs=epochs, dropout=0.0)
    assert fitted.ndcg > 1.5 * popularity["full"]["ndcg@10"]


@pytest.mark.parametrize(("at", "left"), [("second epoch", [2, 3]), ("last step", [])])
def test_a_run_cut_in_two_is_the_run_bit_for_bit(split, tmp_path, at, left):
    kept = Checkpoints(tmp_path / "whole")
    whole, cut = run(split, architecture(), epochs=3, checkpoints=kept), Checkpoints(tmp_path / "cut")
    steps, last = [], 28 if at == "second epoch" else kept.latest()

    def interrupt(number, state):  # as Ctrl-C
        steps.append(number)
        if number == last:
            os.kill(os.getpid(), signal.SIGINT)
        return state

    part = run(split, architecture(), epochs=3, checkpoints=cut, objective=around(before=interrupt))
    assert not part.finished and cut.latest() == last == steps[-1]
    records = []
    rest = run(split, architecture(), epochs=3, checkpoints=cut, resume=True, on_epoch=records.append)
    assert rest.finished and [r["epoch"] for r in records] == left
    assert same(rest.weights, whole.weights) and rest.ndcg == whole.ndcg and rest.epoch == whole.epoch


def test_same_seed_same_run_other_seed_other_run(split):
    first = run(split, architecture(), epochs=1)
    assert same(first.weights, run(split, architecture(), epochs=1).weights)
    assert not same(first.weights, run(split, architecture(), epochs=1, seed=1).weights)


def test_one_trace_a_batch_shape(split):
    traces = []

    def counted(weights, encoder, batch, key, data):
        traces.append(batch.items.shape)
        return softmax_loss(weights, encoder, batch, key, data)

    run(split, architecture(), epochs=3, buckets=2, objective=Objective(partial(train_step, loss=counted)))
    assert len(traces) == len(set(traces)) == 2


def test_early_stop_keeps_the_best_epoch(split):
    records = []
    fitted = run(
        split, architecture(), epochs=40, patience=2, learning_rate=0.1, schedule="constant", on_epoch=records.append
    )
    scores = [r["ndcg@10"] for r in records]
    assert len(records) < 40 and len(records) == fitted.epoch + 2
    assert fitted.ndcg == max(scores) and scores.index(max(scores)) + 1 == fitted.epoch
    evaluator = Evaluator(split, "validation", LENGTH)
    kept = evaluator(network_scores(Network(architecture(), split.data.num_items, 0.2)), fitted.weights)
    assert kept["full"]["ndcg@10"] == pytest.approx(fitted.ndcg)


def test_a_loss_that_is_no_number_stops_the_run_with_step_rate_advice_and_the_truth_about_checkpoints(split, tmp_path):
    """Of 40 epochs in one: noticed while the epoch runs, not at its end."""
    checkpoints = Checkpoints(tmp_path)
    words = r"training loss is (nan|inf) at step 3, in epoch 1: lower the learning rate \(1e\+30 at that step\).*warmup_steps"
    with pytest.raises(FloatingPointError, match=words + "; no checkpoint was written yet"):
        run(
            split,
            architecture(),
            epochs=3,
            learning_rate=1e30,
            warmup_steps=1,
            schedule="constant",
            checkpoints=checkpoints,
        )
    assert checkpoints.latest() is None
    second_epoch = around(before=broken_at(24))
    with pytest.raises(FloatingPointError, match=r"at step 24, in epoch 2.*after epoch 1 is good and stays in"):
        run(split, architecture(), epochs=3, checkpoints=checkpoints, objective=second_epoch)
    records = []
    assert run(split, architecture(), epochs=3, checkpoints=checkpoints, resume=True, on_epoch=records.append).finished
    assert [record["epoch"] for record in records] == [2, 3]


def test_weights_that_are_no_numbers_after_the_last_step_are_not_evaluated(split):
    """Each target would be first: no score is above a NaN."""
    records = []
    run(split, architecture(), epochs=1, on_epoch=records.append)
    last = records[0]["step"]
    words = f"the weights are not finite after step {last}, the last of epoch 1"
    with pytest.raises(FloatingPointError, match=words):
        run(split, architecture(), epochs=1, objective=around(after=broken_at(last)))


def test_a_loss_is_looked_at_while_the_epoch_runs(monkeypatch):
    clock = itertools.count(0.0)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock))  # a second at each look
    taken = []

    def step(state, batch, number):
        taken.append(number)
        return state, {"loss": jnp.float32(np.nan if number >= 5 else 1.0), "architecture_loss": jnp.float32(0)}

    with pytest.raises(FloatingPointError, match="training loss is nan at step 6, in epoch 1: advice; no checkpoints"):
        loop.run_epochs(
            loop.LoopState.start({"w": jnp.zeros(1)}, keep=()),
            loop.Procedure(
                step,
                batches=lambda epoch, skip: iter(range(1000)),
                evaluate=lambda state: {"ndcg@10": 0.0},
                keep=lambda state: (),
                advice=lambda step: "advice",
            ),
            steps_per_epoch=1000,
            epochs=1,
            patience=1,
        )
    assert len(taken) < 10


def test_data_without_a_single_target_are_refused_before_anything_is_compiled(interactions):
    three = Split(interactions([[1, 2, 3], [3, 2, 1]], 3))
    for targets in ("all", "last"):
        with pytest.raises(ValueError, match="no training target is left: none of 2 users has 4 interactions"):
            training_samples(three, max_length=LENGTH, targets=targets, windows="all")


def test_the_padding_row_stays_zero(split):
    assert not np.any(np.asarray(run(split, architecture(), epochs=1).weights["tables"]["items"])[0])


def damage(folder, how):
    files = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size > 200]
    victim = max(files, key=lambda p: p.stat().st_size)
    data = victim.read_bytes()
    victim.write_bytes(
        data[: len(data) // 2] if how == "truncated" else data[:100] + bytes([data[100] ^ 1]) + data[101:]
    )
    return victim.name


@pytest.mark.parametrize("how", ["truncated", "altered"])
def test_a_damaged_checkpoint_is_named_and_the_older_one_is_still_good(tmp_path, how):
    checkpoints = Checkpoints(tmp_path)
    tree = {"a": np.random.default_rng(0).normal(size=(200, 20))}
    checkpoints.save(1, tree | {"step": np.int64(1)})
    checkpoints.save(2, tree | {"step": np.int64(2)})
    name = damage(tmp_path / "2", how)
    with pytest.raises(ValueError, match=rf"{name}: damaged.*delete .*2\.json to go back to step 1"):
        checkpoints.restore(tree | {"step": np.int64(0)})
    (tmp_path / "2.json").unlink()
    restored = checkpoints.restore(tree | {"step": np.int64(0)})
    assert restored["step"] == 1 and np.array_equal(restored["a"], tree["a"])


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": np.zeros((4, 4))})
    with pytest.raises(ValueError, match="does not fit this network"):
        checkpoints.restore({"a": np.zeros((5, 4))})
    with pytest.raises(ValueError, match="does not fit this network"):
        checkpoints.restore({"b": np.zeros((4, 4))})


def test_clipping_limits_the_norm_of_the_whole_gradient_and_off_is_adam_as_it_was():
    weights = {"a": jnp.ones(3), "b": jnp.ones(4)}
    grads = {"a": jnp.full(3, 30.0), "b": jnp.full(4, -40.0)}
    norm = float(jnp.sqrt(3 * 30.0**2 + 4 * 40.0**2))
    off, on, high = (optimizer(0.1, "constant", 1, 100, 0.0, limit) for limit in (0.0, 2.0, 1e6))
    assert jax.tree.structure(off.init(weights)) == jax.tree.structure(optax.adam(lambda step: 0.1).init(weights))
    first = on.update(grads, on.init(weights), weights)
    scaled = off.update(jax.tree.map(lambda g: g * 2.0 / norm, grads), off.init(weights), weights)
    for found, expected in zip(jax.tree.leaves(first), jax.tree.leaves(scaled), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    same, plain = (jax.tree.leaves(tx.update(grads, tx.init(weights), weights)) for tx in (high, off))
    assert all(np.array_equal(x, y) for x, y in zip(same, plain, strict=True))
