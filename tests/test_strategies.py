"""Search strategies: the contract of each function, and what is particular to each. What they find: test_oracle."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easrec_jax.architecture import Architecture
from easrec_jax.config import EasrecConfig, ProxylessConfig, RecnasConfig, SearchConfig
from easrec_jax.nas.distribution import Table
from easrec_jax.nas.strategies import easrec, proxyless, recnas
from easrec_jax.nas.strategies.alone import EXHAUSTIVE, RANDOM, Alone
from easrec_jax.nas.strategies.known import STRATEGIES, find_strategy
from easrec_jax.nas.strategies.proxyless import FAINT
from easrec_jax.nas.strategies.strategy import Learned, Moment, Strategy
from easrec_jax.space import Space

SPACE = Space(Architecture(8, 8, 4, 2, 5, "softmax", 0), (8, 6, 4), (8, 6, 4), (2,), (0,), ("softmax",))
COSTS = np.outer([1.0, 0.6, 0.3], [0.25, 0.5, 0.75, 1.0])
SUPERNETS = {name: strategy for name, strategy in STRATEGIES.items() if isinstance(strategy, Strategy)}
LEARNERS = [name for name, strategy in SUPERNETS.items() if strategy.learn is not None]
PENALTIES = {"easrec": easrec.constraint, "untrained": easrec.constraint, "proxyless": proxyless.expected_price}
WIDTH, DEPTH = jnp.array([0.5, -0.3, 0.1]), jnp.array([0.2, 0.9, -0.4, 0.0])


def parameters(name: str) -> dict:
    """Architecture parameters away from their start."""
    return SUPERNETS[name].init(SPACE) | {"width": WIDTH, "depth": DEPTH}


def moment(name: str, progress: float = 0.3, *, cost_weight: float = 0.1, dynamic: bool = True, **settings) -> Moment:
    """A price of EASRec and one of ProxylessNAS, lambda the same; other settings are the search's."""
    priced = EasrecConfig(cost_weight=cost_weight, dynamic=dynamic)
    fixed = SearchConfig(strategy=name, easrec=priced, proxyless=ProxylessConfig(cost_weight), **settings)
    return Moment(100, progress, Table.of(SPACE, COSTS, fixed.budget), fixed)


def learned(name: str, logits: dict, key: jax.Array, at: Moment, loss=jnp.sum) -> Learned:
    """An architecture step under a loss of the shares alone; `jnp.sum` is one for all of them."""
    learn = SUPERNETS[name].learn
    assert learn is not None
    return learn(logits, key, at, lambda shares, dropout_key: loss(shares))


def test_what_does_not_learn_is_the_control_alone():
    assert set(SUPERNETS) - set(LEARNERS) == {"untrained"}


@pytest.mark.parametrize("function", ["draw", "learn"])
@pytest.mark.parametrize("name", LEARNERS)
def test_shares_are_distributions_that_the_key_alone_decides(name, function):
    strategy, at = SUPERNETS[name], moment(name)

    @jax.jit
    def draw(logits, key):
        return strategy.draw(logits, key, at) if function == "draw" else learned(name, logits, key, at).drawn

    for seed in range(5):
        shares = draw(parameters(name), jax.random.key(seed))
        assert shares.shape == (3, 4) and shares.min() >= 0
        np.testing.assert_allclose(shares.sum(), 1.0, rtol=1e-5)
        assert np.array_equal(shares, draw(parameters(name), jax.random.key(seed)))


@pytest.mark.parametrize("name", LEARNERS)
def test_gradients_go_towards_the_better_width_and_depth(name):
    """A loss linear in the shares, candidate 1 and depth 3 the best: on average over keys their logits gain most."""
    at, logits = moment(name, cost_weight=0.0), SUPERNETS[name].init(SPACE)

    def gradient(key):
        return learned(name, logits, key, at, lambda shares: -shares[1].sum() - shares[:, 2].sum()).gradient

    grads = jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(0), 400))
    for leaf, best in ((grads["width"].mean(0), 1), (grads["depth"].mean(0), 2)):
        assert np.isfinite(leaf).all() and leaf[best] < -0.05 and (np.delete(np.asarray(leaf), best) > 0).all()


@pytest.mark.parametrize("name", SUPERNETS)
def test_probabilities_follow_the_logits(name):
    found = np.asarray(SUPERNETS[name].log_probability(parameters(name), moment(name)))
    assert found.shape == (3, 4) and found.argmax() == np.ravel_multi_index((0, 1), (3, 4))
    np.testing.assert_allclose(np.exp(found).sum(), 1.0, rtol=1e-5)


