"""Learning from a teacher: share 0 is plain training, real positions alone count, and the student comes nearer."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chain import ITEMS, LENGTH, setting, task_of

from easrec_jax.architecture import Architecture
from easrec_jax.config import DistillConfig, RetrainConfig
from easrec_jax.data.batches import Batch
from easrec_jax.models.network import Network, item_table
from easrec_jax.models.rival import find_rival
from easrec_jax.nn.losses import cross_entropy
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.distillation import (
    Taught,
    distilled,
    lesson,
    with_distillation,
    without_distillation,
)
from easrec_jax.train.fit import fit
from easrec_jax.train.loop import Run

STUDENT = Network(Architecture(8, 12, 2, 2, LENGTH, "recent_linrec", 0, 2), ITEMS)
TEACHERS = {
    "sasrec": Network(Architecture(12, 12, 3, 2, LENGTH, "softmax", 0), ITEMS),
    "nextitnet": find_rival("nextitnet")[0].network(Architecture(12, 12, 3, 2, LENGTH, "softmax", 0), None, ITEMS, 0.0),
}
SETTINGS = RetrainConfig(epochs=2, batch_size=32, buckets=1, learning_rate=0.01, warmup_steps=0)


def taught_by(name: str, **settings) -> Taught:
    teacher = TEACHERS[name]
    return Taught(teacher, teacher.init(jax.random.key(5)), DistillConfig(teacher=name, **({"share": 0.5} | settings)))


def batch_of(lengths: list[int], length: int = LENGTH, *, last: bool = False) -> Batch:
    rng = np.random.default_rng(0)
    drawn = rng.integers(1, ITEMS + 1, (len(lengths), length + 1))
    real = np.arange(length) < np.array(lengths)[:, None]
    items, targets = np.where(real, drawn[:, :-1], 0), np.where(real, drawn[:, 1:], 0)
    targets = targets[np.arange(len(lengths)), np.array(lengths) - 1] if last else targets
    return Batch(items.astype(np.int32), targets.astype(np.int32))


@partial(jax.jit, static_argnames=("student", "teacher", "settings"))
def _lesson(weights, batch, theirs, *, student, teacher, settings):
    return lesson(weights, student.exits, batch, Taught(teacher, theirs, settings))


def of(batch: Batch, taught: Taught, weights: dict, student: Network = STUDENT):
    return _lesson(weights, batch, taught.weights, student=student, teacher=taught.teacher, settings=taught.settings)


def beginning(taught: Taught, student: Network = STUDENT) -> dict:
    weights = student.init(jax.random.key(0))
    return with_distillation(weights, taught, layers=student.architecture.depth, key=jax.random.key(1))


def test_a_share_of_nothing_is_the_plain_training_bit_for_bit():
    task, weights = task_of(setting()), STUDENT.init(jax.random.key(0))
    plain = fit(STUDENT, weights, task, settings=SETTINGS)
    taught = fit(STUDENT, weights, task, settings=SETTINGS, objective=distilled(taught_by("sasrec", share=0.0)))
    for mine, theirs in zip(*(jax.tree.leaves(x.weights) for x in (plain, taught)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert plain.ndcg == taught.ndcg


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("mapping", ["emd", "right"])
def test_padding_teaches_nothing(last, mapping):
    taught = taught_by("nextitnet", mapping=mapping)
    weights = beginning(taught)
    short = batch_of([6, 3], 6, last=last)
    pads = ((0, 0), (0, 4))
    padded = short._replace(
        items=np.pad(short.items, pads), targets=short.targets if last else np.pad(short.targets, pads)
    )
    for mine, theirs in zip(of(short, taught, weights), of(padded, taught, weights), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_a_share_of_one_does_not_see_the_labels_and_a_copy_of_the_teacher_has_nothing_to_learn():
    teacher = TEACHERS["sasrec"]
    taught = taught_by("sasrec", share=1.0, mapping="left")
    same = {"kernel": jnp.eye(12), "bias": jnp.zeros(12)}
    weights = beginning(taught, teacher)
    copy = taught.weights | {"distillation": weights["distillation"] | {"embedding": same, "hidden": same}}
    batch = batch_of([9, 4])
    others = batch._replace(targets=np.where(batch.targets > 0, batch.targets % ITEMS + 1, 0).astype(np.int32))
    assert of(batch, taught, copy, teacher).loss == pytest.approx(
        float(of(others, taught, copy, teacher).loss), rel=1e-6
    )
    gradient = jax.grad(lambda weights: of(batch, taught, weights, teacher).loss)(copy)
    assert max(np.abs(x).max() for x in jax.tree.leaves(gradient)) < 1e-6
    moved = jax.grad(lambda weights: of(batch, taught, weights, teacher).loss)(weights)
    assert all(np.abs(moved["distillation"][name]["kernel"]).max() > 1e-5 for name in ("embedding", "hidden"))


def test_the_three_terms_are_what_they_say():
    taught = taught_by("sasrec", share=0.25, mapping="right")
    weights, batch, teacher = beginning(taught), batch_of([7, 2]), TEACHERS["sasrec"]
    beside, real = weights["distillation"], batch.items > 0

    def projected(name, x):
        return np.asarray(x) @ np.asarray(beside[name]["kernel"]) + np.asarray(beside[name]["bias"])

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    def table(weights):
        tables = {name: np.asarray(value) for name, value in weights["tables"].items()}
        return tables["items"][batch.items] + tables["positions"][None, :LENGTH]

    embedding = ((projected("embedding", table(weights)) - table(taught.weights)) ** 2)[real].mean()
    own = [projected("hidden", x) for x in STUDENT.exits(weights, jnp.asarray(batch.items))]
    theirs = [np.asarray(x) for x in teacher.exits(taught.weights, jnp.asarray(batch.items))]
    p, q = ([softmax(x)[real] for x in layers] for layers in (theirs, own))
    hidden = np.mean([(p[j] * np.log(p[j] / q[i])).sum(-1).mean() for i, j in ((0, 1), (1, 2))])
    last = np.asarray(STUDENT.encode(weights, jnp.asarray(batch.items)))[real]
    scores = np.log(softmax(last @ np.asarray(weights["tables"]["items"]).T[:, 1:]))
    word = softmax(theirs[-1][real] @ np.asarray(taught.weights["tables"]["items"]).T[:, 1:])
    labels = cross_entropy(jnp.asarray(last), weights["tables"]["items"], jnp.asarray(batch.targets[real]))
    expected = 0.75 * float(labels) + 0.25 * (embedding + hidden - (word * scores).sum(-1).mean())
    assert float(of(batch, taught, weights).loss) == pytest.approx(expected, rel=1e-4)


def test_each_term_can_be_left_out():
    """Scores alone have the labels' share in them; each other term is added to it, and without scores the labels keep theirs."""
    batch, weights = batch_of([7, 2]), beginning(taught_by("sasrec"))

    def loss(*terms) -> float:
        return float(of(batch, taught_by("sasrec", share=0.25, terms=terms), weights).loss)

    scores, embedding, hidden = loss("scores"), loss("scores", "embedding"), loss("scores", "hidden")
    assert loss("embedding", "hidden", "scores") == pytest.approx(embedding + hidden - scores, rel=1e-5)
    states = STUDENT.encode(weights, jnp.asarray(batch.items)).reshape(-1, 8)
    labels = cross_entropy(states, item_table(weights), jnp.asarray(batch.targets).ravel())
    assert loss("embedding") == pytest.approx(0.75 * float(labels) + embedding - scores, rel=1e-5)
    assert min(embedding - scores, hidden - scores) > 1e-4
    plain = of(batch, taught_by("sasrec", terms=("scores",)), weights)
    np.testing.assert_array_equal(plain.teacher, weights["distillation"]["teacher"])
    gradient = jax.grad(lambda weights: of(batch, taught_by("sasrec", terms=("scores",)), weights).loss)(weights)
    assert not any(np.any(x) for x in jax.tree.leaves(gradient["distillation"]))


