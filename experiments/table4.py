"""The paper's Table IV: inference time and memory of Table III's networks."""

from __future__ import annotations

from typing import Any

from easrec_jax.architecture import Architecture
from easrec_jax.data.features import ItemFeatures
from easrec_jax.evaluate.latency import BULK_USERS, measure_latency
from easrec_jax.models.encoder import Encoder
from easrec_jax.models.rival import find_rival
from easrec_jax.runs.cli import machine
from experiments.cells import Cells
from experiments.compare import Row
from experiments.models import TRAINED, paper_label
from experiments.paper import TABLE4
from experiments.show import beside, markdown
from experiments.table3 import table3_rows


def run_table4(cells: Cells, *, seeds: int, dataset: str, rows: tuple[str, ...] = ()) -> str:
    """Inference time and memory of Table III's networks as ratios to SASRec, beside the paper's; table4.json, .csv, .md."""
    if rows and "SASRec" not in rows:
        raise ValueError("rows: expected SASRec among them, table4 gives ratios to it")
    found = table3_rows(cells, seeds=seeds, only=rows, floors=False)
    measured = _measure(found, cells.features, cells.split.data.num_items)
    sasrec = next(row for row in found if row.label == "SASRec")
    base = measured["SASRec"] | {"flops": sasrec.flops, "flops_all": sasrec.flops_all}
    paper, fields, lines = TABLE4.get(dataset, {}), [], []
    for row in found:
        mine: dict[str, Any] = measured[row.label] | {"flops": row.flops, "flops_all": row.flops_all}
        field = {
            "model": row.label,
            "ms_per_user": 1e3 * mine["time"] / BULK_USERS,
            "temporary_mb": mine["memory"] / 2**20,
        }
        line = [row.label, f"{field['ms_per_user']:.3f}", f"{field['temporary_mb']:.1f}"]
        for number, name in enumerate(("time", "memory", "flops", "flops_all")):
            field[f"{name}_over_sasrec"] = ratio = mine[name] / base[name]
            line.append(f"{ratio:.2f}")
            if name in ("time", "memory"):
                figures = paper.get(paper_label(row.label))
                theirs = None if figures is None else figures[number] / paper["SASRec"][number]
                field |= {} if theirs is None else {f"{name}_over_sasrec paper": theirs}
                line += [beside(ratio, theirs, digits=2)] * bool(paper)
        fields.append(field)
        lines.append(line)
    column = ["paper"] * bool(paper)
    head = [
        "model",
        "ms a user",
        "MB of temporaries",
        "time / SASRec",
        *column,
        "memory / SASRec",
        *column,
        "FLOPs / SASRec",
        "FLOPs at all positions / SASRec",
    ]
    device = machine()["device"]
    text = (
        f"{markdown(head, lines)}\n\n{dataset}, measured on {device}, commit {cells.commit}: batches of {BULK_USERS} users of "
        f"{cells.config.model.max_length} events, the fastest of 7 calls in turn, "
        f"averaged over the picks of {seeds} seed{'s' * (seeds > 1)}. Memory is "
        "what XLA allots beside weights, input and scores. The paper gives seconds for its test set and GB of the GPU, so "
        "ratios alone compare."
    )
    return cells.write("table4", {"rows": fields, "device": device}, fields, text, seeds=seeds)


def _measure(rows: list[Row], features: ItemFeatures | None, num_items: int) -> dict[str, dict[str, float]]:
    """`time` in seconds and `memory` in bytes of a batch, by label; each network is measured once, seeds are averaged."""
    networks: dict[tuple[str, Architecture], Encoder] = {}
    wanted = []
    for row in rows:
        kind = TRAINED.get(row.label.partition(" + ")[0], "sasrec")
        for cell in row.cells:
            key = kind, Architecture.from_json(cell["architecture"])
            if key not in networks:
                make = find_rival(kind)[0].network
                assert make is not None
                networks[key] = make(key[1], features, num_items, 0.0)
            wanted.append((row.label, key))
    measured = measure_latency(list(networks.values()), rows=BULK_USERS, repeats=7)
    places = {key: place for place, key in enumerate(networks)}
    found = {}
    for row in rows:
        at = [places[key] for label, key in wanted if label == row.label]
        time, memory = measured.seconds[at], measured.temporary_bytes[at]
        found[row.label] = {"time": float(time.mean()), "memory": float(memory.mean())}
    return found
