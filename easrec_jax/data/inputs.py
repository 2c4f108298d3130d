"""What is read: a file, the parts in a folder, or content in memory. Imports polars, which unpacks gzip and zstd."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl


class File(NamedTuple):
    """A file by its path, or content in memory under a name for messages."""

    path: Path
    content: bytes | None = None

    @property
    def source(self) -> str | bytes:
        """What polars reads."""
        return str(self.path) if self.content is None else self.content

    @property
    def ending(self) -> str:
        """The ending that tells the format, in lower case: the one before .gz or .zst."""
        packed = self.path.suffix.lower() in (".gz", ".gzip", ".zst", ".zstd")
        return Path(self.path.stem if packed else self.path.name).suffix.lower()

    @property
    def is_packed(self) -> bool:
        """Whether the name says that the file is compressed."""
        return self.ending != self.path.suffix.lower()

    def head(self, count: int) -> bytes:
        """The first bytes, as they are stored."""
        if self.content is not None:
            return self.content[:count]
        with self.path.open("rb") as opened:
            return opened.read(count)


def check_file(path: str | Path) -> Path:
    """The path, if it names a file that is not empty."""
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"{path}: is a directory, expected a file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    return path


def input_files(data: Any) -> list[File]:
    """The file itself, or the parts in a folder in natural order; names from "_" or "." are not data (Spark's)."""
    if not isinstance(data, (str, os.PathLike)):
        content = bytes(data) if not hasattr(data, "read") else data.read()
        content = content.encode() if isinstance(content, str) else content
        if not content:
            raise ValueError("the data in memory: empty")
        return [File(Path(str(getattr(data, "name", "data in memory"))), content)]
    path = Path(data).expanduser()
    if not path.is_dir():
        return [File(check_file(path))]
    found = [p for p in path.rglob("*") if p.is_file() and not any(n[0] in "._" for n in p.relative_to(path).parts)]
    found = [File(p) for p in found if p.stat().st_size]
    if not found:
        raise ValueError(f"{path}: the folder has no file with data")
    return sorted(found, key=lambda file: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", str(file.path))])


def read_lines(file: File) -> pl.Series:
    """The lines of a UTF-8 file without line ends and byte order mark."""
    try:
        lines = pl.read_lines(file.source, glob=False).to_series()
    except pl.exceptions.PolarsError as error:
        data = file.content if file.content is not None else file.path.read_bytes()
        try:
            data.decode()
        except UnicodeDecodeError as wrong:
            line = data.count(b"\n", 0, wrong.start) + 1
            got = f"got the byte 0x{data[wrong.start]:02x}"
            raise ValueError(f"{file.path}, line {line}: expected UTF-8, {got}") from error
        raise ValueError(f"{file.path}: cannot be read: {error}") from error
    if len(lines) and lines[0].startswith("\ufeff"):
        lines[0] = lines[0][1:]
    return lines


def first_lines(file: File, count: int = 100) -> list[str]:
    """The first lines of a text file, decompressed; also where it is no UTF-8."""
    try:
        lines = pl.read_lines(file.source, n_rows=count, glob=False).to_series().to_list()
    except pl.exceptions.PolarsError:
        lines = file.head(4096).decode(errors="replace").split("\n")
    return [line.removeprefix("\ufeff").rstrip("\r") for line in lines]


def first_line(file: File) -> str:
    """The first line of a text file that is not blank; `ValueError` if there is none."""
    found = next((line for line in first_lines(file) if line.strip()), "")
    if not found:
        raise ValueError(f"{file.path}: the file is empty")
    return found