@pytest.mark.parametrize("name", TEACHERS)
def test_a_student_comes_nearer_to_its_teacher(name):
    taught, task = taught_by(name, share=1.0), task_of(setting())
    weights, batch = beginning(taught), batch_of([12, 9, 5])
    done = fit(STUDENT, weights, task, settings=SETTINGS, objective=distilled(taught))
    assert of(batch, taught, done.weights).loss < of(batch, taught, weights).loss - 0.3
    moved = done.weights["distillation"]["student"], done.weights["distillation"]["teacher"]
    assert all(layers.sum() == pytest.approx(1.0) and np.ptp(layers) > 1e-4 for layers in moved)
    assert without_distillation(done.weights).keys() == STUDENT.init(jax.random.key(0)).keys()


def test_checkpoints_of_another_teacher_are_refused(tmp_path):
    task, weights = task_of(setting()), beginning(taught_by("sasrec"))

    def train(taught: Taught, epochs: int = 2, **run):
        settings = dataclasses.replace(SETTINGS, epochs=epochs)
        kept = Run(Checkpoints(tmp_path), **run)
        return fit(STUDENT, weights, task, settings=settings, objective=distilled(taught), run=kept)

    train(taught_by("sasrec")._replace(digest="a"))
    train(taught_by("sasrec")._replace(digest="a"), resume=True)
    with pytest.raises(ValueError, match="teacher: 'a' there, 'b' here"):
        train(taught_by("sasrec")._replace(digest="b"), resume=True)
    with pytest.raises(ValueError, match="mapping: 'emd' there, 'left' here"):
        train(taught_by("sasrec", mapping="left")._replace(digest="a"), resume=True)
