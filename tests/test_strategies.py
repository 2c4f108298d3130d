"""Search strategies: the contract of each function, what is particular to each, and that each finds what is planted."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from easrec_jax.search import search as search_module
from easrec_jax.search.search import search
from easrec_jax.search.strategies import STRATEGIES, Moment, find_strategy
from easrec_jax.search.strategies.proxyless import FAINT
from easrec_jax.search.strategies.recnas import PrunedParameters

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, ModelConfig, SearchConfig
from easrec_jax.data.batches import training_samples
from easrec_jax.data.split import Split
from easrec_jax.evaluate.evaluator import Evaluator
from easrec_jax.models.cost import cost_table
from easrec_jax.models.network import Network, network_scores
from easrec_jax.models.supernet import extract
from easrec_jax.space import SearchSpace, search_space
from easrec_jax.train.loop import Checkpoints

SPACE = SearchSpace(Architecture(8, 8, 4, 2, 5, "softmax", 0), ((8, 8), (6, 6), (4, 4)))
COSTS = np.outer([1.0, 0.6, 0.3], [0.25, 0.5, 0.75, 1.0])
SUPERNETS = [name for name, strategy in STRATEGIES.items() if strategy.choose is None]
WIDTH, DEPTH = jnp.array([0.5, -0.3, 0.1]), jnp.array([0.2, 0.9, -0.4, 0.0])


def parameters(name: str):
    """Architecture parameters away from their start."""
    return STRATEGIES[name].init(SPACE)._replace(width=WIDTH, depth=DEPTH)


def moment(name: str, progress: float = 0.3, **settings) -> Moment:
    fixed = SearchConfig(strategy=name, **settings)
    allowed = None if fixed.budget is None else fixed.budget >= COSTS
    return Moment(progress, STRATEGIES[name].temperature(100, progress, fixed), allowed, fixed)


@pytest.mark.parametrize("function", ["draw", "relax"])
@pytest.mark.parametrize("name", SUPERNETS)
def test_shares_are_distributions_that_the_key_alone_decides(name, function):
    strategy, at = STRATEGIES[name], moment(name)
    draw = jax.jit(lambda arch, key: getattr(strategy, function)(arch, key, at))
    for seed in range(5):
        shares = draw(parameters(name), jax.random.key(seed))
        assert shares.shape == (3, 4) and shares.min() >= 0
        np.testing.assert_allclose(shares.sum(), 1.0, rtol=1e-5)
        assert np.array_equal(shares, draw(parameters(name), jax.random.key(seed)))


@pytest.mark.parametrize("name", SUPERNETS)
def test_gradients_go_towards_the_better_width_and_depth(name):
    """A loss linear in the shares, candidate 1 and depth 3 the best: on average over keys their logits gain most."""
    strategy, at = STRATEGIES[name], moment(name)
    arch = strategy.init(SPACE)

    def loss(arch, key):
        shares = strategy.relax(arch, key, at)
        return -shares[1].sum() - shares[:, 2].sum()

    keys = jax.random.split(jax.random.key(0), 400)
    grads = jax.jit(lambda: jax.vmap(jax.grad(loss), (None, 0))(arch, keys))()
    for leaf, best in ((grads.width.mean(0), 1), (grads.depth.mean(0), 2)):
        assert np.isfinite(leaf).all() and leaf[best] < -0.05 and (np.delete(np.asarray(leaf), best) > 0).all()


@pytest.mark.parametrize("name", SUPERNETS)
def test_preferences_follow_the_logits(name):
    logits = np.asarray(STRATEGIES[name].logits(parameters(name), None))
    assert logits.shape == (3, 4) and logits.argmax() == np.ravel_multi_index((0, 1), (3, 4))


def test_darts_has_no_noise_no_temperature_and_no_constraint():
    strategy, at = STRATEGIES["darts"], moment("darts")
    for function in (strategy.draw, strategy.relax):
        first, second = (function(parameters("darts"), jax.random.key(k), at) for k in range(2))
        assert np.array_equal(first, second)
        np.testing.assert_allclose(first, np.outer(jax.nn.softmax(WIDTH), jax.nn.softmax(DEPTH)), rtol=1e-5)
    assert strategy.penalty(parameters("darts"), first, jnp.asarray(COSTS), at) == 0.0


def test_proxyless_draws_one_path_by_its_probability():
    strategy, at = STRATEGIES["proxyless"], moment("proxyless")
    keys = jax.random.split(jax.random.key(1), 4000)
    shares = jax.jit(lambda: jax.vmap(lambda k: strategy.draw(parameters("proxyless"), k, at))(keys))()
    assert set(np.unique(shares)) == {0.0, 1.0}
    expected = np.outer(jax.nn.softmax(WIDTH), jax.nn.softmax(DEPTH))
    np.testing.assert_allclose(shares.mean(0), expected, atol=0.03)


def test_proxyless_puts_two_paths_side_by_side_and_gives_the_binary_gates_gradient():
    strategy, at, slope = STRATEGIES["proxyless"], moment("proxyless"), jnp.array([1.0, -2.0, 0.5])
    for seed in range(8):
        shares = strategy.relax(parameters("proxyless"), jax.random.key(seed), at)
        p, q = shares.sum(1), shares.sum(0)
        for gates in (p, q):
            np.testing.assert_allclose(np.sort(gates)[-2:], [FAINT, 1 - FAINT], rtol=1e-4)
            assert (np.asarray(gates) > 1e-6).sum() == 2
        grads = jax.grad(lambda a, s=seed: strategy.relax(a, jax.random.key(s), at).sum(1) @ slope)(
            parameters("proxyless")
        ).width
        pair = np.flatnonzero(np.asarray(p) > 1e-6)
        share = np.asarray(jax.nn.softmax(WIDTH[pair]))
        expected = np.zeros(3)
        for i, at_i in enumerate(pair):  # dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i)
            expected[at_i] = sum(float(slope[pair[j]]) * share[j] * ((i == j) - share[i]) for j in range(2))
        np.testing.assert_allclose(grads, expected, atol=1e-5)


def test_proxyless_pays_for_the_expected_cost_of_all_paths():
    strategy, at = STRATEGIES["proxyless"], moment("proxyless", cost_weight=0.7)
    p, q = jax.nn.softmax(WIDTH), jax.nn.softmax(DEPTH)
    paid = strategy.penalty(parameters("proxyless"), jnp.eye(3, 4), jnp.asarray(COSTS), at)
    np.testing.assert_allclose(paid, 0.7 * p @ COSTS @ q, rtol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"dynamic": False}, {"budget": 0.5}], ids=["dynamic", "static", "budget"])
@pytest.mark.parametrize("name", SUPERNETS)
def test_the_price_of_a_network_is_the_penalty_when_it_alone_is_chosen(name, settings):
    strategy, at = STRATEGIES[name], moment(name, cost_weight=0.7, **settings)
    price = strategy.price(COSTS, at.settings)
    priced = name == "proxyless" or (name in ("easrec", "untrained") and "budget" not in settings)
    assert (price is not None) == priced
    for i, j in np.ndindex(*COSTS.shape):
        p, q = jnp.eye(3)[i], jnp.eye(4)[j]
        arch = parameters(name)._replace(width=100.0 * p, depth=100.0 * q)
        penalty = strategy.penalty(arch, jnp.outer(p, q), jnp.asarray(COSTS), at)
        np.testing.assert_allclose(penalty, 0.0 if price is None else price[i, j], rtol=1e-5)


@pytest.mark.parametrize("budget", [None, 0.2, 0.5, 0.5 - 5e-7])  # the last: just short of a preferred network
def test_recnas_prunes_until_the_best_network_within_the_target_is_left(budget):
    strategy = STRATEGIES["recnas"]
    prune = jax.jit(
        lambda arch, progress: strategy.revise(
            arch, jnp.asarray(COSTS), moment("recnas", budget=budget)._replace(progress=progress)
        )
    )
    arch, left = parameters("recnas"), []
    preference = np.asarray(WIDTH)[:, None] + np.asarray(DEPTH)
    for progress in np.linspace(0, 1, 11):
        before, arch = arch, prune(arch, progress)
        alive = np.asarray(arch.alive) > 0
        assert not (alive & (np.asarray(before.alive) == 0)).any()  # what is pruned stays pruned
        left.append(int(alive.sum()))
        assert not np.asarray(strategy.draw(arch, jax.random.key(0), moment("recnas")))[~alive].any()
        assert np.isfinite(np.asarray(strategy.logits(arch, None))[alive]).all()
    assert left[0] == 12 and left[-1] == 1 and left == sorted(left, reverse=True) and len(set(left)) > 4
    admitted = (1.0 if budget is None else budget) + 1e-9 >= COSTS
    assert np.argmax(alive) == np.argmax(np.where(admitted, preference, -9.0))


def test_recnas_anneals_from_the_first_temperature_to_the_last():
    settings = SearchConfig(tau_start=1.0, tau_min=0.01)
    values = [STRATEGIES["recnas"].temperature(0, s, settings) for s in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(values, [1.0, 0.1, 0.01], rtol=1e-5)
    arch = PrunedParameters(WIDTH, DEPTH, jnp.ones((3, 4)))
    cold = STRATEGIES["recnas"].draw(arch, jax.random.key(0), moment("recnas", 1.0, tau_min=0.01))
    assert cold[0, 1] > 0.99


def test_random_draws_different_networks_within_the_budget_and_exhaustive_all_of_them():
    settings = SearchConfig(budget=0.4, finalists=3)
    within = {(i, j + 1) for i, j in np.argwhere(COSTS <= 0.4).tolist()}
    random, exhaustive = STRATEGIES["random"].choose, STRATEGIES["exhaustive"].choose
    assert random is not None and exhaustive is not None
    draws = [random(COSTS, settings, seed) for seed in range(40)]
    assert all(len(set(d)) == 3 and set(d) <= within for d in draws)
    assert set().union(*draws) == within and len(set(map(tuple, draws))) > 10
    assert draws[0] == random(COSTS, settings, 0)
    assert set(exhaustive(COSTS, settings, 0)) == within
    assert len(random(COSTS, dataclasses.replace(settings, finalists=99), 0)) == len(within)


# -------------------------------------------------------------------------------------------------------- whole searches

LENGTH = 12
MODEL = {
    "width": 16, "inner": 16, "layers": 2, "heads": 2, "max_length": LENGTH, "attention": "softmax", "gate_layers": 0,
    "dropout": 0.3,
}  # fmt: skip
SEARCH = {
    "prune": (0.75, 0.0), "epochs": 8, "batch_size": 16, "buckets": 1, "learning_rate": 0.02, "finalists": 1,
    "arch_learning_rate": 0.1, "every": 2, "warmup_epochs": 3, "tau_start": 0.5, "tau_decay": 0.005, "tau_min": 0.1,
}  # fmt: skip
BEST, BUDGET = (1, 1), 0.9  # candidate 1 is the wide one


@pytest.fixture(scope="module")
def chain(interactions) -> Split:
    """Each of 60 items has one successor, which follows nine times in ten.

    A narrow network cannot tell 60 successors apart. One layer is enough, and a second one's dropout is mere noise.
    """
    rng = np.random.default_rng(0)
    successor = rng.permutation(60)
    histories = rng.integers(0, 60, (160, LENGTH + 2))
    for t in range(1, histories.shape[1]):
        follow = rng.random(len(histories)) < 0.9
        histories[:, t] = np.where(follow, successor[histories[:, t - 1]], histories[:, t])
    return Split(interactions((1 + histories).tolist(), 60))


def run(split: Split, name: str, *, strategy=None, seed: int = 0, options: dict | None = None, **settings):
    """((candidate, depth) of the pick, what the search found)."""
    config = Config(model=ModelConfig(**MODEL), search=SearchConfig(**(SEARCH | {"strategy": name} | settings)))
    space = search_space(config)
    samples = training_samples(split, max_length=LENGTH, targets="all", windows="all")
    found = search(
        space, samples, Evaluator(split, "validation", LENGTH, ("full",)), settings=config.search,
        dropout=config.model.dropout, seed=seed, strategy=strategy, **(options or {}),
    )  # fmt: skip
    return space.locate(found.architecture), found


@pytest.fixture(scope="module")
def oracle(chain) -> dict[tuple[int, int], float]:
    """Validation NDCG@10 of each network trained alone, by the exhaustive strategy."""
    pick, found = run(chain, "exhaustive")
    assert len(found.finalists) == 4 and found.weights is None
    figures = {(f["candidate"], f["depth"]): f["ndcg@10"] for f in found.finalists}
    assert pick == max(figures, key=lambda pair: figures[pair])
    return figures


def test_the_planted_network_is_clearly_best_within_the_budget_and_all_but_the_best_without(chain, oracle):
    """The wide one of one layer; a second layer is worth next to nothing and costs three times as much again."""
    costs = cost_table(search_space(Config(model=ModelConfig(**MODEL), search=SearchConfig(**SEARCH))), 60)
    within = [pair for pair in oracle if costs[pair[0], pair[1] - 1] <= BUDGET]
    assert len(within) == 3 and oracle[BEST] > max(oracle[pair] for pair in within if pair != BEST) + 0.1
    assert abs(oracle[1, 2] - oracle[BEST]) < 0.03 and costs[1, 1] > 3 * costs[1, 0]


def test_random_search_finds_the_planted_network_if_it_draws_it(chain, oracle):
    pick, found = run(chain, "random", finalists=2, budget=BUDGET, seed=0)
    figures = {(f["candidate"], f["depth"]): f["ndcg@10"] for f in found.finalists}
    assert len(figures) == 2 and BEST in figures and figures == {pair: oracle[pair] for pair in figures}
    assert pick == BEST


@pytest.mark.parametrize(
    ("name", "settings"),
    [("easrec", {"budget": BUDGET}), ("proxyless", {"cost_weight": 0.1}), ("recnas", {"budget": BUDGET})],
)
def test_a_strategy_that_minds_the_cost_finds_the_planted_network(chain, name, settings):
    pick, found = run(chain, name, **settings)
    assert pick == BEST, found.arch
    assert jax.nn.softmax(found.arch.width)[BEST[0]] > 0.7  # learned: they begin at one half, which may do to be picked


def test_the_control_learns_no_architecture_and_trains_the_supernet(chain):
    space = search_space(Config(model=ModelConfig(**MODEL), search=SearchConfig(**SEARCH)))
    _, found = run(chain, "untrained", budget=BUDGET)
    start = STRATEGIES["easrec"].init(space)
    assert all(np.array_equal(a, b) for a, b in zip(found.arch, start, strict=True))
    wide = Evaluator(chain, "validation", LENGTH, ("full",))(
        network_scores(Network(space.architecture(*BEST), 60)), extract(found.weights, space, space.architecture(*BEST))
    )
    assert wide["full"]["ndcg@10"] > 0.5


def test_darts_which_minds_no_cost_finds_the_width_and_a_network_as_good_as_the_best(chain, oracle):
    pick, found = run(chain, "darts")
    assert pick[0] == BEST[0] and oracle[pick] > max(oracle.values()) - 0.03, found.arch


@pytest.mark.parametrize("name", ["darts", "proxyless"])
def test_a_budget_that_would_mean_nothing_is_refused(chain, name):
    with pytest.raises(ValueError, match=f"search.budget: expected none with search.strategy = '{name}'"):
        run(chain, name, budget=0.5)


def test_networks_trained_alone_are_not_trained_again_on_resume(chain, tmp_path):
    settings = {"prune": (0.75,), "epochs": 1, "warmup_epochs": 0}
    trained, records = [], []

    class Killed(Exception):
        pass

    def die(record):
        raise Killed

    keep = {"checkpoints": Checkpoints(tmp_path)}
    with pytest.raises(Killed):
        run(chain, "exhaustive", options=keep | {"on_epoch": die}, **settings)
    original = search_module.fit

    def counted(network, *args, **options):
        before = options["checkpoints"].latest()
        done = original(network, *args, **options)
        trained.extend([network.architecture.depth] if options["checkpoints"].latest() != before else [])
        return done

    search_module.fit = counted
    try:
        resumed = run(chain, "exhaustive", options=keep | {"resume": True, "on_epoch": records.append}, **settings)
    finally:
        search_module.fit = original
    assert trained == [2] and [r["depth"] for r in records] == [1, 2]
    assert resumed[1].finalists == run(chain, "exhaustive", **settings)[1].finalists


def test_a_strategy_is_one_file(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "from easrec_jax.search.strategies import Strategy\n"
        "STRATEGY = Strategy(choose=lambda costs, settings, seed: [(0, 1)])\n"
    )
    choose = find_strategy(str(own)).choose
    assert choose is not None and choose(COSTS, SearchConfig(), 0) == [(0, 1)]
    (tmp_path / "empty.py").write_text("STRATEGY = None\n")
    with pytest.raises(ValueError, match="empty.py: expected a variable `STRATEGY` of type Strategy, got NoneType"):
        find_strategy(str(tmp_path / "empty.py"))
    with pytest.raises(FileNotFoundError, match="nowhere.py"):
        find_strategy("nowhere.py")
    with pytest.raises(
        ValueError, match="expected one of easrec, darts, proxyless, recnas, untrained, random, exhaustive, or a file"
    ):
        find_strategy("bohb")
