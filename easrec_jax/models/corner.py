"""Smaller networks cut out of a larger one: each of their matrices is a corner of its (slimmable networks; Once-for-all, ICLR 2020).

Channels are kept from the first on, of queries, keys and values the first of each head. Static slices alone, so a cut can be
taken inside a gradient, costs what the small network costs, and works on arrays of NumPy and of JAX alike.
"""

from __future__ import annotations

from typing import Any

from easrec_jax.architecture import Architecture

SAME = (
    "heads",
    "max_length",
    "attention",
    "gate_layers",
    "conv_width",
    "learn_decay",
    "times",
)  # what a corner shares with the whole


def corner(weights: dict, architecture: Architecture) -> dict:
    """The weights of `architecture`, as `Network` wants them, out of those of a network that is nowhere smaller.

    Attention, gates and heads are the architecture's, the larger network must have them too: kernels know no heads, so it may
    have been drawn with another number.
    """
    width = architecture.width
    small: dict[str, Any] = {
        "tables": {name: table[:, :width] for name, table in weights["tables"].items()},
        "embedding_norm": {"norm": _vectors(weights["embedding_norm"]["norm"], width)},
    }
    for layer, inner in enumerate(architecture.inner_sizes):
        small[f"blocks_{layer}"] = _block(weights[f"blocks_{layer}"], width, inner, architecture.heads)
    return small


def is_corner(small: Architecture, large: Architecture) -> bool:
    """Whether `corner` can cut one network out of the other: nowhere larger, and else the same."""
    layers = zip(small.inner_sizes, large.inner_sizes, strict=False)
    fits = small.width <= large.width and small.depth <= large.depth and all(mine <= whole for mine, whole in layers)
    return fits and all(getattr(small, name) == getattr(large, name) for name in SAME)


def _block(block: dict, width: int, inner: int, heads: int) -> dict:
    """One layer: what it holds is known by its name."""
    small = {}
    for name, part in block.items():
        if name in ("query", "key", "value"):
            kernel = _of_heads(part["kernel"][:width], heads, width)
            small[name] = {"kernel": kernel, "bias": _of_heads(part["bias"], heads, width)}
        elif name == "merge":
            kernel = part["kernel"][:, :width]
            rows = kernel.reshape(heads, -1, width)[:, : width // heads].reshape(width, width)
            small[name] = {"kernel": rows, "bias": part["bias"][:width]}
        elif name == "expand":
            small[name] = _dense(part, width, inner)
        elif name == "contract":
            small[name] = _dense(part, inner, width)
        elif name in ("gate_hidden", "gate_inner"):
            out = width if name == "gate_hidden" else inner
            small[name] = {key: _dense(gate, width, width if key == "middle" else out) for key, gate in part.items()}
        elif name == "taps":
            small[name] = part[:, :width]
        elif name == "decay_logits":
            small[name] = part
        else:
            small[name] = _vectors(part, width)
    return small


def _dense(dense: dict, rows: int, columns: int) -> dict:
    return {"kernel": dense["kernel"][:rows, :columns], "bias": dense["bias"][:columns]}


def _vectors(norm: dict, width: int) -> dict:
    return {name: vector[:width] for name, vector in norm.items()}


def _of_heads(array: Any, heads: int, width: int) -> Any:
    """The first channels of each head, along the last axis."""
    lead = array.shape[:-1]
    return array.reshape(*lead, heads, -1)[..., : width // heads].reshape(*lead, width)
