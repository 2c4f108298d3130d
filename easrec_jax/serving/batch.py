"""Everyone's recommendations, file to file: in parts of bounded size, each written whole or not at all.

What is written is described in `part_files`. A folder OUT gets `part-00003-of-00064.parquet` and so on; a file OUT is
joined at the end from such a folder beside it, `OUT.parts`, which then goes. The same command goes on where a killed one
stopped: a part that is there is done (see `claims`).
"""

from __future__ import annotations

import hashlib
import json
import operator
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from easrec_jax.locks import locked
from easrec_jax.serving.arguments import whole_k
from easrec_jax.serving.claims import claimed, is_done
from easrec_jax.serving.ids import check_policy
from easrec_jax.serving.part_answers import Done, Request, input_state, write_parts
from easrec_jax.serving.part_files import join
from easrec_jax.serving.recommend import Recommender
from easrec_jax.serving.when import check_reads_times, seconds

FORMAT = "easrec_jax recommendations 2"
ANSWERS_PER_PART = 2_000_000  # users x k
PARTS_PER_SHARD = 500  # files that are open at a time when the input is split; beyond, parts and memory grow


def recommend_file(
    recommender: Recommender,
    histories: str | Path,
    out: str | Path,
    request: Request,
    *,
    shard: tuple[int, int] = (1, 1),
    format: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], Any] | None = None,
) -> Done:
    """Write the k best next items of every user of the file (or folder of files) `histories`; see `data.histories` for its forms.

    `out` is a file (.parquet, .csv, .tsv, .jsonl) or a folder of parts in `format` (None: parquet). With `shard` (i, n), i
    from 1, only the i-th of n shares is computed, into a folder; all shares together are the whole. Results that `out` holds
    already are left as they are if input, model and request are the same, and replaced with `overwrite` if not: a file at
    the end, by the whole new one. `on_progress(users, of_about)` is called now and then. Raises `ValueError` naming the
    file and row of bad input, or saying that `out` holds another run's results.
    """
    from easrec_jax.data.histories import SUFFIXES, open_source

    out, (number, shards) = Path(out), (operator.index(shard[0]), operator.index(shard[1]))
    single = out.suffix.lower() in SUFFIXES
    format = _format(out, single, format, shards)
    request = checked(recommender, request, (number, shards), format)
    files = input_state(histories)  # before they are counted: what changes later is noticed
    source = open_source(histories, request.reading)
    if recommender.architecture.reads_times and not source.columns.time:
        if request.now is not None:
            raise ValueError(f"{source.path}: now: expected a column of times beside it, the file has none")
        warnings.warn(
            f"{source.path}: no column of times: to this model, which reads them, they are not known", stacklevel=2
        )
    _check_apart(source.path, out)
    size = max(source.events / request.part_events, source.users * request.k / ANSWERS_PER_PART)
    each = min(max(1, int(np.ceil(size / shards))), PARTS_PER_SHARD)
    parts, chosen = each * shards, range(each * (number - 1), each * number)
    settings = _settings(recommender, files, request, format, parts, shards)
    folder = out.with_name(out.name + ".parts") if single else out
    targets = {part: folder / f"part-{part:05d}-of-{parts:05d}.{format}" for part in chosen}
    spill = folder / f".input-{number}-of-{shards}"

    def compute() -> Done:
        with claimed(folder, settings, (number, shards), overwrite=overwrite):
            return write_parts(recommender, source, request, targets, settings, spill, on_progress)

    if not single:
        return compute()
    with locked(out.with_name(f".{out.name}.lock")):
        done = Done(parts, 0, 0, 0, 0)
        if not is_done(out, settings, overwrite=overwrite):
            done = compute()
            join([*targets.values()], out, format, settings)
        shutil.rmtree(folder, ignore_errors=True)
        return done


def _format(out: Path, single: bool, format: str | None, shards: int) -> str:
    """The format of what is written; `ValueError` if the name `out` says something else, or cannot be written."""
    from easrec_jax.data.histories import SUFFIXES, format_of

    if not single:
        if out.suffix and not out.is_dir():
            names = ", ".join(SUFFIXES)
            raise ValueError(
                f"{out}: expected a name that ends in one of {names}, or a folder's: without a dot, or there already"
            )
        return format or "parquet"
    if format not in (None, format_of(out)):
        raise ValueError(f"format: expected that of the name {out}, got {format!r}; a folder's parts may have any")
    if shards > 1:
        raise ValueError(f"{out}: a shard writes parts, expected the name of a folder for them")
    return format_of(out)


def checked(
    recommender: Recommender, request: Request, shard: tuple[int, int] = (1, 1), format: str = "parquet"
) -> Request:
    """The request with plain numbers; `ValueError` says what cannot be had."""
    k = whole_k(request.k, len(recommender.item_ids))
    check_policy(request.on_unknown)
    if request.part_events < 1:
        raise ValueError(f"part_events: expected 1 or more, got {request.part_events}")
    if not 1 <= shard[0] <= shard[1]:
        raise ValueError(f"shard: expected i/n with i from 1 to n, got {shard[0]}/{shard[1]}")
    if request.now is not None:
        check_reads_times(recommender.architecture, request.now)
        request = replace(request, now=float(seconds([request.now], "now")[0]))
    if request.csv_safe and format not in ("csv", "tsv"):
        raise ValueError(f"csv_safe: expected CSV or TSV output, got {format}")
    if request.titles and not recommender.titles:
        raise ValueError("titles: the model has none; they come from data.titles when it is trained")
    return replace(request, k=k)


def _check_apart(histories: Path, out: Path) -> None:
    """The output is neither the input nor a file of it: it would be read at the next start, or be lost."""
    inside = (out, out.parent) if histories.is_dir() else (out,)
    if histories.resolve() in [path.resolve() for path in inside]:
        raise ValueError(f"{out}: lies where the histories are read from; use another --out")


def _settings(
    recommender: Recommender, files: list, request: Request, format: str, parts: int, shards: int
) -> dict[str, Any]:
    """All that decides what the parts hold; of the events a part that is how many `parts` there are."""
    import polars as pl

    asked = {name: value for name, value in asdict(request).items() if name != "part_events"}
    if request.now is None:  # as earlier versions, which knew none
        del asked["now"]
    return {
        "format": FORMAT, "model": _identity(recommender), "input": files, "request": asked,
        "output": format, "parts": parts, "shards": shards, "polars": pl.__version__,
    }  # fmt: skip


def _identity(recommender: Recommender) -> str:
    """A checksum of all of the model that answers: with the same weights, other ids or titles are another model."""
    ids, titles = recommender.item_ids.raw, sorted(recommender.titles.items())
    about = [recommender.architecture.to_json(), ids, recommender.popularity.tolist(), titles]
    if recommender.routed is not None and recommender.route is not None:
        about.append(recommender.route.fingerprint(""))
    digest = hashlib.sha256(json.dumps(about).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(recommender.weights):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