def test_darts_has_no_noise_no_temperature_and_no_constraint():
    at, logits = moment("darts"), parameters("darts")
    for function in (SUPERNETS["darts"].draw, lambda *of: learned("darts", *of).drawn):
        first, second = (function(logits, jax.random.key(k), at) for k in range(2))
        assert np.array_equal(first, second)
        np.testing.assert_allclose(first, np.outer(jax.nn.softmax(WIDTH), jax.nn.softmax(DEPTH)), rtol=1e-5)
    gradient = learned("darts", logits, jax.random.key(0), at).gradient  # of a loss that is one whatever is chosen
    assert all(np.abs(g).max() < 1e-6 for g in gradient.values())


def test_proxyless_draws_one_path_by_its_probability():
    strategy, at = SUPERNETS["proxyless"], moment("proxyless")
    keys = jax.random.split(jax.random.key(1), 4000)
    shares = jax.jit(lambda: jax.vmap(lambda k: strategy.draw(parameters("proxyless"), k, at))(keys))()
    assert set(np.unique(shares)) == {0.0, 1.0}
    expected = np.outer(jax.nn.softmax(WIDTH), jax.nn.softmax(DEPTH))
    np.testing.assert_allclose(shares.mean(0), expected, atol=0.03)


def test_proxyless_puts_two_paths_side_by_side_and_gives_the_binary_gates_gradient():
    at, slope = moment("proxyless", cost_weight=0.0), jnp.array([1.0, -2.0, 0.5])
    step = jax.jit(lambda key: learned("proxyless", parameters("proxyless"), key, at, lambda x: x.sum(1) @ slope))
    for seed in range(8):
        found = step(jax.random.key(seed))
        p, q = found.drawn.sum(1), found.drawn.sum(0)
        for gates in (p, q):
            np.testing.assert_allclose(np.sort(gates)[-2:], [FAINT, 1 - FAINT], rtol=1e-4)
            assert (np.asarray(gates) > 1e-6).sum() == 2
        pair = np.flatnonzero(np.asarray(p) > 1e-6)
        share = np.asarray(jax.nn.softmax(WIDTH[pair]))
        expected = np.zeros(3)
        for i, at_i in enumerate(pair):  # dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i)
            expected[at_i] = sum(float(slope[pair[j]]) * share[j] * ((i == j) - share[i]) for j in range(2))
        np.testing.assert_allclose(found.gradient["width"], expected, atol=1e-5)


def test_proxyless_pays_for_the_expected_cost_of_all_paths():
    at = moment("proxyless", cost_weight=0.7)
    p, q = jax.nn.softmax(WIDTH), jax.nn.softmax(DEPTH)
    paid = proxyless.expected_price(parameters("proxyless"), jnp.eye(3, 4), at)
    np.testing.assert_allclose(paid, 0.7 * p @ COSTS @ q, rtol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"dynamic": False}, {"budget": 0.5}], ids=["dynamic", "static", "budget"])
