"""The laws of several devices, measured on eight virtual ones of a CPU: a process of its own, which prints them as JSON.

`test_mesh.py` starts it and says what each figure must be.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from easrec_jax.architecture import Architecture
from easrec_jax.config import Config, ModelConfig, SearchConfig
from easrec_jax.data.batches import Batch
from easrec_jax.data.interactions import IdMap
from easrec_jax.evaluate.counting import count_by_shards, count_full, count_sampled
from easrec_jax.evaluate.protocols import parse_protocol
from easrec_jax.models.cost import cost_table
from easrec_jax.models.network import Network
from easrec_jax.nas.distribution import Table
from easrec_jax.nas.search import supernet_of
from easrec_jax.nas.steps import architecture_step, init_search, make_searcher, weight_step
from easrec_jax.nas.strategies.known import find_strategy
from easrec_jax.nn.best import best_items, top_rows
from easrec_jax.parallel.layout import Layout, is_table, make_mesh, map_tables
from easrec_jax.parallel.tables import spread
from easrec_jax.serving.artifact import Model
from easrec_jax.serving.batch import _identity
from easrec_jax.serving.on_mesh import MeshRecommender
from easrec_jax.serving.recommend import Recommender
from easrec_jax.space import space_of
from easrec_jax.train.checkpoint import Checkpoints
from easrec_jax.train.rows import Sampler, sampled_step
from easrec_jax.train.step import TrainState, optimizer, train_step

MESHES = ((8, 1), (1, 8), (2, 4))
ITEMS, LENGTH, USERS, STEPS = 1008, 12, 13, 20  # rows of the table: 1009, a prime; users: no multiple of any mesh
SIZES = {"depth": 1, "heads": 2, "attention": "causal_linrec", "gate_layers": 0}
SMALL = Network(Architecture(width=8, inner=12, max_length=LENGTH, **SIZES), ITEMS, 0.2)
TX = optimizer(1e-3, "constant", 5, 1000, 0.0)
KEY = jax.random.key(1)


def histories(rng: np.random.Generator, users: int = USERS) -> np.ndarray:
    """int32 [users length], left-aligned, of random lengths."""
    real = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, users)[:, None]
    return np.where(real, rng.integers(1, ITEMS + 1, (users, LENGTH)), 0).astype(np.int32)


def batches(count: int) -> list[Batch]:
    """Random ones; where there is an event there is a target."""
    rng = np.random.default_rng(0)
    inputs = [histories(rng) for _ in range(count)]
    return [Batch(x, np.where(x > 0, rng.permutation(x.ravel()).reshape(x.shape) % ITEMS + 1, 0)) for x in inputs]


def sampler(rows: int) -> Sampler:
    """Of a pool of random items."""
    pool = np.random.default_rng(1).integers(1, rows, 500).astype(np.int32)
    return Sampler(jnp.asarray(pool), jnp.asarray(np.bincount(pool, minlength=rows), jnp.int32))


def step_of(kind: str, network: Network, layout: Layout | None, negatives: int, drawn: Any) -> Any:
    """(the jitted step, what it takes after the key, its static arguments)."""
    static = {"encoder": network, "tx": TX, "layout": layout}
    if kind == "full":
        return train_step, (None,), static
    return sampled_step, (drawn,), static | {"negatives": negatives}


def far(ours: Any, theirs: Any) -> float:
    """The largest difference of two trees."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


def train(kind: str, layout: Layout | None, weights: dict) -> tuple[np.ndarray, TrainState, str]:
    """(losses of 20 steps, the state after them, the compiled program's text)."""
    if layout is None:
        weights = jax.tree.map(jnp.array, weights)
        state = TrainState(jnp.int32(0), weights, TX.init(weights))
    else:
        weights = layout.place(weights)
        state = TrainState(layout.place(np.int32(0)), weights, layout.init(TX.init, weights))
    step, more, static = step_of(kind, SMALL, layout, 32, sampler(ITEMS + 1))
    losses, program = [], None
    for batch in batches(STEPS):
        batch = Batch(*map(jnp.asarray, batch)) if layout is None else layout.put(batch)
        program = program or step.lower(state, batch, KEY, *more, **static).compile()
        state, figures = program(state, batch, KEY, *more)
        losses.append(figures["loss"])
    assert program is not None
    return np.array(jax.device_get(losses)), state, program.as_text()


