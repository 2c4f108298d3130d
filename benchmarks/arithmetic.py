"""FLOPs and bytes of one training step, one search step and one inference call, and the time two limits leave for them.

    python benchmarks/arithmetic.py --gflops 470 --gbytes-per-s 30        # as run.py measured them
    python benchmarks/arithmetic.py --gflops 67000 --gbytes-per-s 4800    # H200, float32 without tensor cores, data sheet

FLOPs are those of the products (benchmarks/products.py), at full length. Bytes: what the products read and write, and
for a training step twice the weights, gradients and Adam's moments.
"""

import dataclasses
from dataclasses import dataclass

import tyro
from products import Product, request_products, step_products

from easrec_jax.architecture import full_architecture, sasrec_architecture
from easrec_jax.config import Config
from easrec_jax.models.cost import parameter_count
from easrec_jax.space import space_of


@dataclass(frozen=True)
class Arguments:
    gflops: float
    """Rate of matrix products, GFLOP/s."""
    gbytes_per_s: float
    """Memory bandwidth, GB/s."""
    items: int = 3416
    """Catalogue."""
    rows: int = 16
    """Users of 200 events a batch."""


def command() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    model = Config().model
    sasrec, largest = sasrec_architecture(model), full_architecture(model)
    rows, items = arguments.rows, arguments.items
    one = dataclasses.replace(largest, depth=1)

    def training(arch) -> tuple[float, float]:
        work = step_products(arch, rows, model.max_length, items)
        return total(work)[0], total(work)[1] + 2 * 4 * 4 * parameter_count(arch, items)

    def total(work: list[Product]) -> tuple[float, float]:
        return sum(p.flops for p in work), sum(p.bytes for p in work)

    paper = space_of(Config(model=model))
    space = [
        dataclasses.replace(largest, width=w, inner=d, depth=1) for w, d in zip(paper.widths, paper.inners, strict=True)
    ]
    drawn = [training(arch) for arch in space]
    with_architecture_steps = 1 + 1 / 5  # one after every 5th step
    flops, moved = (sum(each) / len(drawn) * with_architecture_steps for each in zip(*drawn, strict=True))
    rows_of_table = {
        "training step, SASRec 2 x 128": training(sasrec),
        "training step, 1 x 128 recent_linrec, gates": training(one),
        "training step, 4 x 128 recent_linrec, gates": training(largest),
        "search step, one layer drawn (mean of 3 widths), f = 5": (flops, moved),
        "inference call, SASRec 2 x 128": total(request_products(sasrec, rows, model.max_length, items)),
        "inference call, 1 x 128": total(request_products(one, rows, model.max_length, items)),
        "inference call, 4 x 128": total(request_products(largest, rows, model.max_length, items)),
    }
    print(f"| {rows} users x {model.max_length} events | GFLOP | MB | FLOPs a byte | ms by FLOPs | ms by bytes |")
    print("|---|---|---|---|---|---|")
    for name, (flops, moved) in rows_of_table.items():
        times = f"{flops / arguments.gflops / 1e6:.3g} | {moved / arguments.gbytes_per_s / 1e6:.3g}"
        print(f"| {name} | {flops / 1e9:.3g} | {moved / 1e6:.3g} | {flops / moved:.1f} | {times} |")


if __name__ == "__main__":
    command()
