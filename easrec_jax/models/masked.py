"""The supernet of any space: one set of weights, of which every network's are a corner (`models/corner.py`).

Nothing but masks tells networks apart: one program runs them all, whichever is drawn. Its price is that a narrow network
costs what a wide one does; layers beyond the depth, other attentions and other gates cost nothing. Slices for each width, as
`models/supernet.py` has them, would save that and cost a copy of the program for each (docs/design.md).

A choice is a row of `Space.networks`, as a traced int32 vector.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from easrec_jax.architecture import Architecture
from easrec_jax.data.clock import items_of
from easrec_jax.models.corner import corner
from easrec_jax.models.encoder import Events, ScoreFunction
from easrec_jax.models.network import Network, item_table
from easrec_jax.nn.block import convolve, pick_last
from easrec_jax.nn.dense import GATE_SCALE, over_channels
from easrec_jax.nn.dropout import dropout, split_key
from easrec_jax.nn.mixer import default_decay, find_mixer
from easrec_jax.nn.times import gaps_before, read_out, requests
from easrec_jax.precision import in_float32
from easrec_jax.space import FIRST_INNER, Space

Choice = Int[Array, " columns"]


@dataclass(frozen=True)
class Masked:
    """A supernet of corners, told apart by masks (`models.encoder.Supernet`); one network at a time."""

    space: Space
    num_items: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.space.largest.learn_decay:
            raise ValueError("model.learn_decay: expected False where networks share their weights, got True")

    @property
    def mixes(self) -> bool:
        """False."""
        return False

    @in_float32
    def init(self, key: Array) -> dict:
        """Fresh weights: tables, one norm after the embedding, and the layers stacked along axis 0. The key is consumed."""
        return _init(self.space, self.num_items, key)

    def encode(
        self, weights: dict, items: Events, drawn: Choice, *, key: Array | None = None
    ) -> Float[Array, "batch length width"]:
        """The chosen network's hidden states, zero beyond its width; a key switches dropout on and is consumed."""
        return _run(weights, items, drawn, space=self.space, rate=self.dropout, key=key)[0]

    def encode_last(
        self, weights: dict, items: Events, drawn: Choice, *, key: Array | None = None
    ) -> Float[Array, "batch width"]:
        """`encode` at each user's last event."""
        return pick_last(self.encode(weights, items, drawn, key=key), items_of(items) > 0)

    def exits(
        self, weights: dict, items: Events, network: Array, *, key: Array | None = None
    ) -> Float[Array, "layers batch length width"]:
        """Hidden states after each layer of one network, by its row in the space's table, zero beyond its width."""
        choice = jnp.asarray(self.space.networks)[network]
        return _run(weights, items, choice, space=self.space, rate=self.dropout, key=key)[1]

    def cut(self, weights: dict, architecture: Architecture) -> dict:
        """The weights of one architecture of the space, as `Network` wants them.

        Law: it encodes as `encode` with the architecture's choice. Raises `ValueError` if it is not of this space.
        """
        self.space.network(architecture)
        return _cut(weights, architecture)

    def alone(self, weights: dict, network: int) -> tuple[ScoreFunction, tuple[dict, Array]]:
        """A network of the space as it stands in the supernet: one scoring function for all, (weights, choice) for this one."""
        return _scores_of_any(replace(self, dropout=0.0)), (weights, jnp.asarray(self.space.networks[network]))


@lru_cache(maxsize=16)
def _scores_of_any(supernet: Masked) -> ScoreFunction:
    def scores(weights: tuple[dict, Array], items: Events) -> Array:
        return supernet.encode_last(weights[0], items, weights[1]) @ item_table(weights[0]).T

    return scores


class Masks(NamedTuple):
    """What a choice leaves of each axis, 1.0 or 0.0, and the sizes that its formulas need."""

    width: Float[Array, "1 1 width"]
    heads: Float[Array, "1 1 width"]  # channels of queries, keys and values: the first of each head
    shrink: Array  # channels of a head over those of the largest, []