COLLECTIVE = re.compile(r"= (.*?) (?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")


def carried(text: str) -> list[int]:
    """First sizes of all arrays that the collectives of a program carry."""
    found = [shape for result in COLLECTIVE.findall(text) for shape in re.findall(r"\[(\d+)", result)]
    return sorted(set(map(int, found)))


def law_steps() -> dict:
    """Every mesh trains as one device does."""
    weights, found = SMALL.init(jax.random.key(0)), {}
    for kind in ("full", "sampled"):
        losses, one, _ = train(kind, None, weights)
        for data, items in MESHES:
            layout = Layout(make_mesh(data, items), ITEMS)
            ours, state, text = train(kind, layout, weights)
            tables = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state) if is_table(path)]
            found[f"{kind} {data}x{items}"] = {
                "loss": float(np.max(np.abs(ours - losses) / losses)),
                "weights": far(layout.unplace(state.weights), one.weights),
                "filling": max(float(np.abs(np.asarray(table)[ITEMS + 1 :]).max(initial=0.0)) for table in tables),
                "tables": len(tables),
                "shards": sorted({shard.data.shape[0] for t in tables for shard in t.addressable_shards}),
                "rows": layout.rows,
                "carried": carried(text),
            }
    return found


def law_sizes() -> dict:
    """FLOPs and bytes a device, of programs compiled for 10^6 items and batches of 256 x 50."""
    items, rows, length = 10**6, 256, 50
    network = Network(Architecture(width=64, inner=128, max_length=length, **SIZES), items, 0.2)
    shapes, found = jax.eval_shape(network.init, KEY), {}
    for kind in ("full", "sampled"):
        for data, shards in ((1, 1), (8, 1), (1, 8)):
            layout = Layout(make_mesh(data, shards), items)
            one = map_tables(lambda t, rows=layout.rows: jax.ShapeDtypeStruct((rows, t.shape[1]), t.dtype), shapes)
            state = TrainState(jax.ShapeDtypeStruct((), jnp.int32), one, jax.eval_shape(TX.init, one))
            state = jax.tree.map(shaped, state, layout.shardings(state))
            ids = shaped(jax.ShapeDtypeStruct((rows, length), jnp.int32), layout.put(np.zeros(8)).sharding)
            drawn = Sampler(jax.ShapeDtypeStruct((9,), jnp.int32), jax.ShapeDtypeStruct((items + 1,), jnp.int32))
            step, more, static = step_of(kind, network, layout, 1024, drawn)
            program = step.lower(state, Batch(ids, ids), KEY, *more, **static).compile()
            memory = program.memory_analysis()
            found[f"{kind} {data}x{shards}"] = {
                "flops": program.cost_analysis()["flops"],
                "bytes": memory.argument_size_in_bytes + memory.temp_size_in_bytes,
                "state": sum(x.size * 4 for x in jax.tree.leaves(state)) / (1 if shards == 1 else shards),
                "aliased": memory.alias_size_in_bytes,
            }
    return found


