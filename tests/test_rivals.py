"""The rivals: the laws of every network, features that matter, sizes, rates and names."""

from __future__ import annotations

import dataclasses
from functools import cache, partial
from pkgutil import iter_modules

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from products import product_flops

from easrec_jax.architecture import Architecture, sasrec_architecture
from easrec_jax.config import ATTENTIONS, Config, DataConfig, EvaluateConfig, ModelConfig, RetrainConfig
from easrec_jax.data.batches import epoch_batches, training_samples
from easrec_jax.data.features import ItemFeatures
from easrec_jax.data.split import Split
from easrec_jax.data.synthetic import planted, planted_features
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models import rivals
from easrec_jax.models.network import network_scores
from easrec_jax.models.rival import check_rival, find_rival
from easrec_jax.models.rivals.popularity import popularity_scores
from easrec_jax.runs.retrain import baseline
from easrec_jax.train.fit import fit
from easrec_jax.train.step import TrainState, optimizer, train_step
from easrec_jax.train.task import Task

ITEMS, LENGTH, LONG = 20, 9, 40
RIVALS = {name: find_rival(name)[0].network for name in ("sasrecf", "fdsa")}


@pytest.fixture(scope="module")
def features() -> ItemFeatures:
    """Two columns: up to three genres an item, some none; one of four makers."""
    rng = np.random.default_rng(3)
    genres = [()] + [tuple(f"g{k}" for k in rng.choice(5, size, replace=False)) for size in rng.integers(0, 4, ITEMS)]
    return ItemFeatures.from_tokens({"genre": genres, "maker": [(), *((f"m{k % 4}",) for k in range(ITEMS))]})


@pytest.fixture(params=RIVALS)
def rival(request):
    return RIVALS[request.param]


@pytest.fixture(params=ATTENTIONS)
def network(request, rival, features):
    conv = 3 if request.param == "recent_linrec" else 0
    return rival(Architecture(8, 12, 2, 2, LENGTH, request.param, 0, conv), features, ITEMS, 0.0)


@pytest.fixture
def weights(network, draw_weights):
    return draw_weights(network.init)


@pytest.fixture(scope="module")
def items() -> jax.Array:
    drawn = np.random.default_rng(5).integers(1, ITEMS + 1, (3, LENGTH))
    return jnp.asarray(np.where(np.arange(LENGTH) < np.array([[9], [4], [1]]), drawn, 0), jnp.int32)


@partial(jax.jit, static_argnames=("network", "method"))
def _run(network, weights, items, method):
    return getattr(network, method)(weights, items)


def run(network, weights, items, method="encode") -> np.ndarray:
    return np.asarray(_run(network, weights, items, method))


def test_every_mixer_keeps_the_laws_of_a_network(network, weights, items):
    """The last event's state is the whole sequence's, with less padding too; a causal mode sees no later item."""
    whole, last = run(network, weights, items), run(network, weights, items[1:, :5], "encode_last")
    np.testing.assert_allclose(last, whole[[1, 2], [3, 0]], atol=1e-5)
    later = run(network, weights, items.at[0, 6].set(items[0, 6] % ITEMS + 1))
    assert np.abs(later[0, 6:] - whole[0, 6:]).max() > 1e-3
    if network.architecture.causal:
        np.testing.assert_allclose(later[0, :6], whole[0, :6], atol=1e-5)


def test_features_of_the_history_reach_the_scores_and_the_order_of_values_does_not(
    rival, features, draw_weights, items
):
    arch = Architecture(8, 12, 1, 2, LENGTH, "softmax", 0)
    network = rival(arch, features, ITEMS, 0.0)
    weights = draw_weights(network.init)
    before = run(network, weights, items, "encode_last")
    for column in range(2):
        values = list(features.values)
        values[column] = values[column].copy()
        values[column][int(items[1, 0])] = 0
        values[column][int(items[1, 0]), 0] = 1 + (features.values[column][int(items[1, 0]), 0] % 3)
        other = rival(arch, dataclasses.replace(features, values=tuple(values)), ITEMS, 0.0)
        assert np.abs(run(other, weights, items, "encode_last")[1] - before[1]).max() > 1e-3
    turned = rival(arch, dataclasses.replace(features, values=tuple(v[:, ::-1] for v in features.values)), ITEMS, 0.0)
    np.testing.assert_allclose(run(turned, weights, items, "encode_last"), before, atol=1e-5)


@pytest.fixture(scope="module")
def made():
    return planted(users=120, items=400, seed=0)


@cache
def evaluator(split: Split) -> Evaluator:
    return Evaluator(split, "validation", LONG, ("full",))


def renamed(split: Split, order: np.ndarray) -> Split:
    """The same histories, item v called order[v]: under the same features all have another item's."""
    return Split(dataclasses.replace(split.data, items=order[split.data.items], offsets=split.data.offsets.copy()))


