"""What is read: files, the parts of a folder or a pattern, addresses such as s3://bucket/log/, or content in memory.

Imports polars, which unpacks gzip and zstd and reads from S3, Google Cloud, Azure and over HTTP.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path, PosixPath
from typing import Any, NamedTuple

import polars as pl

ADDRESS = re.compile(r"[a-z][a-z0-9+]+://")
PARQUET = (".parquet", ".pq")
PATTERN = re.compile(r"[*?\[]")  # signs that only a pattern has


class Address(PosixPath):
    """A file or folder elsewhere, such as s3://bucket/log.parquet: polars alone reads it; its text keeps both slashes."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)


def is_address(data: Any) -> bool:
    """Whether it names something that is not in the file system."""
    return isinstance(data, Address) or (isinstance(data, str) and ADDRESS.match(data) is not None)


def located(data: str | os.PathLike) -> Path:
    """The path, with the user's folder for "~", or the address."""
    return Address(data) if is_address(data) else Path(data).expanduser()


class File(NamedTuple):
    """A file by its path or address, or content in memory under a name for messages."""

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

    @property
    def is_remote(self) -> bool:
        """Whether it is elsewhere, and not in memory either."""
        return isinstance(self.path, Address)

    def state(self) -> list:
        """Name, size and time of change; of an address the name alone is known."""
        if self.is_remote:
            return [str(self.path), None, None]
        status = self.path.stat()
        return [self.path.name, status.st_size, status.st_mtime_ns]

    def head(self, count: int) -> bytes:
        """The first bytes, as they are stored."""
        if self.content is not None:
            return self.content[:count]
        if self.is_remote:  # of text alone something is read before polars does
            return b"PAR1"[:count] if self.ending in PARQUET else b""
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


def are_paths(data: Any) -> bool:
    """Whether it is a list of files, folders or addresses."""
    return isinstance(data, (list, tuple)) and bool(data) and all(isinstance(one, (str, os.PathLike)) for one in data)


def input_files(data: Any) -> list[File]:
    """The file itself, the parts in a folder or of a pattern in natural order, or those of a list, one source after the other.

    In a folder names from "_" or "." are not data (Spark's).
    """
    if are_paths(data):
        return [file for one in data for file in input_files(one)]
    if not isinstance(data, (str, os.PathLike)):
        content = bytes(data) if not hasattr(data, "read") else data.read()
        content = content.encode() if isinstance(content, str) else content
        if not content:
            raise ValueError("the data in memory: empty")
        return [File(Path(str(getattr(data, "name", "data in memory"))), content)]
    path = located(data)
    if isinstance(path, Address):
        folder = str(data).endswith("/")
        return _remote_files(f"{path}/*" if folder else str(path)) if folder or _is_pattern(path) else [File(path)]
    if path.is_dir():
        return _files_in(path)
    if not _is_pattern(path) or path.exists():
        return [File(check_file(path))]
    found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    whole = [one for one in found if one.is_file() and one.name[0] not in "._" and one.stat().st_size]
    files = [File(one) for one in whole] + [file for one in found if one.is_dir() for file in _files_in(one)]
    if not files:
        raise FileNotFoundError(f"{path}: no file with data is of this pattern")
    return _in_natural_order({file.path: file for file in files}.values())


def _is_pattern(path: Path) -> bool:
    return ("*" in str(path)) if is_address(path) else PATTERN.search(str(path)) is not None  # ? asks in https://


def _files_in(folder: Path) -> list[File]:
    found = [p for p in folder.rglob("*") if p.is_file() and not any(n[0] in "._" for n in p.relative_to(folder).parts)]
    found = [File(p) for p in found if p.stat().st_size]
    if not found:
        raise ValueError(f"{folder}: the folder has no file with data")
    return _in_natural_order(found)


def _in_natural_order(files: Iterable[File]) -> list[File]:
    """By name, part-2 before part-10."""
    return sorted(files, key=lambda file: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", str(file.path))])


def _remote_files(pattern: str) -> list[File]:
    """What polars finds; to list names it opens the files: of Parquet their ends, of text all."""
    text = not pattern.endswith(("/*", *PARQUET))
    try:
        scan = (pl.scan_lines if text else pl.scan_parquet)(pattern, include_file_paths="the file")
        names = scan.select(pl.col("the file").unique()).collect(engine="streaming")["the file"]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{pattern}: cannot be read: {str(error).strip().splitlines()[0][:300]}") from None
    if not len(names):
        raise FileNotFoundError(f"{pattern}: no file of this pattern")
    return _in_natural_order(File(Address(name)) for name in names)


def read_lines(file: File) -> pl.Series:
    """The lines of a UTF-8 file without line ends and byte order mark."""
    try:
        lines = pl.read_lines(file.source, glob=False).to_series()
    except (pl.exceptions.PolarsError, OSError) as error:
        if file.is_remote:
            raise ValueError(f"{file.path}: cannot be read: {str(error).strip().splitlines()[0][:300]}") from None
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
    except (pl.exceptions.PolarsError, OSError) as error:
        if file.is_remote:
            raise ValueError(f"{file.path}: cannot be read: {str(error).strip().splitlines()[0][:300]}") from None
        lines = file.head(4096).decode(errors="replace").split("\n")
    return [line.removeprefix("\ufeff").rstrip("\r") for line in lines]


def first_line(file: File) -> str:
    """The first line of a text file that is not blank; `ValueError` if there is none."""
    found = next((line for line in first_lines(file) if line.strip()), "")
    if not found:
        raise ValueError(f"{file.path}: the file is empty")
    return found