class Chosen(NamedTuple):
    """One network at work on one batch: what its layers share."""

    space: Space
    choice: Choice
    masks: Masks
    embedded: Float[Array, "batch length width"]  # what the gates perceive
    mask: Bool[Array, "batch length"]  # real events
    rate: float  # of dropout


def _init(space: Space, num_items: int, key: Array) -> dict:
    keys = jax.random.split(key)
    gates = [layers for layers in space.gate_layers if layers]
    trees = {layers: _largest(space, num_items, layers, k) for layers, k in zip((2, 1), keys, strict=True)}
    layers = [trees[2][f"blocks_{i}"] for i in range(space.num_layers)]
    for i, layer in enumerate(layers):
        other = trees[1][f"blocks_{i}"]
        for name in ("gate_hidden", "gate_inner"):
            both = {2: layer.pop(name), 1: other[name]}
            layer |= {f"{name}_{n}": both[n] for n in gates}
    return {
        "tables": trees[2]["tables"],
        "embedding_norm": trees[2]["embedding_norm"],
        "layers": jax.tree.map(lambda *same: jnp.stack(same), *layers),
    }


def _largest(space: Space, num_items: int, gate_layers: int, key: Array) -> dict:
    convolved = "recent_linrec" in space.attentions
    largest = dataclasses.replace(
        space.largest, inner=max(space.inners), gate_layers=gate_layers, conv_width=space.conv_width if convolved else 0
    )
    network = Network(largest, num_items)
    return jax.tree.map(jnp.asarray, network.init(key))


def _run(
    weights: dict, items: Events, choice: Choice, *, space: Space, rate: float = 0.0,
    key: Array | None = None,
) -> tuple[Float[Array, "batch length width"], Float[Array, "layers batch length width"]]:  # fmt: skip
    """(hidden states after the last layer, after each layer: beyond the depth the last one's again)."""
    embedding_key, key = split_key(key, 2)
    ids, tables, reads = items_of(items), weights["tables"], space.largest.reads_times
    mask, masks = ids > 0, _masks(choice, space)
    summed = tables["items"][ids] + tables["positions"][None, : ids.shape[1]]
    if reads:
        summed = summed + tables["gaps"][gaps_before(items)]
    summed = jnp.where(mask[..., None], summed, 0.0)
    embedded = dropout(_norm(weights["embedding_norm"]["norm"], summed, masks.width), rate, embedding_key)
    network = Chosen(space, choice, masks, embedded, mask, rate)
    inner = choice[FIRST_INNER:]
    depth = choice[1] + 1

    def layer(x: Array, of: tuple) -> tuple[Array, Array]:
        parameters, number, size, layer_key = of

        def run(x: Array) -> Array:
            kept = (jnp.arange(max(space.inners))[None, None, :] < jnp.array(space.inners)[size]).astype(x.dtype)
            return _block(parameters, x, kept, network, layer_key)

        x = lax.cond(number < depth, run, lambda x: x, x)
        return x, x

    layer_keys = None if key is None else jax.random.split(key, space.num_layers)
    numbers = jnp.arange(space.num_layers)
    last, after = lax.scan(layer, embedded, (weights["layers"], numbers, inner, layer_keys))
    if not reads:
        return last, after

    def asked(x: Array) -> Array:
        return read_out(x, tables["scale"], tables["shift"], requests(items), masks.width)

    return asked(last), jax.vmap(asked)(after)


