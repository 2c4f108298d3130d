"""What every test shares: strict JAX settings, checked shapes, networks and data small enough to compile at once."""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import subprocess
import sys
import warnings

# To compile is most of a test's time, and no test needs fast programs: two thirds of it go without XLA's fusion emitters and
# parallel code generation, half of the rest without most optimisations. The commands that tests start inherit all three.
# A jaxlib that has dropped a flag says "Unknown flag".
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import install_import_hook

import easrec_jax.config  # noqa: F401  before the hook: settings check their types themselves

install_import_hook("easrec_jax", "beartype.beartype")  # before anything else imports the package

from easrec_jax.architecture import Architecture  # noqa: E402
from easrec_jax.data.interactions import IdMap, Interactions  # noqa: E402
from easrec_jax.data.split import Split  # noqa: E402
from easrec_jax.models.network import Network  # noqa: E402
from easrec_jax.runs import cli  # noqa: E402

ITEMS, LENGTH = 20, 9
SIZES = {"width": 8, "inner": 12, "depth": 2, "heads": 2, "max_length": LENGTH}
VARIANTS = {
    "softmax": {"attention": "softmax", "gate_layers": 0},
    "linrec": {"attention": "linrec", "gate_layers": 2},
    "causal": {"attention": "causal_linrec", "gate_layers": 1},
    "recent": {"attention": "recent_linrec", "gate_layers": 2},
    "recent_conv": {"attention": "recent_linrec", "gate_layers": 0, "conv_width": 3, "learn_decay": True},
}
CAUSAL = [name for name in VARIANTS if name != "linrec"]


def pytest_configure(config: pytest.Config) -> None:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_debug_key_reuse", True)
    hypothesis.settings.register_profile(
        "fixed", derandomize=True
    )  # the same examples each time; --hypothesis-profile=default: new ones
    if not config.getoption("--hypothesis-profile", None):
        hypothesis.settings.load_profile("fixed")
    if (store := getattr(config, "cache", None)) is not None:
        # one for all processes: without XLA's own caches the key of a program holds no path
        settings = {"compilation_cache_dir": str(store.mkdir("jax")), "persistent_cache_enable_xla_caches": "none"}
        for name, value in (settings | {"persistent_cache_min_compile_time_secs": 0.0}).items():
            jax.config.update(f"jax_{name}", value)
            os.environ[f"JAX_{name.upper()}"] = str(value)  # for the commands that tests start


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_module():
    """Compiled programs go with their module: thousands in one process use up its memory maps, and XLA then crashes."""
    yield
    jax.clear_caches()
    gc.collect()


@partial(jax.jit, static_argnames=("network", "method"))
def _apply(network, method, weights, *args):
    return method(network, weights, *args)


class Small(NamedTuple):
    """A network whose every weight matters: all far from their start values."""

    network: Network
    weights: dict

    def __call__(self, method, *args):
        """The network's `method`, jitted."""
        return _apply(self.network, method, self.weights, *args)


def random_weights(init, seed: int = 0) -> dict:
    """Weights in the shapes of `init(key)`, drawn without compiling it; taps and biases too, padding is zero."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, shape: jax.ShapeDtypeStruct) -> jax.Array:
        values = 0.4 * rng.standard_normal(shape.shape) + (path[-1].key == "scale")
        if [part.key for part in path[-2:]] == ["tables", "items"]:
            values[0] = 0.0
        return jnp.asarray(values, shape.dtype)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(init, jax.random.key(0)))


@cache
def small_network(variant: str) -> Small:
    network = Network(Architecture(**SIZES, **VARIANTS[variant]), ITEMS)
    return Small(network, random_weights(network.init))


def make_interactions(histories: list[list[int]], num_items: int) -> Interactions:
    return Interactions(
        items=np.array([item for history in histories for item in history], np.int32),
        offsets=np.cumsum([0] + [len(history) for history in histories]),
        user_ids=IdMap(tuple(f"u{k}" for k in range(len(histories)))),
        item_ids=IdMap(tuple(f"i{k}" for k in range(1, num_items + 1))),
    )


@pytest.fixture(params=VARIANTS)
def any_network(request) -> Small:
    """One network of each attention mode and option."""
    return small_network(request.param)


@pytest.fixture(params=CAUSAL)
def causal_network(request) -> Small:
    """One network of each causal mode and option."""
    return small_network(request.param)


@pytest.fixture
def linrec_network() -> Small:
    return small_network("linrec")


@pytest.fixture(scope="session")
def draw_weights():
    """`draw_weights(init)`: random weights in the shapes of `init(key)`, all far from their start values."""
    return random_weights


@pytest.fixture(params=VARIANTS)
def variant(request) -> dict:
    """Architecture arguments of each attention mode and option, sizes included."""
    return SIZES | VARIANTS[request.param]


@pytest.fixture
def call_here(monkeypatch, capsys):
    """`call_here(name, *arguments)`: a command in this process, errors and warnings as they are raised; what it prints."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        importlib.import_module(f"easrec_jax.commands.{name}").command()
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """`refused(name, *arguments)`: bin/NAME.py from end to end in this process, for calls that end before they compute anything.

    In an empty folder; half a dozen take the time of one process.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "as it is")  # read when JAX starts; a command leaves it alone
    monkeypatch.setattr(cli, "use_huge_pages", lambda: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # commands have their own: put back after

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess:
        program = str(Path(__file__).parent.parent / "bin" / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(program, run_name="__main__")
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(sys.argv, ended.value.code, out, err)

    return run


@pytest.fixture(scope="session")
def interactions():
    """`interactions(histories, num_items)`: data from lists of inner ids."""
    return make_interactions


@pytest.fixture(scope="session")
def data() -> Interactions:
    """40 users with 3 to 20 events over 30 items, the first items far more popular, some events repeated."""
    rng = np.random.default_rng(7)
    weight = 1.0 / np.arange(1, 31)
    lengths = [3, 3, 4, 5, *rng.integers(3, 21, 36)]
    draws = [rng.choice(30, size, p=weight / weight.sum()) + 1 for size in lengths]
    return make_interactions([draw.tolist() for draw in draws], 30)


@pytest.fixture(scope="session")
def split(data: Interactions) -> Split:
    return Split(data)