def shaped(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    """Only the shape of it, laid so."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def tied_weights() -> dict:
    """Small whole numbers, so that scores are exact and equal ones many; rows of several shards are the same."""
    rng = np.random.default_rng(3)
    table = rng.integers(-2, 3, (ITEMS + 1, 8)).astype(np.float32)
    table[0] = 0.0
    table[[500, 900, 1008]] = table[37]
    return {"tables": {"items": table}}


def scores(weights: Any, items: Any) -> Any:
    """A network that sums up the last two events."""
    table = weights["tables"]["items"]
    return (table[items[:, 0]] + table[items[:, 1]]) @ table.T


def law_counts() -> dict:
    """Ranks by shards are those of one device, in every protocol, of several targets a user too."""
    rng, weights = np.random.default_rng(4), tied_weights()
    items = histories(rng)
    names = ("full", "full_unseen", "full_unseen_window", "full_seen_zero")
    protocols = tuple(parse_protocol(name) for name in names)
    targets = np.where(np.arange(3) < rng.integers(1, 4, (USERS, 1)), rng.integers(1, ITEMS + 1, (USERS, 3)), 0)
    targets = targets.astype(np.int32)
    negatives = rng.integers(0, ITEMS + 1, (USERS, 20)).astype(np.int32)
    seen = np.zeros((2, 64), np.int32)
    seen[:, :50] = rng.integers(0, USERS, 50), rng.integers(1, ITEMS + 1, 50)
    one = jax.tree.map(jnp.asarray, weights)
    values, expected = count_full(one, items, targets, *seen, scores=scores, protocols=protocols)
    expected["sampled"] = count_sampled(values, targets, negatives)
    found = {}
    for data, shards in ((8, 1), (1, 8), (2, 4)):
        layout = Layout(make_mesh(data, shards), ITEMS)
        cut = layout.put((items, targets))
        counts = count_by_shards(
            layout.place(weights), *cut, tuple(seen), layout.put({"sampled": negatives}), scores=scores,
            protocols=protocols, layout=layout,
        )  # fmt: skip
        real = targets > 0
        for name, (above, equal) in counts.items():
            ours, theirs = (np.stack(counts)[:, :USERS][:, real] for counts in ((above, equal), expected[name]))
            found[f"{name} {data}x{shards}"] = bool(np.array_equal(ours, theirs))
    ties = sum(int(np.asarray(count.equal).sum()) for count in expected.values())
    return {"same": found, "ties": ties}


def law_top() -> dict:
    """The best rows by shards are those of one device, in the same order, ties across shards among them."""
    rng, table = np.random.default_rng(5), tied_weights()["tables"]["items"]
    states = np.concatenate([rng.integers(-2, 3, (15, 8)).astype(np.float32), table[37:38]])
    seen = rng.integers(0, ITEMS + 1, (16, 9)).astype(np.int32)
    offsets = np.zeros(ITEMS + 1, np.float32)
    offsets[rng.integers(1, ITEMS + 1, 100)] = -np.inf
    offsets[[37, 500, 900, 1008]] = 0.0
    expected = best_items(jnp.asarray(states), jnp.asarray(table), jnp.asarray(offsets).at[0].set(-jnp.inf), seen, 200)
    found = {}
    for data, shards in ((8, 1), (1, 8), (2, 4)):
        layout = Layout(make_mesh(data, shards), ITEMS)
        placed = layout.place({"tables": {"items": table}})
        filled = placed["tables"]["items"].at[ITEMS + 1 :].set(9.0)  # what fills up is no item, whatever it holds

        @partial(jax.jit, static_argnames="layout")
        def top(rows, states, seen, layout):
            whole = spread({"tables": {"items": rows}}, layout)["tables"]["items"]
            return top_rows(states, whole, jnp.asarray(offsets), seen, 200)

        got = top(filled, *layout.put((states, seen)), layout=layout)
        found[f"{data}x{shards}"] = [
            bool(np.array_equal(got[1], expected[1])), float(np.nanmax(np.abs(np.asarray(got[0]) - np.asarray(expected[0])))),
        ]  # fmt: skip
    together = [37, 500, 900, 1008]
    last = np.asarray(expected[1])[-1].tolist()
    return {"found": found, "tied": [item for item in last if item in together] == together}


SPACES = {
    "easrec": SearchConfig(prune=(0.0, 0.5)),
    "sandwich": SearchConfig(prune=(0.0, 0.5), inner_prune=(0.0, 0.5), strategy="untrained", training="sandwich"),
}


def law_search() -> dict:
    """A weight step and an architecture step, if there is one, of each kind of supernet."""
    model = ModelConfig(
        width=8, inner=8, layers=1, heads=2, max_length=LENGTH, attention="causal_linrec", gate_layers=0, dropout=0.2
    )
    found = {}
    for name, settings in SPACES.items():
        space = space_of(Config(model=model, search=settings))
        supernet = supernet_of(space, ITEMS, model.dropout, settings.sharing)
        table, losses, states = Table.of(space, cost_table(space, ITEMS, "flops"), None), [], []
        for layout in (None, Layout(make_mesh(2, 4), ITEMS)):
            searcher = make_searcher(supernet, settings, find_strategy(settings.strategy), (0, 10), layout=layout)
            state, batch = init_search(searcher, jax.random.key(0)), batches(1)[0]
            before = jax.tree.map(np.array, state.weights)
            if layout is not None:
                state, batch = layout.place(state), layout.put(batch)
            state, figures = weight_step(state, batch, KEY, table, searcher=searcher)
            losses.append(float(figures["loss"]))
            if searcher.strategy.learn is not None:
                state, figures = architecture_step(state, batch, KEY, table, searcher=searcher)
                losses.append(float(figures["architecture_loss"]))
            states.append(state if layout is None else layout.unplace(state))
        one, ours = states
        half = np.reshape(losses, (2, -1))
        found[name] = {
            "loss": float(np.max(np.abs(half[1] - half[0]) / half[0])), "weights": far(one.weights, ours.weights),
            "arch": far(one.arch, ours.arch), "moved": far(before, ours.weights),
        }  # fmt: skip
    return found


def law_checkpoints() -> dict:
    """Saved on eight devices, read on four, on one and without a layout, and back: the same bits, filled up as each needs."""
    weights = SMALL.init(jax.random.key(0))
    rng, found = np.random.default_rng(6), {}
    weights["tables"]["items"] = rng.normal(size=(ITEMS + 1, 8)).astype(np.float32)
    state = {"weights": jax.tree.map(np.asarray, weights), "opt": TX.init(weights), "step": np.int64(3)}
    state = jax.tree.map(np.asarray, state)
    places = {"1x8": (1, 8), "4": (1, 4), "2x4": (2, 4), "1x1": (1, 1), "none": None}
    with TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder)
        for number, (name, shape) in enumerate(places.items()):
            layout = None if shape is None else Layout(make_mesh(*shape), ITEMS)
            like = jax.tree.map(np.zeros_like, state)
            like = like if layout is None else layout.place(like) | {"step": like["step"]}
            like = checkpoints.restore(like) if number else layout.place(state) | {"step": state["step"]}
            whole = like if layout is None else layout.unplace(like)
            same = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(state), strict=True)]
            table = like["weights"]["tables"]["items"]
            found[name] = {"same": all(same), "rows": len(table), "step": int(like["step"])}
            found[name]["places"] = 0 if layout is None else len(table.sharding.device_set)
            checkpoints.save(number + 1, like)
        found["back"] = bool(
            np.array_equal(checkpoints.restore(state)["weights"]["tables"]["items"], weights["tables"]["items"])
        )
        try:
            layout = Layout(make_mesh(1, 8), ITEMS)
            wide = jax.tree.map(lambda x: np.zeros((*x.shape[:-1], x.shape[-1] + 1)) if x.ndim else x, state)
            checkpoints.restore(layout.place(wide))
            found["refused"] = ""
        except ValueError as error:
            found["refused"] = str(error)
    return found


def law_bulk() -> dict:
    """Lists for many users, raw ids in and out, are those of one device."""
    rng, found = np.random.default_rng(7), {}
    ids = IdMap(tuple(f"i{k}" for k in range(1, ITEMS + 1)))
    weights = jax.tree.map(np.array, SMALL.init(jax.random.key(0)))
    weights["tables"]["items"][1:] = rng.normal(size=(ITEMS, 8))
    model = Model(SMALL.architecture, weights, ids, np.arange(ITEMS + 1), {})
    users = [[f"i{k}" for k in rng.integers(1, ITEMS + 1, n)] for n in (1, 3, 30, 12, 7)] + [[]]
    whole, allowed = Recommender(model), ids.raw[:300]
    ours = MeshRecommender(model, Layout(make_mesh(2, 4), ITEMS))

    def names(answers: list) -> list:
        return [[item for item, _ in answer] for answer in answers]

    for name, options in {"plain": {}, "seen": {"exclude_seen": False}, "allow": {"allow": allowed}}.items():
        with warnings.catch_warnings(action="ignore"):
            theirs, mine = (one.recommend(users, 20, **options) for one in (whole, ours))
        found[name] = names(theirs) == names(mine)
    found["embed"] = bool(np.allclose(whole.embed(users), ours.embed(users), atol=1e-5))
    found["identity"] = _identity(whole) == _identity(ours)
    try:
        ours.start(users)
    except ValueError as error:
        found["refused"] = str(error).startswith("a stream: expected a model on one device")
    return found


LAWS = {name.removeprefix("law_"): law for name, law in list(globals().items()) if name.startswith("law_")}

if __name__ == "__main__":
    for name in sys.argv[1:] or LAWS:
        print(json.dumps({name: LAWS[name]()}), flush=True)