def _masks(choice: Choice, space: Space) -> Masks:
    largest = space.largest.width
    width, heads = jnp.array(space.widths)[choice[0]], jnp.array(space.heads)[choice[2]]
    channel = jnp.arange(largest)[None, None, :]
    of_head = channel % (largest // heads) < width // heads
    return Masks((channel < width).astype(jnp.float32), of_head.astype(jnp.float32), width / largest)


def _block(weights: dict, x: Array, inner: Array, network: Chosen, key: Array | None) -> Array:
    """`nn.block.Block` of the chosen network; `inner` is the mask of the layer's inner channels."""
    masks, rate = network.masks, network.rate
    key_attention, key_output = split_key(key, 2)
    convolved = x
    if "taps" in weights:
        recent = network.choice[4] == network.space.attentions.index("recent_linrec")
        convolved = lax.cond(recent, lambda x: convolve(weights["taps"], x), lambda x: x, x)
    q, k, v = (_dense(weights[name], convolved) * masks.heads for name in ("query", "key", "value"))
    mixed = _dense(weights["merge"], _attend(q, k, v, network)) * masks.width
    state = _norm(weights["attention_norm"], x + dropout(mixed, rate, key_attention), masks.width)
    hidden = _gate(weights, "gate_hidden", network) * state
    hidden = jax.nn.gelu(_dense(weights["expand"], hidden), approximate=False) * inner
    hidden = _gate(weights, "gate_inner", network) * hidden
    contracted = _dense(weights["contract"], hidden) * masks.width
    return _norm(weights["output_norm"], state + dropout(contracted, rate, key_output), masks.width)


def _attend(q: Array, k: Array, v: Array, network: Chosen) -> Float[Array, "batch length width"]:
    """The chosen attention with the chosen heads; `1 / sqrt(d_h)` is that of the channels that are left."""
    space, choice, scale = network.space, network.choice, lax.rsqrt(network.masks.shrink)

    def branch(heads: int, name: str) -> Any:
        mixer = find_mixer(name)

        def run(q: Array, k: Array, v: Array) -> Array:
            q = q * scale if mixer.scales == "scores" else q
            queries, keys, values = (a.reshape(*a.shape[:-1], heads, -1) for a in (q, k, v))
            out = mixer.sequence(queries, keys, values, network.mask, default_decay(heads)).reshape(q.shape)
            return out * scale if mixer.scales == "output" else out

        return run

    branches = [branch(heads, name) for heads in space.heads for name in space.attentions]
    return lax.switch(choice[2] * len(space.attentions) + choice[4], branches, q, k, v)


def _gate(weights: dict, name: str, network: Chosen) -> Array:
    """The gate with the chosen number of layers; 1 without."""
    space, masks, embedded = network.space, network.masks, network.embedded

    def branch(layers: int, out: tuple) -> Any:
        def run(x: Array) -> Array:
            if layers == 0:
                return jnp.ones(out)
            gate = weights[f"{name}_{layers}"]
            x = jax.nn.relu(_dense(gate["middle"], x)) * masks.width if layers == 2 else x
            return GATE_SCALE * jax.nn.sigmoid(_dense(gate["out"], x))

        return run

    out = (*embedded.shape[:2], space.largest.width if name == "gate_hidden" else max(space.inners))
    return lax.switch(network.choice[3], [branch(layers, out) for layers in space.gate_layers], embedded)


def _dense(weights: dict, x: Array) -> Array:
    return (x.reshape(-1, x.shape[-1]) @ weights["kernel"] + weights["bias"][None, :]).reshape(*x.shape[:-1], -1)


def _norm(weights: dict, x: Array, kept: Array) -> Array:
    """Layer norm over the channels that are kept; the others are zero."""
    share = 1.0 / jnp.sum(kept)
    centred = (x - jnp.sum(x * kept, -1, keepdims=True) * share) * kept
    inverse = lax.rsqrt(jnp.sum(centred * centred, -1, keepdims=True) * share + 1e-6)
    return (centred * inverse * over_channels(weights["scale"], x) + over_channels(weights["bias"], x)) * kept


def _cut(weights: dict, architecture: Architecture) -> dict:
    """The chosen form of every layer, and of that the corner."""
    larger = {"tables": weights["tables"], "embedding_norm": weights["embedding_norm"]}
    for i in range(architecture.depth):
        layer = jax.tree.map(lambda a, i=i: a[i], weights["layers"])
        gates = {name: layer.pop(name) for name in list(layer) if name.startswith("gate")}
        if architecture.gate_layers:
            layer |= {name: gates[f"{name}_{architecture.gate_layers}"] for name in ("gate_hidden", "gate_inner")}
        if not architecture.conv_width:
            layer.pop("taps", None)
        larger[f"blocks_{i}"] = layer
    return corner(larger, architecture)
