"""A model whose item table lies on several devices: lists for many users, of catalogues or at a pace beyond one device.

Whole histories only: streams, `similar` and sizes of an elastic model are one device's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from easrec_jax.data.batches import bucket_lengths
from easrec_jax.models.kinds import Served
from easrec_jax.models.network import item_table
from easrec_jax.nn.best import top_rows
from easrec_jax.parallel.layout import Layout, make_mesh
from easrec_jax.parallel.tables import spread
from easrec_jax.precision import methods_in_float32
from easrec_jax.serving.artifact import Model, load_model
from easrec_jax.serving.one import OneNetwork
from easrec_jax.serving.programs import Programs
from easrec_jax.serving.recommend import Recommender


def load_on_mesh(folder: str | Path, data: int, items: int) -> MeshRecommender:
    """Read a model folder onto `data * items` devices; errors name the file, or how many devices there are."""
    model = load_model(folder)
    return MeshRecommender(model, Layout(make_mesh(data, items), len(model.item_ids)))


@methods_in_float32
class MeshRecommender(Recommender):
    """A `Recommender` on several devices: `recommend`, `recommend_users`, `top_items`, `embed`, `score`, and bulk runs."""

    def __init__(self, model: Model, layout: Layout) -> None:
        """The model's weights are whole."""
        if model.architecture.reads_times:
            _refused("a model that reads times")
        self.layout = layout
        super().__init__(model)

    def _one(self, weights: dict) -> OneNetwork:
        return NetworkOnMesh(self.network, weights, self.layout)

    @property
    def weights(self) -> dict:
        """The parameters, whole, of NumPy."""
        return self.layout.unplace(self.one.weights)

    def with_budget(self, budget: Any) -> Recommender:
        """Itself without a budget; `ValueError` with one."""
        return self if budget is None else _refused("a budget")

    def per_user(self) -> Recommender:
        """`ValueError`."""
        _refused("a size for each user")

    def __reduce__(self) -> tuple:
        _refused("pickle")


@methods_in_float32
class NetworkOnMesh(OneNetwork):
    """`OneNetwork` of placed weights, which takes its batches over all devices."""

    def __init__(self, network: Served, weights: dict, layout: Layout) -> None:
        self.network, self.layout, self._weights = network, layout, layout.place(weights)
        self.programs, self.num_items = programs_on(network, layout), network.num_items
        self.lengths = bucket_lengths(network.architecture.max_length)
        self.no_offsets = layout.place(np.zeros(self.num_items + 1, np.float32))

    def put(self, arrays: Any) -> Any:
        """Cut over all devices."""
        return self.layout.put(arrays)

    def start(self, histories: Any) -> NoReturn:
        """`ValueError`."""
        _refused("a stream")

    def load(self, path: Path, fingerprint: str) -> NoReturn:
        """`ValueError`."""
        _refused("a stream")


@lru_cache(maxsize=16)
def programs_on(network: Served, layout: Layout) -> Programs:
    """`programs` of placed weights and batches; there is no `nearest`."""

    def hidden(weights: dict, items: Array) -> Array:
        return network.encode_last(spread(weights, layout), items)

    def top_of_hidden(weights: dict, states: Array, seen: Array, offsets: Array, k: int) -> tuple[Array, Array]:
        return top_rows(states, item_table(spread(weights, layout)), jnp.asarray(offsets), seen, k)

    def top(weights: dict, items: Array, seen: Array, offsets: Array, k: int) -> tuple[Array, Array]:
        return top_of_hidden(weights, hidden(weights, items), seen, offsets, k)

    def vectors(weights: dict, items: Array) -> Array:
        return item_table(spread(weights, layout))[items]

    nearest: Callable = lambda *_, **__: _refused("similar")  # noqa: E731
    jit = partial(jax.jit, static_argnames="k")
    read_out: Callable = lambda *_: _refused("a stream")  # noqa: E731
    return Programs(jax.jit(hidden), jit(top), jit(top_of_hidden), nearest, jax.jit(vectors), read_out)


def _refused(what: str) -> NoReturn:
    raise ValueError(f"{what}: expected a model on one device, got one on several (Recommender.load, no --mesh.*)")