def test_a_rival_beats_popularity_and_shuffled_features_hurt(rival, made):
    """Planted data with two events an item: the cluster is known before the item is. Shuffling hurts a trained model, and training.

    Features are shuffled by renaming the items: it is the same, and the network need not be compiled again.
    """
    split = Split(made.data)
    items = split.data.num_items
    order = np.concatenate([[0], 1 + np.random.default_rng(0).permutation(items)]).astype(np.int32)
    network = rival(Architecture(16, 32, 1, 2, LONG, "softmax", 0), planted_features(made.truth), items, 0.0)
    settings = RetrainConfig(epochs=4, batch_size=16, buckets=1, learning_rate=0.02)
    weights = network.init(jax.random.key(0))

    def train(split: Split):
        samples = training_samples(split, max_length=LONG, targets="all", windows="all")
        return fit(network, weights, Task(samples, evaluator(split), 0.0, 0), settings=settings)

    other = renamed(split, order)
    right, wrong = train(split), train(other)
    popular = evaluator(split)(popularity_scores, jnp.asarray(split.popularity(), jnp.float32))["full"]["ndcg@10"]
    assert right.ndcg > 3 * popular
    assert right.ndcg > wrong.ndcg + 0.05
    tables = right.weights["tables"]
    moved = right.weights | {"tables": tables | {"items": tables["items"][np.argsort(order)]}}  # order[v]'s is v's
    assert evaluator(other)(network_scores(network), moved)["full"]["ndcg@10"] < 0.5 * right.ndcg


@pytest.mark.parametrize("name", ["sasrec", "sasrecf", "fdsa", "nextitnet"])
def test_a_rival_overfits_a_tiny_set(name, interactions, features):
    rng = np.random.default_rng(0)
    histories = [(1 + rng.permutation(ITEMS)[:8]).tolist() for _ in range(6)]
    split = Split(interactions(histories, ITEMS))
    arch = Architecture(16, 32, 1, 2, LENGTH, "softmax", 0)
    network = find_rival(name)[0].network(arch, features if name in RIVALS else None, ITEMS, 0.0)
    weights = network.init(jax.random.key(0))
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="all")
    (batch,) = epoch_batches(samples, max_length=LENGTH, batch_size=8, buckets=1, seed=0, epoch=0)
    tx = optimizer(0.02, "constant", 5, 200, 0.0)
    state = TrainState(jnp.int32(0), weights, tx.init(weights))
    losses = []
    for _ in range(120):
        state, scalars = train_step(state, batch, jax.random.key(0), encoder=network, tx=tx)
        losses.append(float(scalars["loss"]))
    assert losses[0] > 2.0 and losses[-1] < 0.3


def test_closed_form_flops_are_the_products_of_the_program(network, weights):
    arch = network.architecture

    def request(weights, items):
        return network.encode_last(weights, items) @ weights["tables"]["items"].T

    jaxpr = jax.make_jaxpr(request)(weights, jax.ShapeDtypeStruct((1, LENGTH), jnp.int32)).jaxpr
    stacks = find_rival("fdsa")[0].stacks if network.name == "FDSA" else 1
    taps = stacks * 2 * arch.conv_width * arch.width * LENGTH * arch.depth  # no products
    assert product_flops(jaxpr) - 2 * arch.width == network.module.request_flops() - taps


def test_baseline_names():
    assert find_rival("fdsa")[1] == "softmax" and find_rival("sasrecf+linrec")[1] == "linrec"
    assert find_rival("markov")[1] == "" and find_rival("fdsa+linrec")[0] is find_rival("fdsa")[0]
    for wrong in ("sasrec+", "gru4rec", "popularity+softmax", "sasrec+mamba", "markov+", "nextitnet+linrec"):
        with pytest.raises(
            ValueError,
            match=r"retrain\.baselines: expected markov, popularity, or a network, fdsa, nextitnet, sasrec, ",
        ):
            check_rival(wrong, Config())
    with pytest.raises(ValueError, match=r"retrain\.baselines: expected no bidirectional linrec"):
        check_rival("fdsa+linrec", Config())
    check_rival("fdsa+linrec", Config(data=DataConfig(targets="last")))
    with pytest.raises(ValueError, match=r"retrain\.baselines: expected none with item features where retrain\.loss"):
        check_rival("sasrecf", Config(retrain=RetrainConfig(loss="sampled")))
    check_rival("sasrec", Config(retrain=RetrainConfig(loss="sampled")))


def test_a_rival_is_a_network_or_a_floor():
    for name in [module.name for module in iter_modules(rivals.__path__)]:
        rival, _ = find_rival(name)
        assert (rival.network is None) != (rival.floor is None)


def test_sasrec_has_two_layers_and_no_gates():
    model = ModelConfig(attention="causal_linrec", conv_width=3, learn_decay=True)
    plain, recent = sasrec_architecture(model), sasrec_architecture(model, "recent_linrec")
    assert (plain.attention, plain.depth, plain.gate_layers, plain.conv_width, plain.learn_decay) == (
        "softmax",
        2,
        0,
        0,
        False,
    )
    assert (recent.attention, recent.conv_width, recent.learn_decay) == ("recent_linrec", 3, True)


def test_baselines_train_at_their_own_rate(made):
    split = Split(made.data)

    def figures(**rates):
        config = Config(
            model=ModelConfig(width=8, inner=8, heads=2, max_length=LONG, conv_width=2),
            retrain=RetrainConfig(epochs=1, batch_size=64, buckets=1, warmup_steps=0, **rates),
            evaluate=EvaluateConfig(protocols=("full",), buckets=1),
        )
        row = baseline("sasrec", config, split)
        assert row is not None
        return row["validation"]

    own = figures(learning_rate=0.02, baseline_learning_rate=0.001)
    assert own == figures(learning_rate=0.001) != figures(learning_rate=0.02)
    with pytest.raises(ValueError, match=r"retrain\.baseline_learning_rate: expected a number above 0, got 0"):
        RetrainConfig(baseline_learning_rate=0.0)
