"""What a log and a catalogue of any size ask of a cluster: memory, FLOPs, bytes, traffic, and what dominates. Arithmetic, nothing is run.

    python benchmarks/scale_plan.py --users 1e9 --items 1e8 --devices 64

Counted as the library does it: the sampled loss with rows fetched where they lie (docs/scale.md), Adam with two moments a number,
float32. Rates are those of one H100 at a share of its data sheet that is usual for such sizes; give your own.
"""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from easrec_jax.architecture import Architecture
from easrec_jax.models.cost import parameter_count, token_flops

FLOAT = 4  # bytes
EVENT_READS = 6  # rows of the table an event reads or writes: input and target, each with two moments


@dataclass(frozen=True)
class Arguments:
    users: float = 1e9
    """Users in the log."""
    events: float = 100
    """Events a user."""
    items: float = 1e8
    """Catalogue."""
    devices: int = 64
    """Accelerators."""
    width: int = 64
    """Of the network: one layer of recent linrec with gates."""
    length: int = 50
    """Events that it reads."""
    negatives: int = 1024
    """Of the sampled loss, shared by a device's batch."""
    batch: int = 1280
    """Sequences a device and step."""
    gflops: float = 20_000
    """Matrix products of a device, GFLOP/s (float32: a third of an H100's)."""
    full_gflops: float = 400_000
    """The same for the full softmax (bfloat16: 40 % of an H100's)."""
    memory_gb: float = 80
    """Of a device."""
    bandwidth_gb: float = 1_700
    """Of its memory, GB/s (half of an H100's)."""
    network_gb: float = 50
    """Between devices, GB/s each way (400 Gb/s)."""
    read_events: float = 8e5
    """Events that a CPU core prepares a second (docs/scale.md)."""


def plan(a: Arguments) -> dict[str, float]:
    """All figures: bytes, FLOPs, seconds of an epoch on all devices, by name."""
    network = Architecture(
        width=a.width, inner=2 * a.width, depth=1, heads=max(a.width // 32, 1), max_length=a.length,
        attention="recent_linrec", gate_layers=2, conv_width=4,
    )  # fmt: skip
    events, step_events = a.users * a.events, a.batch * a.length
    dense = parameter_count(network, 0)
    table = FLOAT * (a.items + 1) * a.width
    state = 3 * (table + FLOAT * dense)
    an_event = 3 * (token_flops(network, a.length) + 2 * a.negatives * a.width)
    sampled, full = events * an_event, events * 3 * (token_flops(network, a.length) + 2 * a.items * a.width)
    traffic = events * (EVENT_READS * FLOAT * a.width + 60 * FLOAT * a.width)  # rows, and activations of the layer
    rows = 2 * FLOAT * a.width * (2 * step_events + a.negatives)  # of a device's step: there and back
    steps = events / (step_events * a.devices)
    shards = min(n for n in (2**k for k in range(40)) if state / n + 8e9 <= a.memory_gb * 1e9)
    return {
        "table": table, "state": state, "shards": shards, "dense": FLOAT * dense, "log": FLOAT * events,
        "flops an event": an_event, "flops": sampled, "full flops": full, "steps": steps,
        "compute": sampled / (a.gflops * 1e9 * a.devices), "memory": traffic / (a.bandwidth_gb * 1e9 * a.devices),
        "rows by sums": steps * rows * shards / (a.network_gb * 1e9) if shards > 1 else 0.0,
        "rows by all-to-all": steps * rows / (a.network_gb * 1e9) if shards > 1 else 0.0,
        "full": full / (a.full_gflops * 1e9 * a.devices), "prepare": events / a.read_events,
    }  # fmt: skip


def advice(a: Arguments, p: dict[str, float]) -> list[str]:
    """What dominates, and which switch helps."""
    lines = [
        f"--mesh.items {p['shards']:.0f}: the smallest that holds table and moments, 8 GB a device left for the rest"
    ]
    if p["shards"] > a.devices:
        lines.append(f"that is more than the {a.devices} devices there are: a smaller --model.width, or more devices")
    if p["full"] > 10 * p["compute"]:
        lines.append(
            f"--retrain.loss sampled: a softmax over all items costs {p['full'] / p['compute']:,.0f} times as long"
        )
    if p["log"] + p["state"] / p["shards"] > a.memory_gb * 1e9:
        lines.append(
            f"does not fit as it is: the sampled loss keeps every training event, {p['log'] / 1e9:,.0f} GB, whole on each device, to "
            "draw negatives by popularity; a table of the items' counts would do, which is not built"
        )
    parts = {name: p[name] for name in ("compute", "memory", "rows by sums")}
    worst = max(parts, key=lambda name: parts[name])
    lines.append(f"what dominates an epoch: {worst}")
    if worst == "rows by sums":
        lines.append(
            "rows are fetched by sums over the shards, which grow with their number; an all-to-all of rows is not built: keep "
            "--mesh.items as small as the memory allows, and inside one machine"
        )
    return lines


def shown(number: float, digits: int, units: tuple[tuple[float, float, str], ...]) -> str:
    """The number in the first of the units (from where on, how much it is, its name) that it is large enough for."""
    _, unit, name = next(one for one in units if number >= one[0])
    return f"{number / unit:,.{digits}f} {name}"


def main(a: Arguments) -> None:
    p = plan(a)

    def size(number: float) -> str:
        return shown(number, 2, ((1e12, 1e12, "TB"), (1e8, 1e9, "GB"), (0, 1e6, "MB")))

    def time(seconds: float) -> str:
        return shown(seconds, 1, ((7200, 3600, "h"), (60, 60, "min"), (0, 1, "s")))

    print(f"{a.users:.3g} users x {a.events:g} events, {a.items:.3g} items, width {a.width}, {a.devices} devices")
    rows = {
        "item table": size(p["table"]),
        "with Adam's moments": size(p["state"]),
        "other weights": size(p["dense"]),
        "prepared log, int32": size(p["log"]),
        "to prepare it, one core": time(p["prepare"]),
        "FLOPs an event, sampled": f"{p['flops an event'] / 1e6:.2f} MFLOP",
        "an epoch, sampled": f"{p['flops']:.2g} FLOP, {time(p['compute'])}",
        "its memory traffic": time(p["memory"]),
        "its rows between devices, by sums": time(p["rows by sums"]),
        "the same by all-to-all (not built)": time(p["rows by all-to-all"]),
        "an epoch, all items": f"{p['full flops']:.2g} FLOP, {time(p['full'])}",
    }
    for title, text in rows.items():
        print(f"  {title:36} {text}")
    for line in advice(a, p):
        print(f"- {line}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__, use_underscores=True))
