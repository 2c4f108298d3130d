"""The limit of a training step and of an inference call: their matrix products alone, each measured at its own shape."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from subject import median_seconds


class Product(NamedTuple):
    """`count` times `batch` products [m k] x [k n]; transposed: the left side is stored as [k m], as for kernels' gradients."""

    count: float  # pyright: ignore[reportIncompatibleMethodOverride]
    batch: int
    m: int
    k: int
    n: int
    transposed: bool = False

    @property
    def flops(self) -> float:
        return 2.0 * self.count * self.batch * self.m * self.k * self.n

    @property
    def bytes(self) -> float:
        """Both sides read and the result written once, float32."""
        return 4.0 * self.count * self.batch * (self.m * self.k + self.k * self.n + self.m * self.n)

    @property
    def seconds(self) -> float:
        return self.count * _seconds(*self[1:])


@cache
def _seconds(batch: int, m: int, k: int, n: int, transposed: bool) -> float:
    """Median time of `batch` products on data that are there already."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return jnp.asarray(rng.standard_normal(shape if batch > 1 else shape[1:], dtype=np.float32))

    a, b = draw(batch, k, m) if transposed else draw(batch, m, k), draw(batch, k, n)
    multiply = jax.jit(lambda a, b: (a.mT if transposed else a) @ b)
    return median_seconds(lambda: multiply(a, b), repeats=9)


def layer_products(arch: Any, rows: int, length: int, layer: int) -> list[Product]:
    """Layer `layer` at all positions of a batch [rows length], forward."""
    from easrec_jax.nn.linear_attention import CHUNK

    d, inner, heads, tokens = arch.width, arch.inner_sizes[layer], arch.heads, rows * length
    products = [Product(4, 1, tokens, d, d), Product(1, 1, tokens, d, inner), Product(1, 1, tokens, inner, d)]
    if arch.gate_layers:
        products += [Product(1, 1, tokens, d, d), Product(1, 1, tokens, d, inner)]
        products += [Product(2 * (arch.gate_layers - 1), 1, tokens, d, d)]
    channels = d // heads
    if arch.attention == "softmax":
        each = rows * heads
        return [*products, Product(1, each, length, channels, length), Product(1, each, length, length, channels)]
    count = -(-length // CHUNK)
    size, each = -(-length // count), rows * heads * count
    within = [Product(1, each, size, channels, size), Product(1, each, size, size, channels)]
    between = [Product(2, each, size, channels, channels)]
    return [*products, *within, *between, Product(1, heads, size, size, rows * count * channels)]  # the last: norms


def step_products(arch: Any, rows: int, length: int, num_items: int) -> list[Product]:
    """A training step with a target at every position: each product of the forward pass, and the gradients of its two sides."""
    from easrec_jax.nn.losses import CHUNK

    tokens = rows * length
    chunk = min(CHUNK, tokens)
    forward = [p for layer in range(arch.depth) for p in layer_products(arch, rows, length, layer)]
    forward.append(Product(tokens / chunk, 1, chunk, arch.width, num_items))
    both = []
    for product in forward:
        count, batch, m, k, n, _ = product
        both += [product, Product(count, batch, m, n, k), Product(count, batch, k, m, n, batch == 1)]
    return both


def request_products(arch: Any, rows: int, length: int, num_items: int) -> list[Product]:
    """An inference call: the last layer at the last position alone, all items scored."""
    d, tokens, heads = arch.width, rows * length, arch.heads
    last = [Product(1, 1, tokens, d, d), Product(1, rows, heads, length, d), Product(1, rows, heads, d, length)]
    if arch.attention != "softmax":
        last.append(Product(1, rows, heads, length, d))  # norms
    users = [Product(3, 1, rows, d, d), Product(2, 1, rows, d, arch.inner_sizes[-1]), Product(1, 1, rows, d, num_items)]
    before = [p for layer in range(arch.depth - 1) for p in layer_products(arch, rows, length, layer)]
    return before + last + users