@pytest.mark.parametrize("name", SUPERNETS)
def test_the_price_of_a_network_is_the_penalty_when_it_alone_is_chosen(name, settings):
    at, depths = moment(name, cost_weight=0.7, **settings), 1 + np.arange(4)
    price = SUPERNETS[name].price(COSTS, depths, at)
    priced = name == "proxyless" or (name in ("easrec", "untrained") and "budget" not in settings)
    assert (price is not None) == priced and (name in PENALTIES or not priced)
    for i, j in np.ndindex(*COSTS.shape) if name in PENALTIES else ():
        p, q = jnp.eye(3)[i], jnp.eye(4)[j]
        logits = parameters(name) | {"width": 100.0 * p, "depth": 100.0 * q}
        penalty = PENALTIES[name](logits, jnp.outer(p, q), at)
        assert (penalty is None) == (price is None)
        if penalty is not None:
            np.testing.assert_allclose(penalty, price[i, j], rtol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_learned_from_a_loss_that_is_the_same_for_all_is_the_penalty(name):
    at, logits, key = moment(name, cost_weight=0.7), parameters(name), jax.random.key(3)
    found = learned(name, logits, key, at)
    np.testing.assert_allclose(found.cross_entropy, 1.0, rtol=1e-5)
    pushes = [g for part, g in found.gradient.items() if part != "alive"]
    assert all((np.abs(g).max() > 1e-3) == (name in PENALTIES) for g in pushes)
    assert name not in PENALTIES or found.gradient["depth"][3] > 0 > found.gradient["depth"][0]


# the last: just short of a preferred network
@pytest.mark.parametrize("budget", [None, 0.2, 0.5, 0.5 - 5e-7])
def test_recnas_prunes_until_the_best_network_within_the_target_is_left(budget):
    strategy, at = SUPERNETS["recnas"], moment("recnas", budget=budget)
    prune = jax.jit(lambda logits, progress: strategy.revise(logits, at._replace(progress=progress)))
    draw = jax.jit(lambda logits: strategy.draw(logits, jax.random.key(0), at))
    logits, left = parameters("recnas"), []
    preference = np.asarray(WIDTH)[:, None] + np.asarray(DEPTH)
    for progress in np.linspace(0, 1, 11):
        before, logits = logits, prune(logits, progress)
        alive = np.asarray(logits["alive"]) > 0
        assert not (alive & (np.asarray(before["alive"]) == 0)).any()  # what is pruned stays pruned
        left.append(int(alive.sum()))
        assert not np.asarray(draw(logits))[~alive].any()
        log = np.asarray(strategy.log_probability(logits, at))
        assert np.isfinite(log[alive]).all() and np.isneginf(log[~alive]).all()
    assert left[0] == 12 and left[-1] == 1 and left == sorted(left, reverse=True) and len(set(left)) > 4
    admitted = (1.0 if budget is None else budget) + 1e-9 >= COSTS
    assert np.argmax(alive) == np.argmax(np.where(admitted, preference, -9.0))


def test_recnas_anneals_from_the_first_temperature_to_the_last():
    settings = {"recnas": RecnasConfig(tau_start=1.0, tau_min=0.01)}
    values = [recnas.temperature(moment("recnas", s, **settings)) for s in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(values, [1.0, 0.1, 0.01], rtol=1e-5)
    cold = SUPERNETS["recnas"].draw(parameters("recnas"), jax.random.key(0), moment("recnas", 1.0, **settings))
    assert cold[0, 1] > 0.99


@pytest.mark.parametrize("name", SUPERNETS)
def test_a_strategy_reads_the_settings_of_its_own_part_alone(name):
    """What it draws and what it charges change with these, and with no other part."""
    changed = {
        "easrec": EasrecConfig(0.3, False, 0.7, 0.001, 0.05), "proxyless": ProxylessConfig(0.4), "recnas": RecnasConfig(0.7, 0.05),
    }  # fmt: skip

    def found(**parts):
        at = moment(name)
        at = at._replace(settings=dataclasses.replace(at.settings, **parts))
        of = (SUPERNETS[name].draw(parameters(name), jax.random.key(0), at), SUPERNETS[name].price(COSTS, 1, at))
        return [np.asarray(x).tolist() for x in of]

    read = {part for part, settings in changed.items() if found(**{part: settings}) != found()}
    assert read == {"easrec": {"easrec"}, "untrained": {"easrec"}, "darts": set()}.get(name, {name})


def test_random_draws_different_networks_within_the_budget_and_exhaustive_all_of_them():
    settings, within = SearchConfig(finalists=3), np.flatnonzero(COSTS <= 0.4)
    draws = [RANDOM.choose(within, settings, seed).tolist() for seed in range(40)]
    assert all(len(set(d)) == 3 and set(d) <= set(within.tolist()) for d in draws)
    assert set().union(*draws) == set(within.tolist()) and len(set(map(tuple, draws))) > 10
    assert draws[0] == RANDOM.choose(within, settings, 0).tolist()
    assert EXHAUSTIVE.choose(within, settings, 0).tolist() == within.tolist()
    assert len(RANDOM.choose(within, dataclasses.replace(settings, finalists=99), 0)) == len(within)


def test_a_strategy_is_one_file(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("from easrec_jax.nas.strategies.strategy import Strategy\nSTRATEGY = Strategy(keeps_budget=False)\n")
    assert find_strategy(str(own)) == Strategy(keeps_budget=False)
    own.write_text(
        "from easrec_jax.nas.strategies.alone import Alone\n"
        "STRATEGY = Alone(lambda admitted, settings, seed: admitted[:1])\n"
    )
    found = find_strategy(str(own))
    assert isinstance(found, Alone) and found.choose(np.arange(3, 9), SearchConfig(), 0).tolist() == [3]
    (tmp_path / "empty.py").write_text("STRATEGY = None\n")
    message = "empty.py: expected a variable `STRATEGY` of type Strategy or Alone, got NoneType"
    with pytest.raises(ValueError, match=message):
        find_strategy(str(tmp_path / "empty.py"))
    with pytest.raises(FileNotFoundError, match="nowhere.py"):
        find_strategy("nowhere.py")
    with pytest.raises(
        ValueError, match="expected one of easrec, darts, proxyless, recnas, untrained, random, exhaustive, or a file"
    ):
        find_strategy("bohb")
