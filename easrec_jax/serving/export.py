"""One file that answers anywhere JAX runs, without this library: `jax.export`, weights inside, batch size symbolic.

The reader needs JAX, NumPy and flatbuffers (`pip install jax flatbuffers`), nothing else. The function knows items by
number; beside model.jax lies model.items.json, a list with the raw id of item n at place n (null at 0, padding).
"""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from easrec_jax.data.interactions import IdMap
from easrec_jax.files import write_bytes, write_text
from easrec_jax.models.kinds import Served
from easrec_jax.serving.programs import programs

PLATFORMS = ("cpu", "cuda", "tpu")


def export_file(network: Served, weights: dict, item_ids: IdMap, path: Path, *, k: int, exclude_seen: bool) -> None:
    """Write the function items [batch N] -> (scores, items), [batch k] each, best first; and the raw ids beside it.

    Items are numbers (places in the list of raw ids), int32, oldest first; what is no item's is padding and may stand
    anywhere. To call it: `jax.export.deserialize(bytearray(open(path, "rb").read())).call(items)`. Raises `ImportError`
    without flatbuffers (extra `export`).
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise ImportError('export needs flatbuffers: pip install "easrec_jax[export]"') from None
    from jax import export

    if network.architecture.reads_times:
        raise ValueError("export: expected a model that reads no times: the file would know none")
    if not 1 <= k <= network.num_items:
        raise ValueError(f"k: expected 1 to {network.num_items} (the number of items), got {k}")
    weights = jax.tree.map(np.asarray, weights)

    def answer(items: jax.Array) -> tuple[jax.Array, jax.Array]:
        is_item = (items > 0) & (items <= network.num_items)
        items = jnp.take_along_axis(jnp.where(is_item, items, 0), jnp.argsort(~is_item, axis=1, stable=True), axis=1)
        seen = items if exclude_seen else jnp.zeros_like(items[:, :1])
        return programs(network).top(weights, items, seen, jnp.zeros(network.num_items + 1), k=k)

    (batch,) = export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, network.architecture.max_length), jnp.int32)
    function = bytes(export.export(jax.jit(answer), platforms=PLATFORMS)(shape).serialize())
    path.unlink(missing_ok=True)  # at no moment do the ids of one model lie beside the function of another
    write_text(path.with_suffix(".items.json"), json.dumps([None, *item_ids.raw]))
    write_bytes(path, function)
