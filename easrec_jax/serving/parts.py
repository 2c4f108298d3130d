"""Recommendations on disk: what a part file holds, how parts become one file, and whose results an output holds.

An output belongs to one run: its settings lie beside the results (`_shard-1-of-4.json` in a folder of parts, the hidden
`.recs.parquet.json` beside the file recs.parquet), and by them the same command, started again, knows what is done. A
lock keeps a second process out; results of other settings are replaced only where that is asked for.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import socket
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easrec_jax.files import aside_of, clear_asides, read_json, write_text

if TYPE_CHECKING:  # polars is imported only where a file is read
    import polars as pl

FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"  # how a cell begins that a spreadsheet computes (OWASP, "CSV Injection")


def safe_cells(text: pl.Series) -> pl.Series:
    """Text that no spreadsheet takes for a formula: one that begins like it gets an apostrophe in front."""

    begins = text.str.contains(FORMULA)
    return ("'" + text).zip_with(begins.fill_null(False), text).alias(text.name)


def encode(users: pl.Series, items: pl.DataFrame, scores: np.ndarray, best: np.ndarray, format: str) -> bytes:
    """One part as a file's content: of each user the items with a finite score, in the order of [users k].

    `items` has the columns item and, optionally, title; row r is inner id r + 1.
    """
    import polars as pl

    real = np.isfinite(scores)
    user, rank = np.nonzero(real)
    found = items[best[real] - 1].with_columns(score=pl.Series(scores[real], dtype=pl.Float32))
    buffer = io.BytesIO()
    if format in ("csv", "tsv"):
        rows = pl.DataFrame({"user": users.gather(user), "rank": rank + 1})
        rows.hstack(found).write_csv(buffer, separator="," if format == "csv" else "\t")
        return buffer.getvalue()
    names = {name: f"{name}s" for name in found.columns}
    rows = found.rename(names).with_columns(row=pl.Series(user, dtype=pl.UInt32))
    lists = rows.group_by("row", maintain_order=True).agg(*names.values())
    everyone = pl.DataFrame({"row": np.arange(len(users), dtype=np.uint32), "user": users})
    frame = everyone.join(lists, on="row", how="left", maintain_order="left").drop("row")
    frame = frame.with_columns(pl.col(*names.values()).fill_null([]))
    frame.write_parquet(buffer) if format == "parquet" else frame.write_ndjson(buffer)
    return buffer.getvalue()


def join(parts: list[Path], out: Path, format: str, settings: dict) -> None:
    """All parts as one file, in order, and its settings; it appears whole."""
    import polars as pl

    clear_asides(out)
    aside = aside_of(out)
    try:
        if format == "parquet":
            try:
                pl.scan_parquet(parts, glob=False).sink_parquet(aside)
            except (pl.exceptions.PolarsError, OSError) as error:
                raise OSError(f"{out}: {str(error).splitlines()[0]}") from None
        with open(aside, "ab") as file:
            if format != "parquet":
                _concatenate(parts, file, header=format in ("csv", "tsv"))
            file.flush()
            os.fsync(file.fileno())
        write_text(_record(out), json.dumps(settings | _identity(aside), indent=2) + "\n")  # killed here: out is not it
        os.replace(aside, out)
    except OSError as error:
        if error.errno and error.filename is None:  # of a full disk
            error.filename = str(out)
        raise
    finally:
        aside.unlink(missing_ok=True)


def _concatenate(parts: list[Path], file: Any, *, header: bool) -> None:
    for number, part in enumerate(parts):
        with open(part, "rb") as source:
            if header and number:
                source.readline()
            shutil.copyfileobj(source, file, 1 << 20)


def _record(out: Path) -> Path:
    return out.with_name(f".{out.name}.json")


def _identity(path: Path) -> dict[str, Any]:
    """Size and time of a file: a rename keeps them, whoever writes another one changes them."""
    return {"written": [path.stat().st_size, path.stat().st_mtime_ns]}


def is_done(out: Path, settings: dict, *, overwrite: bool) -> bool:
    """Whether the file `out` is what `join` wrote of these settings; `ValueError` if it is another's that may not go."""
    if not out.exists():
        return False
    if not out.is_file():
        raise ValueError(f"{out}: is no file; use another --out")
    there = read_json(_record(out)) if _record(out).is_file() else {}
    if there.get("written") != _identity(out)["written"]:
        there = {}
    if there and not changes(there, settings):
        return True
    if not overwrite:
        raise _taken(out, there, settings)
    return False


def changes(there: dict, here: dict) -> list[str]:
    """The settings that differ, with both values where they are short."""
    found = []
    for key in here:
        a, b = there.get(key), here[key]
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            fields = [f"{name}: {a.get(name)!r} there, {b[name]!r} here" for name in b if a.get(name) != b[name]]
            found.append(f"{key} ({'; '.join(fields)})")
        else:
            short = isinstance(b, int) or key in ("output", "polars")
            found.append(f"{key} ({a!r} there, {b!r} here)" if short else key)
    return found


def _taken(out: Path, there: dict, here: dict) -> ValueError:
    what = f"of another {', '.join(changes(there, here))}" if there else "of an unknown run"
    return ValueError(f"{out}: holds results {what}: --overwrite replaces them, or use another --out")


@contextmanager
def claimed(folder: Path, settings: dict, shard: tuple[int, int], *, overwrite: bool) -> Iterator[None]:
    """Within, this process alone computes the shard, in a folder whose results, if any, are all of these settings.

    With `overwrite`, those of others are removed first. Where bad input stops a shard before its first part, nothing of it
    stays. Raises `ValueError` where the folder is not this run's, or where another process is at work in it.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is no folder; use another --out")
    made, name = not folder.exists(), f"{shard[0]}-of-{shard[1]}"
    own = folder / f"_shard-{name}.json"
    try:
        with ExitStack() as held:
            with locked(folder / ".lock", wait=True):  # shards that begin together clear the folder one after the other
                records = sorted(folder.glob("_shard-*.json"))
                if not records and any(not path.name.startswith(".") for path in folder.iterdir()):
                    raise ValueError(f"{folder}: holds something else than recommendations; use another --out")
                others = [path for path in records if changes(read_json(path), settings)]
                if others and not overwrite:
                    raise _taken(folder, read_json(others[0]), settings)
                for path in others:
                    with locked(folder / path.stem.replace("_shard", ".lock")):  # not under a run that is at work
                        pass
                held.enter_context(locked(folder / f".lock-{name}"))
                if others:
                    _clear(folder, records)
                write_text(own, json.dumps(settings, indent=2) + "\n")
            try:
                yield
            except ValueError:
                if not any(folder.glob("part-*")):
                    remove_whole(folder / f".input-{name}")
                    own.unlink(missing_ok=True)
                raise
    finally:
        if made:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _clear(folder: Path, records: list[Path]) -> None:
    """Remove what another run left; its records last, so that a killed clearing is taken up again."""
    for path in [*folder.glob("part-*"), *folder.glob(".part-*.tmp"), *folder.glob(".input-*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in records:
        path.unlink(missing_ok=True)


def remove_whole(folder: Path) -> None:
    """Remove a folder at once: killed at any moment, it is there with all it held, or it is gone."""
    clear_asides(folder)
    if folder.is_dir():
        os.replace(folder, aside_of(folder))
    shutil.rmtree(aside_of(folder), ignore_errors=True)


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Within, this process alone holds the lock file `path`; it goes with the process, however that ends.

    Raises `ValueError` naming the process that holds it, unless it shall `wait`.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  closing it gives the lock back
        except FileNotFoundError:  # who held the lock removed the folder meanwhile
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read()
            file.close()
            holder = holder or "another process"
            raise ValueError(f"{path.parent}: {holder} holds {path.name} here; let it end first") from None
        except OSError as error:  # a file system without locks
            warnings.warn(f"{path.parent}: cannot be locked ({error.strerror}): start no second run here", stacklevel=3)
            break
        if _is_at(path, file):
            break
        file.close()  # the lock of one who ended meanwhile
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _is_at(path: Path, file: Any) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
